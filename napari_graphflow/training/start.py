"""What a run starts with: weights of another model, and weights of the classes."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_graphflow.config.model_card import WEIGHTS, ModelCard, read_model_card
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.models.saved import load_weights
from napari_graphflow.training.data import TrainingData


def start_from(network: nn.Module, folder: Path, card: ModelCard) -> None:
    """Load the weights of a saved model into the network of a run (warm start).

    Raises
    ------
    UserError
        If the folder is not a saved model, or one of another network or other classes.
    """
    given = read_model_card(folder)
    for name in ("network", "dims", "width", "in_channels", "classes"):
        if getattr(given, name) != (wanted := getattr(card, name)):
            raise UserError(
                f"A run cannot start from {folder}: its {name} is {getattr(given, name)}, and that "
                f"of the run is {wanted}.",
                "Choose another model for init, or the same settings.",
            )
    load_weights(network, folder / WEIGHTS)


def class_weights(
    config: TrainingConfig, data: TrainingData, device: torch.device
) -> Tensor | None:
    """Return the weights (K,) of the classes in the cross-entropy; None for equal ones.

    ``w_k = sqrt(N / n_k)`` for the n_k voxels of class k among the N annotated ones, divided by
    the mean over the classes; a class without voxels has weight 1.
    """
    if config.class_weights == "equal":
        return None
    counts = np.zeros(len(data.dataset.classes))
    for case in data.labelled:
        assert case.labels is not None
        labels = np.asarray(case.labels)
        counts += np.bincount(labels[labels != IGNORE].ravel(), minlength=len(counts))
    return torch.from_numpy(balanced(counts)).float().to(device)


def balanced(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of classes from their numbers of voxels; see `class_weights`."""
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = np.sqrt(counts.sum() / counts[present])
    weights[present] /= weights[present].mean()
    return weights
