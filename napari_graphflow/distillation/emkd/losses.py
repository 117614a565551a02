"""EMKD: distillation of prediction maps, importance maps and the affinity of regions.

Qin, Bu, Liu, Shen, Zhou, Gu, Wang, Wu, Dai, "Efficient Medical Image Segmentation Based on
Knowledge Distillation", IEEE TMI 40(12), 2021, arXiv 2108.09987; the authors' code is
EagleMIT/EMKD. Where paper and code differ the code is followed, as noted in the docstring.

``L = L_seg + alpha L_PM + beta_1 sum_taps L_IM + beta_2 sum_taps L_RA``, with 0.1, 0.9 and 0.9 and
two taps, at stride 2 and 8. Student and teacher may differ in channels in all terms.

Notation: batch B, channels K, classes R with the background, power p.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import stride_of

Masks = Literal["area", "nearest"]
Absent = Literal["skip", "count"]
Resize = Literal["maps", "features"]
Reduction = Literal["pairs", "paper"]

#: Norm, relative to the largest entry, below which a region's vector has no direction.
SMALLEST_VECTOR = 1e-6


class Preset(NamedTuple):
    """How regions are sampled on a tap, absent ones counted, and taps of unequal size resized.

    `ignored`: whether prediction maps are also compared at pixels with the ignore label.
    """

    masks: Masks
    absent: Absent
    resize: Resize
    ignored: bool


#: ``official`` follows the authors' code; both presets agree where that code is sound.
PRESETS = {
    "official": Preset(masks="nearest", absent="count", resize="features", ignored=True),
    "robust": Preset(masks="area", absent="skip", resize="maps", ignored=False),
}


def prediction_maps_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    """``L_PM = tau^2 / (B N) sum KL(softmax(z_T / tau) || softmax(z_S / tau))`` over N pixels.

    The form of the authors' code for two classes. For R classes the code has 2 / R times this
    value, because it pairs neighbouring pixels instead of classes; the paper, as it is reviewed,
    has the student first and no temperature.

    Parameters
    ----------
    student_logits, teacher_logits
        (B, R, H, W) or (B, R, D, H, W). Gradients reach the student only.
    temperature
        tau, above 0.
    weight
        (B, H, W) or (B, D, H, W), weight of each pixel; None, as published, weights all equally.
        If all weights are 0 the loss is 0.

    Returns
    -------
    Tensor
        A scalar, at least float32.

    Raises
    ------
    UserError
        If student and teacher differ in shape.
    """
    return logits_loss(student_logits, teacher_logits, temperature, weight)


def importance_map(features: Tensor, power: int = 4) -> Tensor:
    """``a[u] = sum_k |F[k, u]|^p``, up to a factor per image; (B, *cells), at least float32.

    Each image is first divided by its largest magnitude, so that no power overflows. The loss
    and its gradient do not depend on that factor.

    Parameters
    ----------
    features
        (B, K, H, W) or (B, K, D, H, W).
    power
        p; 4 as in the code, 2 as in attention transfer, 1 as in the paper.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    largest = _divisor(features.detach().abs().flatten(1).amax(1))
    return (features.abs() / largest.view(-1, *[1] * (features.ndim - 1))).pow(power).sum(1)


