"""Salient patches: the neighbourhood of each channel's peak, which Graph Flow compares.

The first step of Zou et al., IEEE TMI 2022, a **reconstruction**: see
:mod:`napari_graphflow.distillation.graph_flow.loss`. Notation: batch B, channels C, n = 2 or 3
spatial axes, patch side p, patch length m = p^n.
"""

from collections.abc import Iterable, Sequence
from math import prod
from operator import index as as_int
from typing import Literal, get_args

import torch
from torch import Tensor

from napari_graphflow.errors import UserError

Salience = Literal["max", "abs"]


def salience(
    features: Tensor,
    patch: int | Sequence[int],
    mode: Salience = "max",
    peaks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cut the patch around the peak of every channel (reconstruction).

    ``P_c = X[c, m_c + delta]`` with ``m_c = argmax_u X[c, u]``; the first peak wins on ties.
    Gradients flow through the values of the patch, never through its location.

    Parameters
    ----------
    features
        One tap, (B, C, H, W) or (B, C, D, H, W).
    patch
        Side p in feature pixels, odd; one number, or one per spatial axis.
    mode
        ``max`` takes the largest value (reconstruction), ``abs`` the largest magnitude (design
        choice, for taps without an activation).
    peaks
        Flat spatial indices of the patch centres, (B, C), instead of the channels' own peaks
        (design choice).

    Returns
    -------
    patches
        (B, C, m), at least float32. Entries outside the map are 0 (design choice: the peak
        remains in the centre and m constant).
    index
        Flat spatial index of the peaks, (B, C).

    Raises
    ------
    UserError
        If the patch side is even or does not fit the number of axes, or the mode is not valid.
    """
    check_choice("mode", mode, get_args(Salience))
    size = tuple(features.shape[2:])
    sides = patch_sides(patch, len(size))
    index = _peaks(features.detach(), mode) if peaks is None else peaks
    positions, inside = patch_positions(index, size, sides)
    patches = features.flatten(2).gather(2, positions)
    patches = patches.to(torch.promote_types(features.dtype, torch.float32))
    return patches.masked_fill(~inside, 0), index


def patch_sides(patch: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return the odd patch side along each of `dims` (2 or 3) spatial axes."""
    sides = tuple(map(as_int, patch if isinstance(patch, Iterable) else (patch,)))
    sides = sides * dims if len(sides) == 1 else sides
    if dims not in (2, 3) or len(sides) != dims:
        raise UserError(
            f"A patch with {len(sides)} sides does not fit features with {dims} spatial axes.",
            "Write one odd number, or one for each of the 2 or 3 spatial axes.",
        )
    if any(side < 1 or side % 2 == 0 for side in sides):
        raise UserError(
            f"A patch of side {' x '.join(map(str, sides))} has no centre.",
            "Choose odd numbers, such as 3 or 9.",
        )
    return sides


def check_choice(option: str, value: object, choices: Sequence[str]) -> None:
    """Raise a `UserError` if the value of an option is not one of its choices."""
    if value not in choices:
        raise UserError(f"{value!r} is not a valid {option}.", f"Choose {' or '.join(choices)}.")


def patch_positions(
    index: Tensor, size: Sequence[int], patch: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the position of every entry of the patches around `index` in a map of `size`.

    Returns
    -------
    positions
        Flat spatial indices, (B, C, m), in row-major order of the patch; clamped to the map.
    inside
        Whether the entry lies inside the map, (B, C, m).
    """
    positions = index.new_zeros(*index.shape, 1)
    inside = torch.ones_like(positions, dtype=torch.bool)
    for axis, (length, side) in enumerate(zip(size, patch, strict=True)):
        peak = index // prod(size[axis + 1 :]) % length
        at = peak[..., None] + torch.arange(side, device=index.device) - side // 2
        within = (at >= 0) & (at < length)
        at = at.clamp(0, length - 1)
        positions = (positions[..., None] * length + at[..., None, :]).flatten(2)
        inside = (inside[..., None] & within[..., None, :]).flatten(2)
    return positions, inside


def map_peaks(index: Tensor, size: Sequence[int], target: Sequence[int]) -> Tensor:
    """Map peaks of one feature map to another of the same image, to the cell at their centre.

    Both maps are assumed to cover the same tissue. Where the image's size is not a multiple of
    both strides, the last cells extend beyond it and the peak may be off by one cell.

    Parameters
    ----------
    index
        Flat spatial index into a map of spatial `size`, (B, C).
    target
        Spatial size of the other map.

    Returns
    -------
    Tensor
        Flat spatial index into the other map, (B, C).
    """
    if tuple(size) == tuple(target):
        return index
    moved = torch.zeros_like(index)
    for axis, (length, other) in enumerate(zip(size, target, strict=True)):
        at = index // prod(size[axis + 1 :]) % length
        moved = moved * other + (2 * at + 1) * other // (2 * length)
    return moved


def _peaks(features: Tensor, mode: Salience) -> Tensor:
    strength = features.abs() if mode == "abs" else features
    # The best row first, then the best column in it: the same peak as argmax over the whole map
    # (the first one in row-major order), but 2.5 times as fast, since amax is vectorised.
    row = strength.amax(-1).flatten(2).argmax(-1)
    width = strength.shape[-1]
    line = row[..., None, None].expand(-1, -1, 1, width)
    column = strength.flatten(2, -2).gather(2, line).squeeze(2).argmax(-1)
    return row * width + column
