"""Importance maps and region affinities of EMKD, for display.

Both are properties of a network's features, not of the tissue. They are computed from the tap
``hi`` (stride 8) or ``lo`` (stride 2) of the encoder, window by window, and merged.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.distillation.emkd.losses import affinity_matrix, region_weights
from napari_graphflow.distillation.graph_flow.maps import to_input_grid
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import prepare, prepare_labels, restore_maps
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.map_words import resolution
from napari_graphflow.inference.predict import segment
from napari_graphflow.inference.torch_windows import over_windows
from napari_graphflow.inference.whole_volume import Cancelled, Progress
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.taps import Output, strides_of

NOTE = "Internal features of the network, not probabilities and not tissue properties."
#: Percentile of an importance map that is scaled to 1.
SCALE_PERCENTILE = 99


@dataclass(frozen=True)
class ImportanceMaps:
    """Importance maps in the grid of the image, 1 at the 99th percentile of each.

    Attributes
    ----------
    student, teacher
        Not negative; the teacher's only if a teacher was given.
    difference
        Teacher minus student.
    agreement
        Cosine of the two maps, 0 to 1; None without a teacher.
    notes
        Sentences to show with the maps.
    """

    student: Volume
    teacher: Volume | None
    difference: Volume | None
    agreement: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RegionAffinity:
    """Similarity of the regions of an image in a network: cosines of their mean features.

    Attributes
    ----------
    classes
        Names, in the order of rows and columns.
    voxels
        (R,), size of each region in voxels of the preprocessed image.
    student, teacher
        (R, R), -1 to 1, NaN where a region is not in the image; the teacher's only if a teacher
        was given.
    difference
        Teacher minus student.
    notes
        Sentences to show with the matrices.
    """

    classes: tuple[str, ...]
    voxels: NDArray[np.float64]
    student: NDArray[np.float64]
    teacher: NDArray[np.float64] | None
    difference: NDArray[np.float64] | None
    notes: tuple[str, ...]


def importance_maps(
    student: Model,
    volume: Volume,
    teacher: Model | None = None,
    *,
    tap: str = "hi",
    power: int = 2,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> ImportanceMaps:
    """Compute ``sum_k |F[k, u]|^p`` of a student and, if given, of a teacher.

    Parameters
    ----------
    student, teacher
        Loaded models.
    volume
        An image in its stored grid.
    tap
        Name of the feature map.
    power
        p; 2 shows more detail than the 4 of the loss, which leaves a few bright spots.
    progress, cancelled
        As in :func:`napari_graphflow.inference.predict.segment`.

    Raises
    ------
    UserError
        If the image does not fit a model, or a network has no such tap.
    """
    found: set[tuple[int, ...]] = set()

    def draw(model: Model) -> Volume:
        def compute(windows: Tensor) -> Tensor:
            features = _tap(model.module(windows), tap).float()
            size = tuple(windows.shape[2:])
            strides = strides_of(features.shape[2:], size)
            found.add(tuple(strides))
            return to_input_grid(features.abs().pow(power).sum(1), strides, size)[:, None]

        prepared = prepare(volume, model.card.preprocessing)
        maps = _over(model, compute, prepared.array, progress, cancelled)
        restored = restore_maps(maps.numpy(), prepared, smooth=False).array[..., 0]
        top = float(np.percentile(restored, SCALE_PERCENTILE)) or float(restored.max()) or 1.0
        return volume.with_array(restored / top, channels=False)

    check_fits(volume, student.card)
    of_student = draw(student)
    if teacher is None:
        return ImportanceMaps(of_student, None, None, None, _notes(found))
    check_fits(volume, teacher.card)
    of_teacher = draw(teacher)
    both = [one.array.astype(np.float64).ravel() for one in (of_student, of_teacher)]
    length = math.prod(float(np.linalg.norm(one)) for one in both)
    agreement = float(both[0] @ both[1]) / length if length else 0.0
    difference = of_teacher.with_array(of_teacher.array - of_student.array)
    return ImportanceMaps(of_student, of_teacher, difference, agreement, _notes(found))


def _notes(strides: Collection[tuple[int, ...]]) -> tuple[str, ...]:
    return tuple(one for one in (NOTE, resolution(strides)) if one)


def region_affinity(
    student: Model,
    volume: Volume,
    labels: Volume | None = None,
    teacher: Model | None = None,
    *,
    tap: str = "hi",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> RegionAffinity:
    """Compute the similarity of the regions of an image in a student and in its teacher.

    Features are averaged over the whole image, weighted by the share of a region in each cell,
    before the cosines are computed. Where the size is not a multiple of the window's, the last
    windows along an axis overlap those before them, and the cells in the overlap count twice.

    Parameters
    ----------
    student, teacher
        Loaded models with the same classes.
    volume
        An image in its stored grid.
    labels
        Mask of class indices in the same grid; None uses the student's prediction.
    tap, progress, cancelled
        As in :func:`importance_maps`.

    Raises
    ------
    UserError
        If image, mask and models do not fit together, or a network has no such tap.
    """
    check_fits(volume, student.card)
    notes = [NOTE]
    if labels is None:
        labels = segment(in_torch(student), volume, progress=progress, cancelled=cancelled).labels
        notes.append("The regions are those predicted by the student, not those of a reference.")
    if labels.shape != volume.shape:
        raise UserError(
            f"The mask has size {labels.shape}, the image {volume.shape}.",
            "Choose a mask of this image.",
        )
    of_student, voxels = _affinity(student, volume, labels, tap, progress, cancelled)
    classes = tuple(sorted(student.card.classes, key=student.card.classes.__getitem__))
    if teacher is None:
        return RegionAffinity(classes, voxels, of_student, None, None, tuple(notes))
    check_fits(volume, teacher.card)
    if teacher.card.classes != student.card.classes:
        raise UserError(
            f"The teacher {teacher.card.name} has other classes than {student.card.name}.",
            "Choose the teacher of this student.",
        )
    of_teacher, _ = _affinity(teacher, volume, labels, tap, progress, cancelled)
    difference = of_teacher - of_student
    return RegionAffinity(classes, voxels, of_student, of_teacher, difference, tuple(notes))


def _affinity(
    model: Model,
    volume: Volume,
    labels: Volume,
    tap: str,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    classes = len(model.card.classes)
    prepared = prepare(volume, model.card.preprocessing)
    mask = prepare_labels(labels, model.card.preprocessing, prepared.box)
    # The mask is windowed together with the image; its padding is 0, which is not a class.
    stacked = np.concatenate([prepared.array, mask[None].astype(np.float32) + 1])
    sums: list[Tensor] = []

    def compute(windows: Tensor) -> Tensor:
        features = _tap(model.module(windows[:, :-1]), tap).double()
        found = windows[:, -1].round().long() - 1
        weights = region_weights(found, classes, features.shape[2:], "area").double()
        sums.append(torch.einsum("brn,bkn->rk", weights.flatten(2), features.flatten(2)))
        return torch.zeros_like(windows[:, :1])

    _over(model, compute, stacked, progress, cancelled)
    voxels = np.array([np.count_nonzero(mask == label) for label in range(classes)], float)
    matrix = affinity_matrix(torch.stack(sums).sum(0)).cpu()
    present = torch.from_numpy(voxels > 0)
    matrix[~(present[:, None] & present)] = math.nan
    return matrix.numpy(), voxels


def _over(
    model: Model,
    compute: Callable[[Tensor], Tensor],
    array: NDArray[np.float32],
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> Tensor:
    return over_windows(
        compute,
        array,
        model.card.patch_size,
        device=model.device,
        progress=progress,
        cancelled=cancelled,
    )


def _tap(output: Output, name: str) -> Tensor:
    if name not in output.taps:
        raise UserError(
            f"The network has no tap {name}.",
            f"Named taps: {', '.join(output.taps) or 'none'}. Taps are named when the model is "
            "imported.",
        )
    return output.taps[name]