def importance_maps_loss(
    student: Tensor, teacher: Tensor, power: int = 4, *, resize: Resize = "features"
) -> Tensor:
    """``L_IM = 1/B sum_b |a_S / |a_S| - a_T / |a_T||^2``, 2 - 2 cos(a_S, a_T), between 0 and 2.

    Parameters
    ----------
    student, teacher
        One tap of each network, (B, K, H, W) or (B, K, D, H, W); channels may differ. Gradients
        reach the student only. Computed in at least float32.
    power
        p of :func:`importance_map`.
    resize
        Where the taps differ in size: ``features`` enlarges or shrinks the student's features
        linearly to the teacher's size (the code), ``maps`` averages both maps down to the smaller
        size along every axis (design choice: nothing is interpolated before the power).

    Raises
    ------
    UserError
        If the number of images or of axes differs.
    """
    _check_taps(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        dtype = torch.promote_types(student.dtype, torch.float32)
        teacher = teacher.detach()
        if resize == "features" and student.shape[2:] != teacher.shape[2:]:
            mode = "bilinear" if student.ndim == 4 else "trilinear"
            student = functional.interpolate(student.to(dtype), teacher.shape[2:], mode=mode)
        maps = [importance_map(features, power) for features in (student, teacher)]
        size = [min(pair) for pair in zip(*(a.shape[1:] for a in maps), strict=True)]
        of_student, of_teacher = (functional.normalize(_pool(a, size).flatten(1)) for a in maps)
        return (of_student - of_teacher).square().sum(1).mean()


def region_weights(labels: Tensor, classes: int, size: Sequence[int], masks: Masks) -> Tensor:
    """Return the share of each region in each cell of a tap.

    Cell i of a tap covers the pixels ``i s ... (i + 1) s - 1``, with s the tap's stride
    (:func:`~napari_graphflow.networks.taps.stride_of`); if there is no such stride, the masks are
    resampled.

    Parameters
    ----------
    labels
        (B, H, W) or (B, D, H, W), class indices; any other value belongs to no region.
    classes
        R.
    size
        Cells along each axis.
    masks
        ``area`` averages over the cell's pixels, so that a lesion smaller than a cell still
        counts; ``nearest`` takes the first pixel of the cell (the code).

    Returns
    -------
    Tensor
        (B, R, *size), float32, 0 to 1.
    """
    pixels = labels.shape[1:]
    strides = [stride_of(n, cells) for n, cells in zip(pixels, size, strict=True)]
    whole = [-(-n // step) for n, step in zip(pixels, strides, strict=True)] == list(size)
    if masks == "nearest" and whole:
        labels = labels[(slice(None), *(slice(None, None, step) for step in strides))]
    elif masks == "nearest":
        labels = functional.interpolate(labels[:, None].float(), tuple(size)).squeeze(1)
    # One class at a time: all of them at the image's size could exhaust the memory.
    regions = ((labels == label).float() for label in range(classes))
    if masks == "nearest":
        return torch.stack(list(regions), 1)
    if not whole:
        return torch.stack([_pool(region, size) for region in regions], 1)
    missing = [step * cells - n for n, cells, step in zip(pixels, size, strides, strict=True)]
    padding = [n for extra in reversed(missing) for n in (0, extra)]
    return torch.stack([_pool(functional.pad(region, padding), size) for region in regions], 1)


def region_vectors(features: Tensor, weights: Tensor) -> Tensor:
    """``v_r = sum_u m_r[u] F[u] / sum_u m_r[u]``, (B, R, K); 0 for a region without weight.

    Parameters
    ----------
    features
        (B, K, *cells).
    weights
        m, (B, R, *cells), as returned by :func:`region_weights`.
    """
    sums = weights.flatten(2) @ features.flatten(2).mT
    return sums / weights.flatten(2).sum(2)[..., None].clamp_min(torch.finfo(sums.dtype).tiny)


def affinity_matrix(vectors: Tensor) -> Tensor:
    """``C[r, s] = <v_r, v_s> / (|v_r| |v_s|)``, (..., R, R), -1 to 1; 0 with a vector of 0.

    A vector below `SMALLEST_VECTOR` of the image's largest entry counts as 0 and receives no
    gradient: its direction would be rounding noise.

    Parameters
    ----------
    vectors
        (..., R, K), at least float32.
    """
    vectors = vectors / _divisor(vectors.detach().abs().amax((-2, -1), keepdim=True))
    squared = vectors.square().sum(-1, keepdim=True)
    alive = squared > SMALLEST_VECTOR**2
    directions = vectors * torch.where(alive, squared, 1).rsqrt() * alive
    return directions @ directions.mT


def region_affinity_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    classes: int,
    masks: Masks = "area",
    *,
    absent: Absent = "skip",
    reduction: Reduction = "pairs",
) -> Tensor:
    """``L_RA = mean (C_S[b, r, s] - C_T[b, r, s])^2`` over images and pairs of regions r < s.

    Regions are sampled on each network's own grid, so that the two taps may differ in size. For
    two classes that are in every image this equals the authors' code, which supports only two.

    Parameters
    ----------
    student, teacher
        One tap of each network, (B, K, H, W) or (B, K, D, H, W); channels may differ. Gradients
        reach the student only. Computed in at least float32.
    labels
        (B, H, W) or (B, D, H, W), class indices; other values, such as those of voxels to ignore,
        belong to no region.
    classes
        R, with the background.
    masks
        See :func:`region_weights`.
    absent
        How a pair counts if one of its regions is missing in an image: ``skip`` leaves it out of
        the mean; ``count`` counts it as 0 (the code).
    reduction
        ``pairs`` as above. ``paper`` compares the mean affinity of the pairs of each image, where
        errors of opposite sign cancel; it never exceeds ``pairs`` in an image.

    Returns
    -------
    Tensor
        A scalar; 0 if there is no pair.

    Raises
    ------
    UserError
        If student, teacher and labels differ in number of images or of axes.
    """
    _check_taps(student, teacher)
    if len(labels) != len(student) or labels.ndim != student.ndim - 1:
        raise UserError(
            f"The tap has shape {tuple(student.shape)}, the labels {tuple(labels.shape)}.",
            "Pass the labels of the same images.",
        )
    with torch.autocast(student.device.type, enabled=False):
        grids = {tuple(tap.shape[2:]) for tap in (student, teacher)}
        weights = {size: region_weights(labels, classes, size, masks) for size in grids}
        of_student, present_s = _affinity(student, weights)
        of_teacher, present_t = _affinity(teacher.detach(), weights)
        first, second = torch.triu_indices(classes, classes, 1, device=labels.device)
        present = present_s & present_t
        valid = present[:, first] & present[:, second]
        difference = (of_student - of_teacher)[:, first, second].where(valid, 0)
        if reduction == "paper":
            difference = difference.sum(1) / valid.sum(1).clamp_min(1)
            valid = valid.any(1)
        count = valid.sum().clamp_min(1) if absent == "skip" else max(1, valid.numel())
        return difference.square().sum() / count


def focal_dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """``L_seg``, half focal and half Dice, over the pixels with a class index as label.

    Focal: the mean of ``-(1 - p_y)^2 log p_y``, its factor detached. Dice: over the whole batch
    with a smooth term of 1, averaged over the foreground classes. As in the authors' code.

    Parameters
    ----------
    logits
        (B, R, *spatial). Computed in at least float32, because sums over a batch overflow float16.
    labels
        (B, *spatial), int64.

    Returns
    -------
    Tensor
        A scalar; 0 if all pixels are ignored.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    valid = (labels >= 0) & (labels < logits.shape[1])
    target = functional.one_hot(labels.where(valid, 0), logits.shape[1]).movedim(-1, 1)
    target = target * valid[:, None]
    logarithm = logits.log_softmax(1)
    soft = logarithm.exp() * valid[:, None]
    focal = ((1 - soft.detach()).square() * -logarithm * target).sum() / valid.sum().clamp_min(1)
    axes = [0, *range(2, logits.ndim)]
    both, total = (soft * target).sum(axes), (soft + target).sum(axes)
    dice = 1 - ((2 * both + 1) / (total + 1))[1:].mean()
    return (focal + dice) / 2


def _affinity(features: Tensor, weights: dict[tuple[int, ...], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the affinities of each image's regions, (B, R, R), and which are present, (B, R)."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    own = weights[tuple(features.shape[2:])].to(features.dtype)
    return affinity_matrix(region_vectors(features, own)), own.flatten(2).any(2)


def _divisor(largest: Tensor) -> Tensor:
    # 1 where all is zero: dividing by a tiny number would turn zero gradients into NaN.
    return torch.where(largest > torch.finfo(largest.dtype).tiny, largest, 1)


def _pool(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Average (B, *spatial) to `size` cells."""
    if list(maps.shape[1:]) == list(size):
        return maps
    pool: Callable[..., Tensor] = (
        functional.adaptive_avg_pool2d if len(size) == 2 else functional.adaptive_avg_pool3d
    )
    return pool(maps[:, None], tuple(size)).squeeze(1)


def _check_taps(student: Tensor, teacher: Tensor) -> None:
    shapes = tuple(student.shape), tuple(teacher.shape)
    if student.ndim != teacher.ndim or len(student) != len(teacher) or student.ndim not in (4, 5):
        raise UserError(
            f"The student's tap has shape {shapes[0]}, the teacher's {shapes[1]}.",
            "Pass the same batch to two 2D or to two 3D networks.",
        )
