"""Logits and named feature maps from any network, for images of any size.

Every network of this package is a plain `torch.nn.Module` that maps an image to logits;
`TapAdapter` adds the feature maps that distillation needs, without changing the module.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.config.model_card import OutputShapes
from napari_graphflow.config.padding import padded_size
from napari_graphflow.errors import UserError

#: Suffix of the taps of an encoder and a decoder at each stride, see `Output`.
SUFFIXES = {4: "", 2: "_2", 8: "_3"}


class Output(NamedTuple):
    """Output of a network: logits and feature maps.

    Parameters
    ----------
    logits
        ``(B, classes, *spatial)``, with exactly the spatial size of the image.
    taps
        Feature maps by name. ``encoder`` and ``decoder`` are the main pair (stride 4),
        ``encoder_2`` and ``decoder_2`` the second (stride 2), ``encoder_3`` and ``decoder_3`` the
        third (stride 8) where a network has them; ``bottleneck`` is the deepest map, ``lo`` and
        ``hi`` are maps of the encoder at strides 2 and 8, available in every network. A tap of
        stride s has ``ceil(size / s)`` cells along an axis, and cell i is centred on the image
        coordinate ``(i + 0.5) s - 0.5``.
    """

    logits: Tensor
    taps: dict[str, Tensor]

    def shapes(self) -> OutputShapes:
        """Return the shapes of the first image's logits and taps."""
        one = self.first(1)
        return OutputShapes(
            logits=tuple(one.logits.shape),
            taps={name: tuple(tap.shape) for name, tap in one.taps.items()},
        )

    def first(self, count: int) -> "Output":
        """Return the output of the first images of the batch."""
        return Output(self.logits[:count], {name: x[:count] for name, x in self.taps.items()})


