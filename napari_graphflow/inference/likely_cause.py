"""Why a teacher is poor: the orientation or the scaling of intensities with which it is better."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.evaluation.teachers import cases_to_score, is_poor
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import LoadedModel, segment
from napari_graphflow.system.events import TeacherScored

_ORIENTATIONS = ("LPS", "RAS", "LAS", "RPS", "stored")
_INTENSITIES = ("zscore", "percentile", "ct_window", "range", "none")
#: Smallest gain in mean Dice that is worth a sentence.
_GAIN = 0.1


def with_likely_cause(
    scores: TeacherScored, model: LoadedModel, dataset: Dataset, bound: float
) -> TeacherScored:
    """Return the scores of a model, with the likely cause if they are poor; see `is_poor`."""
    if not is_poor(scores, bound):
        return scores
    with suppress(UserError):
        return scores.model_copy(update={"cause": likely_cause(model, dataset)})
    return scores


def likely_cause(model: LoadedModel, dataset: Dataset) -> str:
    """Compare other orientations and scalings on one labelled case.

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
    before = _dice(model, dataset, case, image)
    best, better = before + _GAIN, ""
    for words, steps in alternatives(model.card.preprocessing, image.ndim):
        try:
            card = model.card.model_copy(update={"preprocessing": steps})
            found = _dice(replace(model, card=card), dataset, case, image)
        except UserError:  # such as an intensity of which the image has none
            continue
        if found > best:
            best, better = found, words
    if not better:
        return ""
    return (
        f"The likely cause: with {better} its mean Dice on {case.name} is {best:.2f} instead of "
        f"{before:.2f}."
    )


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


def _dice(model: LoadedModel, dataset: Dataset, case: Case, image: Volume) -> float:
    reference = read_case_labels(dataset, case, image).array
    found = segment(model, image).labels.array
    scored = np.where(reference == IGNORE, IGNORE, found)
    values = [
        dice_score(scored, reference, index) for index in model.card.classes.values() if index
    ]
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
