"""How large and how costly a network is."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from napari_graphflow.networks.taps import evaluating


def count_parameters(module: nn.Module, *, batch_norm: bool = True) -> int:
    """Count the weights of a network.

    Parameters
    ----------
    batch_norm
        Whether the scale and shift of batch normalisation count; publications differ.
    """
    left_out = set()
    if not batch_norm:
        norms = (m for m in module.modules() if isinstance(m, _BatchNorm))
        left_out = {id(p) for norm in norms for p in norm.parameters()}
    return sum(p.numel() for p in module.parameters() if id(p) not in left_out)


def count_macs(module: nn.Module, shape: Sequence[int]) -> int:
    """Count the multiply-adds of a forward pass without computing it.

    Convolutions, transposed convolutions, linear layers and attention count; biases,
    normalisation, activations, pooling and interpolation do not. A transposed convolution of
    stride s costs one multiply-add for each input cell and weight. Publications that speak of
    "FLOPs" mean this number or twice this number.

    Parameters
    ----------
    shape
        Shape of the input ``(B, C, *spatial)``.
    """
    state = {
        name: tensor.to("meta")
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }
    counter = FlopCounterMode(display=False)
    with evaluating(module), counter, torch.no_grad():
        functional_call(module, state, torch.empty(tuple(shape), device="meta"))
    return counter.get_total_flops() // 2