class Head(NamedTuple):
    """What becomes of the outputs of a network before they are the logits of its classes.

    Parameters
    ----------
    regions
        Class that each output paints over those before it where its sigmoid is above 0.5; empty
        if the outputs are logits.
    groups
        Classes of the network that are each class of the result; empty if they are the same.
    """

    regions: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits of the classes (B, K, *spatial).

        A class of several outputs has the probability of their sum: the logarithm of the sum of
        the exponentials of their logits. Regions become classes of which the most probable one is
        the one that is painted: before each region, the largest logit so far is moved to 0.
        """
        if self.regions:
            classes = [torch.zeros_like(x[:, :1])]
            for index in range(len(self.regions)):
                top = torch.cat(classes, 1).amax(1, keepdim=True)
                classes = [*(one - top for one in classes), x[:, index : index + 1]]
            order = [0, *self.regions]
            x = torch.cat([classes[order.index(index)] for index in range(len(order))], 1)
        if self.groups:
            empty = torch.full_like(x[:, 0], -1e4)
            x = torch.stack([x[:, list(g)].logsumexp(1) if g else empty for g in self.groups], 1)
        return x


class TapAdapter(nn.Module):
    """Wrap any segmentation network so that it returns `Output`.

    The image is padded at the far end of each axis to a multiple of the network's total stride
    (edge values repeated) and to at least two cells in the deepest map, because normalisation
    layers cannot be trained on a single cell in a batch of one; logits and taps are cropped back.

    The wrapper does not change the keys of the weights: `state_dict` and `load_state_dict` use
    those of `module`, so that checkpoints of the plain module can be loaded, and vice versa.

    Parameters
    ----------
    module
        Returns logits ``(B, classes, *spatial)``. With deep supervision (a tuple, a list, a
        mapping, or heads stacked along axis 1) the first element is taken.
    taps
        Tap name to path of a submodule, as in ``module.named_modules()``. Its output, or the first
        element of it, must be a feature map ``(B, C, *cells)``.
    multiple
        Number of which the image's size must be a multiple: one number, or one per axis.

    Raises
    ------
    UserError
        If a path does not exist, was not reached, or does not return a usable feature map.
    """

    def __init__(
        self, module: nn.Module, taps: Mapping[str, str], multiple: int | Sequence[int] = 1
    ) -> None:
        super().__init__()
        self.module = module
        self.multiple = multiple if isinstance(multiple, int) else tuple(multiple)
        self.head = Head()
        self.taps: dict[str, str] = {}
        self.use_taps(taps)
        self.register_state_dict_post_hook(_without_prefix)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_prefix)  # type: ignore[no-untyped-call]

    def use_taps(self, taps: Mapping[str, str]) -> None:
        """Replace the taps, after checking that their paths exist."""
        paths = [path for path, _ in self.module.named_modules() if path]
        for name, path in taps.items():
            if path not in paths:
                near = get_close_matches(path, paths, n=4, cutoff=0.4) or paths[:8]
                raise UserError(
                    f"{type(self.module).__name__} has no layer {path!r} for the tap {name!r}.",
                    f"Similar layers: {', '.join(near)}.",
                )
        self.taps = dict(taps)

    def forward(self, x: Tensor) -> Output:
        """Run the network on an image ``(B, C, *spatial)``."""
        found: dict[str, tuple[Any, int]] = {}
        # Hooks exist for one call only: a deep copy or a pickle never has those of another network.
        handles = [
            self.module.get_submodule(path).register_forward_hook(partial(_keep, found, name))
            for name, path in self.taps.items()
        ]
        try:
            padded = channels_last(pad(x, self.multiple))
            logits = self._logits(padded, x)
        finally:
            for handle in handles:
                handle.remove()
        taps = {name: self._tap(name, found.get(name), x, padded) for name in self.taps}
        return Output(logits, taps)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits without collecting the taps."""
        return self._logits(channels_last(pad(x, self.multiple)), x)

    def _logits(self, padded: Tensor, x: Tensor) -> Tensor:
        logits = first_output(self.module(padded))
        if logits.ndim == x.ndim + 1:
            logits = logits[:, 0]
        logits = self.head(logits)
        if logits.shape[2:] != padded.shape[2:]:
            raise UserError(
                f"{type(self.module).__name__} returns logits of size {_size(logits)} for an image "
                f"of size {_size(padded)}.",
                "Use a network whose output has the size of its input.",
            )
        return crop(logits, x.shape[2:])

    def _tap(self, name: str, found: tuple[Any, int] | None, x: Tensor, padded: Tensor) -> Tensor:
        path = self.taps[name]
        if found is None:
            raise UserError(
                f"The layer {path!r} of the tap {name!r} is not run in the forward pass.",
                "Choose a layer that is.",
            )
        tensor, version = found
        if not isinstance(tensor, Tensor) or tensor.ndim != x.ndim:
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(
                f"The layer {path!r} of the tap {name!r} returns {shape}, not a feature map.",
                "Choose a layer whose output has the axes (batch, channel, *cells).",
            )
        if _version(tensor) != version:
            raise UserError(
                f"The output of the layer {path!r} of the tap {name!r} is overwritten in place by "
                "the next layer.",
                "Choose the activation after it.",
            )
        pairs = zip(x.shape[2:], tensor.shape[2:], padded.shape[2:], strict=True)
        return crop(tensor, [-(-size * cells // whole) for size, cells, whole in pairs])


def stride_of(pixels: int, cells: int) -> int:
    """Return the stride of a tap from its number of cells along an axis of `pixels`.

    Several strides may result in ``ceil(pixels / stride)`` cells; the power of two among them is
    taken, because networks halve the size, otherwise the smallest.
    """
    least = -(-pixels // cells)
    power = 1 << (least - 1).bit_length()
    return power if -(-pixels // power) == cells else least


def strides_of(cells: Sequence[int], size: Sequence[int]) -> list[int]:
    """Return the strides of a tap from its cells along each axis of an image of `size`."""
    return [stride_of(n, count) for n, count in zip(size, cells, strict=True)]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and restore the mode of each layer at the end."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def pad(x: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """Pad the far end of each spatial axis with edge values, to `padded_size`."""
    target = padded_size(x.shape[2:], multiple)
    extra = [t - n for t, n in zip(target, x.shape[2:], strict=True)]
    if not any(extra):
        return x
    return functional.pad(x, [n for e in reversed(extra) for n in (0, e)], mode="replicate")


def channels_last(x: Tensor) -> Tensor:
    """Convert an image to channels-last layout, which the layers preserve.

    On a CPU it halves the time of the 3D depthwise convolutions in the small networks.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    # Not contiguous(), which does nothing for an image of one channel.
    return x.to(memory_format=formats.get(x.ndim, torch.contiguous_format))


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Keep the first `size` cells of each spatial axis."""
    for axis, n in enumerate(size, start=2):
        if x.shape[axis] != n:
            x = x.narrow(axis, 0, n)
    return x


def _keep(
    found: dict[str, tuple[Any, int]], name: str, module: nn.Module, inputs: Any, output: Any
) -> None:
    tensor = first_output(output)
    found[name] = tensor, _version(tensor)


def _version(tensor: Any) -> int:
    untracked = torch.compiler.is_compiling() or not isinstance(tensor, Tensor)
    return 0 if untracked or tensor.is_inference() else tensor._version  # noqa: SLF001


def first_output(output: Any) -> Any:
    """Return the first tensor of nested outputs, such as those of deep supervision."""
    while isinstance(output, (tuple, list, Mapping)):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output


def _size(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[2:]))


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, local: Any) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}module.")]:
        state[prefix + key.removeprefix(f"{prefix}module.")] = state.pop(key)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[f"{prefix}module.{key.removeprefix(prefix)}"] = state.pop(key)
