"""Score a teacher, and say why it is poor: with which orientation, scaling of intensities or order
of the classes it is better.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.answers import ReadsAnswers
from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.evaluation.teachers import cases_to_score, is_poor
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.inference.predict import LoadedModel, segment
from napari_graphflow.inference.teacher_score import Answer, by_answers, by_network, score_teacher
from napari_graphflow.system.events import Phase, Progress, TeacherScored

_ORIENTATIONS = ("LPS", "RAS", "LAS", "RPS", "stored")
_INTENSITIES = ("zscore", "percentile", "ct_window", "range", "none")
#: Smallest gain in mean Dice that is worth a sentence.
_GAIN = 0.1


def score_with_cause(
    card: ModelCard, teacher: LoadedModel | ReadsAnswers, dataset: Dataset, bound: float
) -> Generator[Phase | Progress, None, TeacherScored]:
    """Score a teacher on labelled cases, with the likely cause if it is poor; see `is_poor`.

    The search for the cause begins with a `Phase`.

    Parameters
    ----------
    card
        Its card.
    teacher
        Its network, or its answers.
    dataset, bound
        Dataset with labelled cases, and the mean Dice below which it is poor.

    Raises
    ------
    UserError
        If no case has a mask, or the model does not fit the images.
    """
    scores = yield from score_teacher(card, _answer(card, teacher), dataset)
    if is_poor(scores, bound):
        yield Phase(kind="checking", name="looking for the cause")
        with suppress(UserError):
            cause = yield from likely_cause(card, teacher, dataset)
            return scores.model_copy(update={"cause": cause})
    return scores


def likely_cause(
    card: ModelCard, teacher: LoadedModel | ReadsAnswers, dataset: Dataset
) -> Generator[Progress, None, str]:
    """Compare other orders of the classes, orientations and scalings on one labelled case.

    Returns
    -------
    str
        A sentence with the better setting and both numbers; empty if none is better by 0.1.

    Raises
    ------
    UserError
        If no case has a mask.
    """
    cases, _ = cases_to_score(dataset)
    case = cases[0]
    image = read_case(case)
    reference = read_case_labels(dataset, case, image).array
    found = _answer(card, teacher)(case, image)
    before = _dice(card, found, reference)
    best, better = before + _GAIN, ""
    words, value = _other_classes(card, found, reference)
    if value > best:
        best, better = value, words
    if isinstance(teacher, LoadedModel):
        others = list(alternatives(card.preprocessing, image.ndim))
        for done, (words, steps) in enumerate(others):
            yield Progress(step=done, total=len(others))
            try:
                other = card.model_copy(update={"preprocessing": steps})
                found = segment(replace(teacher, card=other), image).labels.array
            except UserError:  # such as an intensity of which the image has none
                continue
            value = _dice(card, found, reference)
            if value > best:
                best, better = value, words
    if not better:
        return ""
    return (
        f"The likely cause: with {better} its mean Dice on {case.name} is {best:.2f} instead of "
        f"{before:.2f}."
    )


def _answer(card: ModelCard, teacher: LoadedModel | ReadsAnswers) -> Answer:
    if isinstance(teacher, LoadedModel):
        return by_network(teacher)
    return by_answers(teacher, len(card.classes))


def _other_classes(
    card: ModelCard, found: NDArray[Any], reference: NDArray[Any]
) -> tuple[str, float]:
    """Return the best order of the classes in words, and its mean Dice; 0 for the given one."""
    names = [name for name, index in card.classes.items() if index]
    scored = np.where(reference == IGNORE, IGNORE, found)
    overlaps = _overlaps(scored, reference, [card.classes[name] for name in names])
    _, order = scipy.optimize.linear_sum_assignment(overlaps, maximize=True)
    changed = [(a, names[b]) for a, b in zip(names, order, strict=True) if a != names[b]]
    if not changed:
        return "", 0.0
    lookup = np.arange(256, dtype=np.uint8)
    for a, b in changed:
        lookup[card.classes[a]] = card.classes[b]
    words = ", ".join(f"its {a} as {b}" for a, b in changed)
    return words, _dice(card, lookup[found], reference)


def _overlaps(
    found: NDArray[Any], reference: NDArray[Any], values: list[int]
) -> NDArray[np.float64]:
    """Return the Dice of each value of one mask with each of another, in one pass."""
    side = max(256, max(values) + 1)  # the reference has the ignore label, too
    joint = np.zeros(side**2, np.int64)
    for a, b in zip(found, reference, strict=True):  # slice by slice, for the memory
        joint += np.bincount((a.astype(np.intp) * side + b).ravel(), minlength=len(joint))
    table = joint.reshape(side, side)
    totals = table.sum(1)[values, None] + table.sum(0)[values]
    dice: NDArray[np.float64] = 2 * table[np.ix_(values, values)] / np.maximum(totals, 1)
    return dice


def alternatives(steps: Preprocessing, axes: int) -> Iterator[tuple[str, Preprocessing]]:
    """Yield other settings, each with its words."""
    if axes == 3:
        for code in _ORIENTATIONS:
            if code != steps.orientation:
                words = f"orientation {code} instead of {steps.orientation}"
                yield words, steps.model_copy(update={"orientation": code})
    for kind in _INTENSITIES:
        if kind != steps.intensity or steps.channel_intensity:
            words = f"intensity {kind} instead of {steps.intensity}"
            yield words, steps.model_copy(update={"intensity": kind, "channel_intensity": ()})


def _dice(card: ModelCard, found: NDArray[Any], reference: NDArray[Any]) -> float:
    scored = np.where(reference == IGNORE, IGNORE, found)
    values = [dice_score(scored, reference, index) for index in card.classes.values() if index]
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
