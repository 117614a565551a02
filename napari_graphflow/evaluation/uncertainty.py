"""How certain a model is of a mask, by structure and by slab of slices.

A slab is a few neighbouring slices along the first axis of the stored array: small enough to be
annotated in one go. 2D images have one slab.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

#: Slices of a slab.
THICKNESS = 8


class SlabStatistics(BaseModel):
    """Statistics of one proposed mask.

    Attributes
    ----------
    slices
        Number of slices of the image; 1 for a 2D image.
    thickness
        Slices of a slab; the last one may have fewer.
    entropy
        By structure, for each slab: the mean entropy of the class probabilities, weighted with the
        probability of the structure; 0 where the model is certain, 1 where all classes are equally
        likely. 0 in slabs where the structure is absent.
    voxels
        By structure, for each slab: voxels of the proposed mask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    slices: int
    thickness: int
    entropy: dict[str, tuple[float, ...]]
    voxels: dict[str, tuple[int, ...]]

    def slab(self, index: int) -> tuple[int, int]:
        """Return the first and the last slice of a slab, as indices."""
        first = index * self.thickness
        return first, min(first + self.thickness, self.slices) - 1


def slab_statistics(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: Mapping[str, int],
    thickness: int = THICKNESS,
) -> SlabStatistics:
    """Compute the statistics of a mask from its class probabilities.

    Parameters
    ----------
    probabilities
        (z, y, x, K) or (y, x, K), class probabilities that sum to 1.
    labels
        (z, y, x) or (y, x), class indices of the proposed mask.
    classes
        Name and index of each class; the background, 0, is left out.
    thickness
        Slices of a slab.
    """
    if labels.ndim == 2:
        probabilities, labels = probabilities[None], labels[None]
    starts = range(0, len(labels), thickness)
    structures = {name: index for name, index in classes.items() if index}
    entropy: dict[str, list[float]] = {name: [] for name in structures}
    voxels: dict[str, list[int]] = {name: [] for name in structures}
    scale = math.log(max(probabilities.shape[-1], 2))
    for start in starts:
        # One slab at a time, because a second copy of all probabilities may not fit into memory.
        soft = np.clip(probabilities[start : start + thickness].astype(np.float32), 1e-7, 1)
        uncertain = -(soft * np.log(soft)).sum(-1) / scale
        mask = labels[start : start + thickness]
        for name, index in structures.items():
            weight = soft[..., index]
            # Below a tenth of a voxel the structure is absent, and its mean meaningless.
            total = float(weight.sum(dtype=np.float64))
            present = total > 0.1 + 1e-6 * weight.size
            mean = float((weight * uncertain).sum(dtype=np.float64)) / total if present else 0.0
            entropy[name].append(round(min(max(mean, 0.0), 1.0), 5))
            voxels[name].append(int(np.count_nonzero(mask == index)))
    return SlabStatistics(
        slices=len(labels),
        thickness=thickness,
        entropy={name: tuple(values) for name, values in entropy.items()},
        voxels={name: tuple(values) for name, values in voxels.items()},
    )


def disagreement_by_slab(
    one: NDArray[np.integer],
    other: NDArray[np.integer],
    classes: Mapping[str, int],
    thickness: int = THICKNESS,
) -> dict[str, tuple[float, ...]]:
    """Return where two masks disagree on each structure, by slab.

    Returns
    -------
    dict
        By structure, for each slab: voxels that only one of the masks contains, as a share of the
        voxels that any of them contains in the whole image. Their sum is 1 minus the intersection
        over union, so that a few voxels at the end of a structure weigh little.
    """
    if one.ndim == 2:
        one, other = one[None], other[None]
    found: dict[str, tuple[float, ...]] = {}
    for name, index in classes.items():
        if not index:
            continue
        differing, union = [], 0
        for start in range(0, len(one), thickness):
            a = one[start : start + thickness] == index
            b = other[start : start + thickness] == index
            differing.append(int(np.count_nonzero(a ^ b)))
            union += int(np.count_nonzero(a | b))
        found[name] = tuple(round(count / union, 5) if union else 0.0 for count in differing)
    return found
