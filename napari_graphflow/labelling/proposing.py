"""Propose masks for all cases that wait for one, as a job; without torch.

::

    job = start_proposals(labelling, model_folder)
    runner("local").submit(job)           # now, or queued until the device is free
    job.status().run                      # phase, step of total, remaining seconds
    job.pause(), job.cancel()             # Job.begin_cancel does not block
    runner("local").submit(job)           # resume: cases that are done are not done again
    proposal_jobs(dataset_folder)         # found again after a restart, the newest first
    report(job)                           # what was proposed, what failed and why

It is an ordinary job: the job list shows, pauses, cancels and resumes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_graphflow.config.labelling import ProposalConfig
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.dataset.compatibility import check_fits_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.labelling.overview import WAITING
from napari_graphflow.labelling.proposals import read_described
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.events import CaseDone


@dataclass(frozen=True)
class Waiting:
    """The cases of a job: those to propose a mask for, and those that have one already."""

    left: list[str]
    known: list[str]


@dataclass(frozen=True)
class Report:
    """What a job has done: cases with a new proposal, and why others have none."""

    proposed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def start_proposals(
    labelling: CaseSteps,
    model: Path,
    *,
    cases: Sequence[str] = (),
    again: bool = False,
    device: str = "auto",
    threads: int = 0,
    root: Path | None = None,
) -> Job:
    """Create a job that proposes masks; the caller submits it.

    Parameters
    ----------
    labelling
        The labelling of the dataset.
    model
        Folder of the model.
    cases
        Names of cases; by default all without a finished mask.
    again
        Also replace proposals that this model has made before.
    device, threads
        As for a training.
    root
        Parent folder of the job; None uses the user's default.

    Raises
    ------
    UserError
        If the model does not fit the dataset, a case is unknown, no case waits for a proposal of
        this model, or the same job is running.
    """
    config = ProposalConfig(
        dataset=labelling.dataset.folder.resolve(),
        model=model.expanduser().resolve(),
        cases=tuple(cases),
        again=again,
        reader=labelling.reader,
        device=device,
        threads=threads,
        name=f"masks by {read_model_card(model).name} for {labelling.dataset.name}",
    )
    check_fits_dataset(read_model_card(model), labelling.dataset)
    if not waiting(labelling, config).left:
        raise UserError(
            "No case waits for a proposal of this model.",
            "Choose another model, or have its proposals made again.",
        )
    for job in proposal_jobs(config.dataset, root):
        if job.config == config and job.status().active:
            raise UserError(f"The job “{job.title}” is making these proposals.", "Wait for it.")
    return create("propose", config, root)


def proposal_jobs(dataset: Path, root: Path | None = None) -> list[Job]:
    """Return the jobs that propose masks for a dataset, the newest first."""
    found = [job for job in list_jobs(root) if job.kind == "propose"]
    return [job for job in found if job.spec["config"].get("dataset") == str(dataset.resolve())]


def waiting(labelling: CaseSteps, config: ProposalConfig, since: float | None = None) -> Waiting:
    """Return the cases to propose a mask for, in the order of their names.

    Parameters
    ----------
    since
        Unix time of the job's creation: with `again`, what was made since is not made again.
    """
    names = list(config.cases)
    if not names:
        every = labelling.dataset.cases
        names = sorted(case.name for case in every if _waits(labelling, case.name))
    sha256, paths = weights_hash(config.model), labelling.paths
    found = Waiting([], [])
    for name in names:
        labelling.case(name)
        record = paths.proposal_record(name, sha256)
        known = record.is_file() and paths.proposal(name, sha256).is_file()
        if known and config.again:
            made = read_described(paths, [record])  # none if it is damaged
            known = since is not None and any(one.made.timestamp() >= int(since) for one in made)
        (found.known if known else found.left).append(name)
    return found


def report(job: Job) -> Report:
    """Return what a job has done so far; of a case that was tried again, the last outcome."""
    problems: dict[str, str] = {}
    offset, before = 0, -1
    while offset != before:
        before = offset
        events, offset = job.events(offset)
        problems |= {one.case: one.problem for one in events if isinstance(one, CaseDone)}
    failed = {case: problem for case, problem in problems.items() if problem}
    return Report([case for case in problems if case not in failed], failed)


def _waits(labelling: CaseSteps, name: str) -> bool:
    return labelling.facts(name).status in WAITING
