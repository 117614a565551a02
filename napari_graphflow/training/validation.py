"""Validation scores, and a preview image of one case."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.evaluation.pictures import draw, png
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.inference.torch_engine import TorchEngine
from napari_graphflow.inference.whole_volume import label_array
from napari_graphflow.jobs.folder import chosen_case
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Alive, Preview
from napari_graphflow.system.files import replace_file
from napari_graphflow.training.batches import TrainingCase
from napari_graphflow.training.data import TrainingData


def validate(
    student: nn.Module, data: TrainingData, card: ModelCard, folder: Path, step: int
) -> Generator[Alive | Preview, None, dict[str, float]]:
    """Return the mean Dice of each foreground class, on the preprocessed validation cases.

    Parameters
    ----------
    student
        The network; it is left in training mode.
    data, card
        Data and model card of the run.
    folder
        The job's folder, for the preview.
    step
        Current step of the run.

    Yields
    ------
    event
        `Alive` after each case, so that requests are handled between cases, and `Preview`.
    """
    student.eval()
    scores: dict[str, list[float]] = {name: [] for name, index in card.classes.items() if index}
    paths = JobPaths(folder)
    shown = chosen_case(folder, [case.name for case in data.validation])
    for case in data.validation:
        labels = segmented(student, case, card)
        assert case.labels is not None
        scored = np.where(case.labels == IGNORE, IGNORE, labels)
        for name, values in scores.items():
            values.append(dice_score(scored, case.labels, card.classes[name]))
        if case.name == shown:
            _draw(case, labels, paths.preview)
            path = paths.relative(paths.preview)
            yield Preview(path=path, case=case.name, step=step)
        yield Alive()
    student.train()
    return {n: float(np.nanmean(v)) for n, v in scores.items() if not np.isnan(v).all()}


def segmented(network: nn.Module, case: TrainingCase, card: ModelCard) -> NDArray[np.integer]:
    """Return the class indices of a preprocessed case; the network is in evaluation mode."""
    return label_array(
        TorchEngine(network, card.dims),
        case.image,
        card.patch_size,
        case.image.shape[1:],
        len(card.classes),
        whole=card.windows == "whole",
        even=card.windows == "even",
    )


def _draw(case: TrainingCase, labels: NDArray[Any], path: Path) -> None:
    assert case.labels is not None
    image, reference = case.image[0], np.where(case.labels == IGNORE, 0, case.labels)
    if image.ndim == 3:  # the slice with the largest reference foreground
        index = int(np.argmax((reference > 0).sum((1, 2))))
        image, reference, labels = image[index], reference[index], labels[index]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, png(draw(image, reference, labels)))
