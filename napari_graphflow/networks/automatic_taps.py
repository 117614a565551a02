"""Taps of a network that nobody has named: by the stride of its layers, before and after the
smallest feature map.
"""

from typing import Any

import torch
from torch import Tensor, nn

from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import (
    SUFFIXES,
    TapAdapter,
    evaluating,
    first_output,
    strides_of,
)


def total_stride(network: TapAdapter, image: Tensor) -> int:
    """Return the stride of the smallest feature map of a network."""
    return max((stride for _, stride in _layers(network, image)), default=1)


def find_taps(network: TapAdapter, image: Tensor) -> dict[str, str]:
    """Return the module paths of the taps at strides 2, 4 and 8 of an encoder and a decoder.

    Parameters
    ----------
    network
        A network without taps.
    image
        (1, C, *spatial), such as a patch of zeros.

    Returns
    -------
    taps
        Without those that the network does not have; the last layer of each stride is taken that
        is not overwritten in place.
    """
    order = _layers(network, image)
    largest = max((stride for _, stride in order), default=1)
    deepest = [index for index, (_, stride) in enumerate(order) if stride == largest]
    if largest < 2:
        return {}
    before, after = order[: deepest[0]], order[deepest[-1] + 1 :]
    wanted = {"bottleneck": [path for path, stride in order if stride == largest]}
    for stride, suffix in SUFFIXES.items():
        wanted[f"encoder{suffix}"] = [path for path, one in before if one == stride]
        wanted[f"decoder{suffix}"] = [path for path, one in after if one == stride]
    wanted |= {"lo": wanted["encoder_2"], "hi": wanted["encoder_3"]}
    found = {name: _usable(network, image, paths) for name, paths in wanted.items()}
    return {name: path for name, path in found.items() if path}


@torch.no_grad()
def _layers(network: TapAdapter, image: Tensor) -> list[tuple[str, int]]:
    """Return path and stride of all layers that return a feature map, as they are run."""
    order: list[tuple[str, int]] = []

    def record(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = first_output(output)
            if isinstance(tensor, Tensor) and tensor.ndim == image.ndim:
                cells = tensor.shape[2:]
                if all(n <= side for n, side in zip(cells, image.shape[2:], strict=True)):
                    order.append((path, max(strides_of(cells, image.shape[2:]))))

        return hook

    named = [(path, module) for path, module in network.module.named_modules() if path]
    handles = [module.register_forward_hook(record(path)) for path, module in named]
    try:
        with evaluating(network):
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return order


@torch.no_grad()
def _usable(network: TapAdapter, image: Tensor, paths: list[str]) -> str | None:
    """Return the last layer whose output is not overwritten."""
    for path in reversed(paths):
        try:
            with evaluating(network):
                TapAdapter(network.module, {"tap": path}, network.multiple)(image)
        except UserError:
            continue
        return path
    return None
