"""Dice of a saved model on some cases, by case and structure."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.evaluation.scores import evaluate
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment


def dice_by_case(
    dataset: Dataset,
    model_folder: Path,
    cases: Sequence[Case],
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Segment cases and score them against their masks.

    Returns
    -------
    dict
        By case and structure: Dice; None if neither mask contains the structure.

    Raises
    ------
    UserError
        If the model has other classes than the dataset, or a case cannot be segmented.
    """
    model = load_for_inference(model_folder, device)
    check_classes(model.card, dataset)
    scores = evaluate(
        dataset, cases, lambda case, image: segment(model, image).labels.array, progress
    )
    return {
        case: {
            name: None if math.isnan(dice := metrics["dice_score"]) else dice
            for name, metrics in structures.items()
        }
        for case, structures in scores["cases"].items()
    }
