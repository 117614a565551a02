"""Propose masks for cases of a dataset with a saved model, and measure how certain it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from napari_graphflow.dataset.cases import Case, read_case
from napari_graphflow.dataset.compatibility import cautions, image_facts, refuse_unfit
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.uncertainty import SlabStatistics, slab_statistics
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import LoadedModel, segment
from napari_graphflow.inference.whole_volume import Cancelled


@dataclass(frozen=True)
class Proposed:
    """A proposed mask.

    Attributes
    ----------
    case
        The case.
    labels
        Class indices on the grid of its image.
    statistics
        How certain the model is, by structure and slab.
    seconds
        Time of the computation.
    cautions
        Why the mask may be wrong, and which structures are missing, as sentences.
    """

    case: Case
    labels: Volume
    statistics: SlabStatistics
    seconds: float
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotProposed:
    """A case without a proposal, and why."""

    case: Case
    error: UserError


def propose(
    model: LoadedModel,
    cases: Sequence[Case],
    *,
    progress: Callable[[Case, int, int], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Proposed | NotProposed]:
    """Yield a proposal for each case, one after the other; a case that fails stops no other.

    Parameters
    ----------
    model
        A loaded model.
    cases
        The cases.
    progress
        Called with the case, the number of its finished windows, and their total.
    cancelled
        Called between windows; True raises
        :class:`~napari_graphflow.inference.whole_volume.InferenceCancelled`.
    """
    for case in cases:

        def windows(done: int, total: int, case: Case = case) -> None:
            if progress is not None:
                progress(case, done, total)

        try:
            image = read_case(case)
            refuse_unfit(model.card, image_facts(image))
            found = segment(model, image, probabilities=True, progress=windows, cancelled=cancelled)
        except UserError as error:
            yield NotProposed(case, error)
            continue
        assert found.probabilities is not None
        statistics = slab_statistics(
            found.probabilities.array, found.labels.array, model.card.classes
        )
        doubts = cautions(model.card, image_facts(image), found.labels.array)
        yield Proposed(case, found.labels, statistics, found.seconds, tuple(doubts))
