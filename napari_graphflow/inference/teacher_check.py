"""Score a saved teacher on a dataset, at its import or on request."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.answers import Answers
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.errors import UserError
from napari_graphflow.inference.likely_cause import score_with_cause
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.system.events import Progress, TeacherScored


def score_saved(
    card: ModelCard,
    folder: Path,
    dataset: Dataset,
    bound: float,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TeacherScored:
    """Score a saved model, with the likely cause if it is poor.

    Parameters
    ----------
    card, folder
        The model, which may be answers for the cases of the dataset.
    dataset, bound
        Dataset with labelled cases, and the mean Dice below which it is poor.
    device
        Where a network runs.
    progress
        Receives the number of finished cases and of all, then the same of the settings that are
        tried in search of the cause.

    Raises
    ------
    UserError
        If no case has a mask, or the model does not fit the dataset.
    """
    check_classes(card, dataset)
    given = card.is_predictions
    teacher = Answers.open(folder) if given else load_for_inference(folder, device)
    steps = score_with_cause(card, teacher, dataset, bound)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            scores: TeacherScored = end.value
            return scores
        if isinstance(step, Progress):
            progress(step.step, step.total)


#: What can be done about a poor model that is no longer there.
_AGAIN = (
    "Correct the table of its classes or its card, and import it again; or keep it, and correct "
    "preprocessing in its model.json."
)


@contextmanager
def removed_if_poor(folder: Path, otherwise: str) -> Iterator[None]:
    """Remove a model that was just imported if it is refused, and say so.

    Parameters
    ----------
    folder
        The model.
    otherwise
        How to keep it if it is poor, as a sentence.
    """
    try:
        yield
    except UserError as error:
        shutil.rmtree(folder)
        remedy = f"{_AGAIN} {otherwise}" if error.code == "poor_model" else error.remedy
        raise UserError(f"The model was not kept. {error.text}", remedy, error.code) from None
