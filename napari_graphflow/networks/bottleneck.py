"""Split the pass of any network at its bottleneck: encode, then decode another feature map.

A network of this package is one `forward`. Here its pass is recorded up to the output of the
module of the tap ``bottleneck``: what every module returned that ended before it. To decode, the
same `forward` runs again, but those modules return what was recorded and the bottleneck returns
the replacement. Skip connections are therefore exactly those of the recorded pass (same values,
same dropout, same graph of gradients), nothing is computed twice, and batch statistics of the
encoder are not updated a second time. Any other named tap can take the place of the bottleneck, one
of the decoder for example; it is called the bottleneck all the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_map

from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import TapAdapter, channels_last, first_output, pad

BOTTLENECK = "bottleneck"


@dataclass
class Encoded:
    """A pass of a network up to its bottleneck.

    Attributes
    ----------
    network
        The network.
    image
        (B, C, *spatial), as it was given to the network.
    padded
        The image as it was given to the module.
    bottleneck
        (B, C, *cells), output of the module of the tap, not cropped to the unpadded image.
    tap
        Name of the tap.
    """

    network: TapAdapter
    image: Tensor
    padded: Tensor
    bottleneck: Tensor
    tap: str = BOTTLENECK
    _returned: list[tuple[nn.Module, Any]] = field(default_factory=list)

    def decode(
        self, bottleneck: Tensor, *, detach_skips: bool = False, skip_drop: float = 0.0
    ) -> Tensor:
        """Return the logits for another bottleneck, with the skip connections of this pass.

        Parameters
        ----------
        bottleneck
            (B, C, *cells) of the same shape as that of this pass.
        detach_skips
            Whether gradients stop at the skip connections, so that only the decoder receives any.
        skip_drop
            Probability of dropping a channel of a skip connection.

        Returns
        -------
        Tensor
            (B, classes, *spatial). Batch normalisations use the statistics of this batch in
            training, but do not update their running statistics.
        """
        if bottleneck.shape != self.bottleneck.shape:
            raise UserError(
                f"The bottleneck has shape {tuple(self.bottleneck.shape)}, its replacement "
                f"{tuple(bottleneck.shape)}.",
                "Pass a feature map of the same shape.",
            )
        module = _module_of(self.network, self.tap)
        queues: dict[nn.Module, list[Any]] = {}
        for layer, value in self._returned:
            kept = tree_map(_detached, value) if detach_skips else value
            if skip_drop:
                kept = tree_map(partial(_dropped, probability=skip_drop), kept)
            queues.setdefault(layer, []).append(kept)
        # A copy, because the next layer may work in place.
        queues[module] = [*queues.get(module, []), bottleneck.clone()]
        originals = [(layer, layer.__dict__.get("forward")) for layer in queues]
        for layer, queue in queues.items():
            layer.forward = _replay(queue, layer.forward)
        try:
            with frozen_statistics(self.network):
                return self.network._logits(self.padded, self.image)  # noqa: SLF001
        finally:
            for layer, original in originals:
                del layer.forward
                if original is not None:
                    layer.forward = original


def encode(
    network: nn.Module,
    image: Tensor,
    *,
    tap: str = BOTTLENECK,
    update_statistics: bool = False,
) -> Encoded:
    """Run a network up to its bottleneck only.

    Parameters
    ----------
    image
        (B, C, *spatial).
    tap
        Name of the tap up to which it is run.
    update_statistics
        Whether batch normalisations in training update their running statistics.

    Raises
    ------
    UserError
        If the network has no such tap.
    """
    adapter = adapter_of(network, tap)
    with recording(network, tap, until_bottleneck=True) as found:
        padded = channels_last(pad(image, adapter.multiple))
        try:
            if update_statistics:
                adapter.module(padded)
            else:
                with frozen_statistics(adapter):
                    adapter.module(padded)
        except _Reached:
            pass
    return found(image)


@contextmanager
def recording(
    network: nn.Module, tap: str = BOTTLENECK, *, until_bottleneck: bool = False
) -> Iterator[Callable[[Tensor], Encoded]]:
    """Record one pass of a network; afterwards, call the result with the image of that pass."""
    adapter = adapter_of(network, tap)
    module, ancestors = _module_of(adapter, tap), _ancestors(adapter, tap)
    returned: list[tuple[nn.Module, Any]] = []
    found: list[Tensor] = []
    depth = [0]

    def enter(layer: nn.Module, inputs: Any) -> None:
        depth[0] += 1

    def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
        depth[0] -= 1
        if depth[0] or found:
            return
        if layer is module:
            found.append(first_output(output))
            if until_bottleneck:
                raise _Reached
            return
        returned.append((layer, output))

    outside = [layer for layer in adapter.module.modules() if layer not in ancestors]
    handles = [layer.register_forward_pre_hook(enter) for layer in outside]
    handles += [layer.register_forward_hook(leave) for layer in outside]

    def encoded(image: Tensor) -> Encoded:
        if not found:
            raise UserError(
                f"The tap {tap} of the network was not reached in its forward pass.",
                f"Name a layer that is run as the tap {tap} when you import the model.",
            )
        padded = channels_last(pad(image, adapter.multiple))
        return Encoded(adapter, image, padded, found[0], tap, returned)

    try:
        yield encoded
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def maybe_recording(
    network: nn.Module | None, tap: str | None
) -> Iterator[Callable[[Tensor], Encoded] | None]:
    """Record a pass as :func:`recording` does, or without a tap do nothing and give None."""
    if tap is None or network is None:
        yield None
        return
    with recording(network, tap) as encoded:
        yield encoded


def adapter_of(network: nn.Module, tap: str | None = None) -> TapAdapter:
    """Return the network inside the wrappers of Fabric.

    Raises
    ------
    UserError
        If it has no taps, or none of this name.
    """
    inner = next((part for part in network.modules() if isinstance(part, TapAdapter)), None)
    if inner is None or tap not in (None, *inner.taps):
        named = ", ".join(inner.taps) if inner is not None else ""
        raise UserError(
            f"The network has no tap {tap}, at which this method reads and replaces features.",
            f"Named taps: {named or 'none'}. Name the missing tap when you import the model, or "
            "choose another network.",
        )
    return inner


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of all normalisations; in training they use the batch's own."""
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _NormBase) and layer.training and layer.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


class _Reached(Exception):
    """The pass is at the bottleneck."""


def _module_of(adapter: TapAdapter, tap: str) -> nn.Module:
    return adapter.module.get_submodule(adapter.taps[tap])


def _ancestors(adapter: TapAdapter, tap: str) -> set[nn.Module]:
    """Return the modules that contain that of a tap."""
    parts = adapter.taps[tap].split(".")[:-1]
    inner = (".".join(parts[: count + 1]) for count in range(len(parts)))
    return {adapter.module, *(adapter.module.get_submodule(path) for path in inner)}


def _replay(queue: list[Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return what was recorded, call by call; then compute as before."""

    def replayed(*arguments: Any, **keywords: Any) -> Any:
        return queue.pop(0) if queue else forward(*arguments, **keywords)

    return replayed


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _dropped(value: Any, probability: float) -> Any:
    """Drop channels of feature maps; leave the positions of maxima and the like."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.ndim < 4:
        return value
    drop = functional.dropout2d if value.ndim == 4 else functional.dropout3d
    return drop(value, probability)
