"""Maps of a variation graph on the feature grid, computed from the tensors of the loss.

These maps are not in the paper (design choice). They show where a network's internal features peak
and change, not properties of tissue. Pixels without a contribution are exactly 0.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from napari_graphflow.distillation.graph_flow.loss import VariationGraph
from napari_graphflow.distillation.graph_flow.salience import patch_positions
from napari_graphflow.errors import UserError


def variation_map(graph: VariationGraph) -> Tensor:
    """``V(u) = 1/2 sum_c sum_delta |dP_c[delta]| ([u = m_c^e + delta] + [u = m_c^d + delta])``.

    Half of a channel's change is added at its encoder peak, half at its decoder peak; where both
    are at least p // 2 from the border, the map sums to all changes.

    Returns
    -------
    Tensor
        (B, *spatial), not negative.

    Raises
    ------
    UserError
        If the two taps have different sizes and therefore no common grid.
    """
    if graph.encoder_size != graph.decoder_size:
        raise UserError(
            f"The encoder tap has size {graph.encoder_size}, the decoder tap {graph.decoder_size}: "
            "there is no common grid for a map.",
            "Choose two taps of the same size.",
        )
    change = (graph.decoder_patches - graph.encoder_patches).detach().abs()
    size, patch = graph.encoder_size, graph.patch
    peaks = (graph.encoder_index, graph.decoder_index)
    return torch.stack([_scatter(change, index, size, patch) for index in peaks]).sum(0) / 2


def to_input_grid(
    maps: Tensor, stride: float | Sequence[float], size: Sequence[int] | None = None
) -> Tensor:
    """Resample maps from the feature grid to the grid of the network's input, not interpolated.

    Feature pixel i covers the input pixels ``i * stride ... (i + 1) * stride - 1``; input pixels
    that no feature pixel covers stay 0.

    Parameters
    ----------
    maps
        (B, *feature size).
    stride
        Input pixels for one feature pixel; one number, or one per spatial axis.
    size
        Spatial size of the input; None uses the size that the maps cover.

    Returns
    -------
    Tensor
        (B, *size).
    """
    dims = maps.ndim - 1
    strides = list(stride) if isinstance(stride, Sequence) else [stride] * dims
    covered = [round(length * step) for length, step in zip(maps.shape[1:], strides, strict=True)]
    for axis, (step, pixels) in enumerate(zip(strides, size or covered, strict=True), start=1):
        length = maps.shape[axis]
        source = ((torch.arange(pixels, device=maps.device) + 0.5) / step).floor().long()
        outside = (source >= length).view([-1 if a == axis else 1 for a in range(dims + 1)])
        maps = maps.index_select(axis, source.clamp_max(length - 1)).masked_fill(outside, 0)
    return maps


def _scatter(values: Tensor, index: Tensor, size: Sequence[int], patch: Sequence[int]) -> Tensor:
    positions, inside = patch_positions(index, size, patch)
    values = values.masked_fill(~inside, 0)
    flat = values.new_zeros(len(values), prod(size))
    return flat.scatter_add(1, positions.flatten(1), values.flatten(1)).view(-1, *size)
