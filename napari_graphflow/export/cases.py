"""The cases on which an export is compared: given ones, or generated ones."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.inputs import find_inputs

#: Number of generated cases.
GENERATED = 2
#: Far from 0, where MONAI's Spacing misplaces the resampled grid (the sign of an offset).
_ORIGIN = (90.0, -130.0, 210.0)
#: Slices of a generated volume for a 2D network.
SLICES = 3


def find_cases(card: ModelCard, paths: Sequence[Path]) -> Iterator[tuple[str, Volume]]:
    """Return the names and images of the given cases, or of generated ones.

    Raises
    ------
    UserError
        If a path is no image, or an image is damaged.
    """
    if not paths:
        for number in range(GENERATED):
            yield f"generated {number + 1}", generated(card, number)
        return
    for one in find_inputs(paths, card.in_channels):
        yield one.name, one.read()


def generated(card: ModelCard, seed: int) -> Volume:
    """Return blobs of random intensities, in another grid and orientation than the network's."""
    random = np.random.default_rng(seed)
    flat = card.dims == 2 and (card.modality == "RGB" or card.preprocessing.size is not None)
    sides = card.patch_size if flat or card.dims == 3 else (SLICES, *card.patch_size)
    # Multiples of 10, so that the extent is that of whole voxels in both grids below; programs
    # differ in how they place others.
    shape = tuple(10 * math.ceil(0.12 * n) for n in sides)
    if card.dims == 2 and not flat:
        shape = (SLICES + seed, *shape[1:])
    wanted = card.preprocessing.spacing or card.purpose.spacing or ()
    known = [one or 1.0 for one in wanted] if len(wanted) == len(shape) else [1.0] * len(shape)
    # One grid finer and one coarser than the network's, if it resamples.
    factor = (1.0 if not card.preprocessing.spacing else 0.9) if seed == 0 else 1.1
    channels = [_blobs(random, shape, card, index) for index in range(card.in_channels)]
    array = np.stack(channels, -1) if card.in_channels > 1 else channels[0]
    ends = (-1.0, -1.0, 1.0) if seed else (1.0, 1.0, 1.0)
    direction = np.diag(ends[: len(shape)]) if not flat else np.eye(len(shape))
    return Volume(
        array,
        tuple(one * factor for one in known),
        _ORIGIN[: len(shape)],
        tuple(direction.ravel().tolist()),
        channels=card.in_channels > 1,
        anatomical=not flat,
    )


def _blobs(
    random: np.random.Generator, shape: tuple[int, ...], card: ModelCard, channel: int
) -> NDArray[Any]:
    steps = card.preprocessing
    kind = steps.channel_intensity[channel] if steps.channel_intensity else steps.intensity
    smooth = ndimage.gaussian_filter(random.normal(size=shape), 3) * 20
    # As that of a scanner, the noise of neighbours is alike.
    values = smooth + ndimage.gaussian_filter(random.normal(size=shape), 0.7)
    if kind == "range":
        photograph: NDArray[np.uint8] = np.clip(128 + 50 * values, 0, 255).astype(np.uint8)
        return photograph
    middle, scale = 300.0, 200.0
    if kind == "ct_window":
        middle, scale = sum(steps.window) / 2, (steps.window[1] - steps.window[0]) / 2
    elif kind == "mean_std":
        index = channel if len(steps.mean) > 1 else 0
        middle, scale = steps.mean[index], steps.std[index if len(steps.std) > 1 else 0]
    scan: NDArray[np.int16] = np.clip(middle + scale * values, -30_000, 30_000).astype(np.int16)
    return scan
