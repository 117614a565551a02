"""Score a model on labelled cases of a dataset before it teaches."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.answers import ReadsAnswers
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.evaluation.teachers import cases_to_score
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import LoadedModel, segment
from napari_graphflow.system.events import Progress, TeacherScored

#: Returns the class indices that a teacher answers for a case, on the grid of its image.
Answer = Callable[[Case, Volume], NDArray[Any]]


def by_network(model: LoadedModel) -> Answer:
    """Answer by segmenting the image."""
    return lambda case, image: segment(model, image).labels.array


def by_answers(answers: ReadsAnswers, classes: int) -> Answer:
    """Answer by what is saved for the case."""

    def read(case: Case, image: Volume) -> NDArray[Any]:
        found = answers.read(case.name, image, classes)
        return found if found.ndim == image.ndim else found.argmax(0)

    return read


def score_teacher(
    card: ModelCard, answer: Answer, dataset: Dataset
) -> Generator[Progress, None, TeacherScored]:
    """Ask for labelled cases and return the Dice of each class, as a generator of progress.

    Raises
    ------
    UserError
        If no case has a mask, or the model does not fit the images.
    """
    cases, empty = cases_to_score(dataset)
    values: dict[str, list[float]] = {name: [] for name, index in card.classes.items() if index}
    present = dict.fromkeys(values, 0)
    yield Progress(step=0, total=len(cases))
    for done, case in enumerate(cases, start=1):
        image = read_case(case)
        reference = read_case_labels(dataset, case, image).array
        found = answer(case, image)
        scored = np.where(reference == IGNORE, IGNORE, found)
        for name, scores in values.items():
            scores.append(dice_score(scored, reference, card.classes[name]))
            present[name] += bool((reference == card.classes[name]).any())
        yield Progress(step=done, total=len(cases))
    dice = {name: _mean(scores) for name, scores in values.items()}
    known = [value for value in dice.values() if value is not None]
    return empty.model_copy(update={"dice": dice, "mean": _mean(known), "present": present})


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
