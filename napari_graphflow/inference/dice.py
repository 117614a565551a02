"""Dice of a loaded model on a case."""

import math

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.evaluation.scores import evaluate
from napari_graphflow.inference.predict import LoadedModel, segment


def dice_of_case(dataset: Dataset, model: LoadedModel, case: Case) -> dict[str, float | None]:
    """Segment a case and score it against its mask.

    Returns
    -------
    dict
        Dice by structure; None if neither mask contains it.

    Raises
    ------
    UserError
        If the case cannot be segmented.
    """
    scores = evaluate(dataset, [case], lambda _, image: segment(model, image).labels.array)
    structures = scores["cases"][case.name]
    found = {name: metrics["dice_score"] for name, metrics in structures.items()}
    return {name: None if math.isnan(dice) else dice for name, dice in found.items()}
