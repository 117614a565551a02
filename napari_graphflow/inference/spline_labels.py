"""Logits on the grid of a network to labels on that of the image, as nnU-Net brings them back."""

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.imaging.nnunet import resample, separate_axis
from napari_graphflow.imaging.preprocessing import Preprocessed, target_spacing
from napari_graphflow.inference.engines import Array
from napari_graphflow.inference.whole_volume import softmax


def spline_labels(
    logits: Array,
    prepared: Preprocessed,
    preprocessing: Preprocessing,
    probabilities: NDArray[np.floating] | None = None,
) -> NDArray[np.integer]:
    """Resample logits class by class, and return the class of the largest one of each voxel.

    Parameters
    ----------
    logits
        (K, *preprocessed grid).
    prepared
        The image.
    preprocessing
        With `nnunet`.
    probabilities
        Receives the softmax (K, *oriented grid), if given.

    Returns
    -------
    labels
        On the grid of ``prepared.oriented``.
    """
    steps = preprocessing.nnunet
    assert steps is not None
    oriented = prepared.oriented
    spacing = target_spacing(oriented, preprocessing)
    axis = separate_axis(steps, spacing, oriented.spacing)
    best = np.full(oriented.shape, -np.inf, np.float32)
    labels = np.zeros(oriented.shape, np.uint8 if len(logits) <= 256 else np.uint16)
    for index, one in enumerate(logits):
        values = resample(one, oriented.shape, axis, steps.logits_order, steps.logits_order_z)
        larger = values > best
        best[larger] = values[larger]
        labels[larger] = index
        if probabilities is not None:
            probabilities[index] = values
    if probabilities is not None:
        for row in range(oriented.shape[0]):
            probabilities[:, row] = softmax(np.asarray(probabilities[:, row], np.float32))
    return labels
