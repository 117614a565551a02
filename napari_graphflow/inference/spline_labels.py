"""Logits on the grid of a network to labels on that of the image, as nnU-Net brings them back."""

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.imaging.nnunet import resample, separate_axis
from napari_graphflow.imaging.preprocessing import Preprocessed, target_spacing
from napari_graphflow.inference.engines import Array
from napari_graphflow.inference.whole_volume import softmax


def spline_labels(
    logits: Array,
    prepared: Preprocessed,
    card: ModelCard,
    probabilities: NDArray[np.floating] | None = None,
) -> NDArray[np.integer]:
    """Resample logits class by class, and return the class of the largest one of each voxel.

    Parameters
    ----------
    logits
        (K, *preprocessed grid), of classes or regions, see `ModelCard.engine_outputs`.
    prepared
        The image.
    card
        The model, with the steps of nnU-Net.
    probabilities
        Receives the softmax (K, *oriented grid), if given.

    Returns
    -------
    labels
        On the grid of ``prepared.oriented``.
    """
    steps = card.preprocessing.nnunet
    assert steps is not None
    oriented = prepared.oriented
    spacing = target_spacing(oriented, card.preprocessing)
    axis = separate_axis(steps, spacing, oriented.spacing)
    resampled = (
        resample(one, oriented.shape, axis, steps.logits_order, steps.logits_order_z)
        for one in logits
    )
    if card.paints_late:
        return _painted(np.stack(list(resampled)), card, probabilities)
    best = np.full(oriented.shape, -np.inf, np.float32)
    labels = np.zeros(oriented.shape, np.uint8 if len(logits) <= 256 else np.uint16)
    for index, values in enumerate(resampled):
        larger = values > best
        best[larger] = values[larger]
        labels[larger] = index
        if probabilities is not None:
            probabilities[index] = values
    if probabilities is not None:
        for row in range(oriented.shape[0]):
            probabilities[:, row] = softmax(np.asarray(probabilities[:, row], np.float32))
    return labels


def _painted(
    regions: Array, card: ModelCard, probabilities: NDArray[np.floating] | None
) -> NDArray[np.integer]:
    """Return the class of each voxel of regions (R, *spatial), as `networks.taps.Head` does."""
    order = [0, *card.regions]
    labels = np.zeros(regions.shape[1:], np.uint8)
    for row in range(regions.shape[1]):
        classes = np.zeros((1, *regions.shape[2:]), np.float32)
        for one in regions[:, row]:
            classes = np.concatenate([classes - classes.max(0), one[None]])
        soft = softmax(classes[[order.index(index) for index in range(len(order))]])
        if card.groups:
            soft = np.stack([soft[list(group)].sum(0) for group in card.groups])
        labels[row] = soft.argmax(0)
        if probabilities is not None:
            probabilities[:, row] = soft
    return labels
