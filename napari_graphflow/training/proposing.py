"""The job that proposes masks: case by case; what is done is not done again after a resume."""

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from napari_graphflow.config.labelling import ProposalConfig
from napari_graphflow.config.model_card import weights_hash
from napari_graphflow.dataset.compatibility import check_fits_dataset
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel
from napari_graphflow.inference.propose import NotProposed, Proposed, propose
from napari_graphflow.inference.whole_volume import InferenceCancelled
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling.overview import WAITING
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.proposing import waiting
from napari_graphflow.labelling.records import now
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.system.events import Alive, CaseDone, Event, Phase, Progress, Warned

#: Seconds between checks for a request to pause or cancel, in the middle of a case.
POLL_INTERVAL = 0.2


def propose_masks(config: ProposalConfig, folder: Path) -> Iterator[Event]:
    """Propose a mask for each case that waits; a case that fails stops no other.

    Parameters
    ----------
    config
        Settings of the job.
    folder
        Its folder, in which requests to pause or cancel are looked for.

    Yields
    ------
    event
        `CaseDone` for each case, with its problem if it could not be segmented.

    Raises
    ------
    UserError
        If the model cannot be loaded or does not fit the dataset, or a proposal cannot be written.
    """
    job = Job(folder)
    labelling = Labelling(config.dataset, config.reader)
    yield Phase(kind="reading", name="loading the model")
    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_for_inference(config.model, config.device)
    check_fits_dataset(model.card, labelling.dataset)
    sha256 = weights_hash(config.model)
    yield Phase(kind="proposing", name="proposing masks")
    left = waiting(labelling, config, job.created.timestamp()).left
    yield Progress(step=0, total=len(left))
    began = time.monotonic()
    for number, name in enumerate(left, 1):
        # Somebody may have finished it meanwhile.
        if config.cases or labelling.facts(name).status in WAITING:
            found = yield from _segmented(model, labelling, name, _requested(job))
            problem = ""
            if isinstance(found, NotProposed):
                problem = str(found.error)
                yield Warned(text=f"{name}: {problem}")
            else:
                labelling.propose(_described(found, config, sha256, model), found.labels.array)
            yield CaseDone(case=name, problem=problem)
        each = (time.monotonic() - began) / number
        yield Progress(step=number, total=len(left), eta_s=round(each * (len(left) - number), 1))


def _segmented(
    model: LoadedModel, labelling: Labelling, name: str, requested: Callable[[], bool]
) -> Generator[Event, None, Proposed | NotProposed]:
    """Segment a case; the generator returns the outcome."""
    while True:
        try:
            return next(propose(model, [labelling.case(name)], cancelled=requested))
        except InferenceCancelled:
            # Here the job is ended; if the request was withdrawn, the case is begun again.
            yield Alive()
            time.sleep(POLL_INTERVAL)


def _requested(job: Job) -> Callable[[], bool]:
    """Return a function that looks, at most every `POLL_INTERVAL`, for a request to end."""
    looked = 0.0

    def requested() -> bool:
        nonlocal looked
        if time.monotonic() - looked < POLL_INTERVAL:
            return False
        looked = time.monotonic()
        return bool(job.requests() & {"pause", "cancel"})

    return requested


def _described(
    found: Proposed, config: ProposalConfig, sha256: str, model: LoadedModel
) -> Proposal:
    return Proposal(
        case=found.case.name,
        model=model.card.name,
        sha256=sha256,
        folder=str(config.model),
        made=now(),
        seconds=round(found.seconds, 3),
        statistics=found.statistics,
        note=" ".join(found.cautions),
    )
