"""The U-Nets of nnU-Net v2, built as the plans of a training describe them.

`PlainConvUNet` (Isensee et al., Nature Methods 2021) has stacked convolutions, each followed by
normalisation and a leaky ReLU; `ResidualEncoderUNet` (Isensee et al., MICCAI 2024) has an encoder
of residual blocks whose skip is pooled before its pointwise convolution (He et al., CVPR 2019).
Strided convolutions go down, transposed ones up. Without deep supervision and dropout, which
predictions do not use. The parameters have the names of nnU-Net's `dynamic_network_architectures`,
so that its weights can be loaded.
"""

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers import Conv, Norm, Pool
from torch import Tensor, nn

from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import SUFFIXES, TapAdapter

CLASSES = ("PlainConvUNet", "ResidualEncoderUNet")


def network(
    in_channels: int,
    classes: int,
    dims: int,
    width: int | None = None,
    *,
    class_name: str,
    **plan: Any,
) -> TapAdapter:
    """Build a U-Net of nnU-Net with its taps, at the strides 4, 2 and 8 that it has.

    Parameters
    ----------
    width
        Must be None; `plan` has the channels of each stage.
    class_name
        One of `CLASSES`.
    plan
        ``features_per_stage``, ``kernel_sizes``, ``strides``, ``n_conv_per_stage`` or
        ``n_blocks_per_stage``, ``n_conv_per_stage_decoder``, and optionally ``conv_bias``,
        ``norm`` (``instance`` or ``batch``), ``norm_options``, ``activation`` (``leaky`` or
        ``relu``), ``activation_first``.

    Raises
    ------
    UserError
        If there is no such class, or the plan does not describe a network.
    """
    if class_name not in CLASSES:
        raise UserError(
            f"{class_name!r} is not a network of nnU-Net that can be used.",
            f"Choose {' or '.join(CLASSES)}.",
        )
    if width is not None:
        raise UserError("A network of nnU-Net has the widths of its plan.", "Leave out width.")
    try:
        net = UNet(in_channels, classes, dims, class_name, **plan)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise UserError(
            f"nnU-Net's {class_name} cannot be built: {error}.",
            "Import the folder of nnU-Net again, without editing its plans.",
        ) from None
    strides = cumulated(plan["strides"], dims)
    taps = taps_at(strides)
    return TapAdapter(net, taps, multiple=strides[-1])


def cumulated(strides: Sequence[int | Sequence[int]], dims: int) -> list[tuple[int, ...]]:
    """Return the stride of each stage relative to the image, per axis."""
    found: list[tuple[int, ...]] = []
    total = (1,) * dims
    for one in strides:
        sides = [one] * dims if isinstance(one, int) else one
        total = tuple(a * b for a, b in zip(total, sides, strict=True))
        found.append(total)
    return found


def taps_at(strides: Sequence[tuple[int, ...]]) -> dict[str, str]:
    """Return the module paths of the taps, by the largest stride of each stage."""
    largest = [max(one) for one in strides]
    taps = {"bottleneck": f"encoder.stages.{len(strides) - 1}"}
    for stride, suffix in SUFFIXES.items():
        if stride not in largest:
            continue
        stage = largest.index(stride)
        taps[f"encoder{suffix}"] = f"encoder.stages.{stage}"
        if stage < len(strides) - 1:
            taps[f"decoder{suffix}"] = f"decoder.stages.{len(strides) - 2 - stage}"
        if stride != 4:
            taps["lo" if stride == 2 else "hi"] = f"encoder.stages.{stage}"
    return taps


class Layers:
    """The layers of a network by its number of axes, normalisation and activation."""

    def __init__(
        self,
        dims: int,
        norm: str = "instance",
        norm_options: dict[str, Any] | None = None,
        activation: str = "leaky",
        *,
        conv_bias: bool = True,
        activation_first: bool = False,
    ) -> None:
        self.dims, self.bias, self.first = dims, conv_bias, activation_first
        self._norm = Norm[norm, dims]
        self._options = {"affine": True} if norm_options is None else norm_options
        self._activation = {"leaky": nn.LeakyReLU, "relu": nn.ReLU}[activation]

    def convolution(
        self, inputs: int, outputs: int, kernel: Any, stride: Any = 1, *, bias: bool | None = None
    ) -> nn.Module:
        sides = [kernel] * self.dims if isinstance(kernel, int) else list(kernel)
        steps = [stride] * self.dims if isinstance(stride, int) else list(stride)
        layer: nn.Module = Conv[Conv.CONV, self.dims](
            inputs,
            outputs,
            tuple(sides),
            stride=tuple(steps),
            padding=tuple((side - 1) // 2 for side in sides),
            bias=self.bias if bias is None else bias,
        )
        return layer

    def up(self, inputs: int, outputs: int, stride: Any) -> nn.Module:
        steps = (stride,) * self.dims if isinstance(stride, int) else tuple(stride)
        layer: nn.Module = Conv[Conv.CONVTRANS, self.dims](
            inputs, outputs, steps, stride=steps, bias=self.bias
        )
        return layer

    def pool(self, stride: Any) -> nn.Module:
        steps = (stride,) * self.dims if isinstance(stride, int) else tuple(stride)
        layer: nn.Module = Pool[Pool.AVG, self.dims](steps, steps)
        return layer

    def norm(self, channels: int) -> nn.Module:
        layer: nn.Module = self._norm(channels, **self._options)
        return layer

    def activation(self) -> nn.Module:
        layer: nn.Module = self._activation(inplace=True)
        return layer


class Block(nn.Module):
    """A convolution, its normalisation and, unless it ends a residual branch, activation."""

    def __init__(
        self,
        layers: Layers,
        inputs: int,
        outputs: int,
        kernel: Any,
        stride: Any = 1,
        *,
        bias: bool | None = None,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = layers.convolution(inputs, outputs, kernel, stride, bias=bias)
        self.norm = layers.norm(outputs)
        self.nonlin = layers.activation() if active else nn.Identity()
        self.first = layers.first and active

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map."""
        x = self.conv(x)
        y: Tensor = self.norm(self.nonlin(x)) if self.first else self.nonlin(self.norm(x))
        return y


class Stack(nn.Module):
    """Blocks one after the other, of which the first may reduce the size."""

    def __init__(
        self, layers: Layers, count: int, inputs: int, outputs: int, kernel: Any, stride: Any = 1
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            Block(layers, inputs, outputs, kernel, stride),
            *(Block(layers, outputs, outputs, kernel) for _ in range(count - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map."""
        y: Tensor = self.convs(x)
        return y


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip that is pooled and projected where the shape changes."""

    def __init__(self, layers: Layers, inputs: int, outputs: int, kernel: Any, stride: Any) -> None:
        super().__init__()
        self.conv1 = Block(layers, inputs, outputs, kernel, stride)
        self.conv2 = Block(layers, outputs, outputs, kernel, active=False)
        self.nonlin2 = layers.activation()
        steps = [stride] * layers.dims if isinstance(stride, int) else stride
        skip = [layers.pool(stride)] if any(step != 1 for step in steps) else []
        if inputs != outputs:
            skip.append(Block(layers, inputs, outputs, 1, bias=False, active=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map."""
        y: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return y


class ResidualStack(nn.Module):
    """Residual blocks one after the other, of which the first may reduce the size."""

    def __init__(
        self, layers: Layers, count: int, inputs: int, outputs: int, kernel: Any, stride: Any
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            ResidualBlock(layers, inputs, outputs, kernel, stride),
            *(ResidualBlock(layers, outputs, outputs, kernel, 1) for _ in range(count - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map."""
        y: Tensor = self.blocks(x)
        return y


class Encoder(nn.Module):
    """Stages from the image to the bottleneck; with residual blocks after a stem."""

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        channels: Sequence[int],
        counts: Sequence[int],
        kernels: Sequence[Any],
        strides: Sequence[Any],
        *,
        residual: bool,
    ) -> None:
        super().__init__()
        inputs = in_channels
        self.stem: nn.Module = nn.Identity()
        if residual:
            self.stem = Stack(layers, 1, in_channels, channels[0], kernels[0])
            inputs = channels[0]
        stages: list[nn.Module] = []
        for count, outputs, kernel, stride in zip(counts, channels, kernels, strides, strict=True):
            shape = (layers, count, inputs, outputs, kernel, stride)
            stages.append(ResidualStack(*shape) if residual else nn.Sequential(Stack(*shape)))
            inputs = outputs
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature map of each stage."""
        x, levels = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Stages from the bottleneck to the logits, each with the encoder's map of its size."""

    def __init__(
        self,
        layers: Layers,
        channels: Sequence[int],
        classes: int,
        counts: Sequence[int],
        kernels: Sequence[Any],
        strides: Sequence[Any],
    ) -> None:
        super().__init__()
        down = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        steps = strides[:0:-1]
        self.transpconvs = nn.ModuleList(
            layers.up(a, b, step) for (a, b), step in zip(down, steps, strict=True)
        )
        self.stages = nn.ModuleList(
            Stack(layers, count, 2 * b, b, kernel)
            for (_, b), count, kernel in zip(down, counts, kernels[-2::-1], strict=True)
        )
        # The others are those of deep supervision.
        last = layers.convolution(channels[0], classes, 1, bias=True)
        self.seg_layers = nn.ModuleDict({str(len(down) - 1): last})

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return the logits."""
        *skips, x = levels
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        (head,) = self.seg_layers.values()
        logits: Tensor = head(x)
        return logits


class UNet(nn.Module):
    """Encoder and decoder with skips; parameters as for :func:`network`."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        dims: int,
        class_name: str,
        *,
        features_per_stage: Sequence[int],
        kernel_sizes: Sequence[Any],
        strides: Sequence[Any],
        n_conv_per_stage_decoder: Sequence[int],
        n_conv_per_stage: Sequence[int] = (),
        n_blocks_per_stage: Sequence[int] = (),
        **options: Any,
    ) -> None:
        super().__init__()
        residual = class_name == "ResidualEncoderUNet"
        layers = Layers(dims, **options)
        counts = n_blocks_per_stage if residual else n_conv_per_stage
        channels, kernels = list(features_per_stage), list(kernel_sizes)
        self.encoder = Encoder(
            layers, in_channels, channels, counts, kernels, strides, residual=residual
        )
        self.decoder = Decoder(
            layers, channels, classes, n_conv_per_stage_decoder, kernels, list(strides)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of the total stride to logits."""
        logits: Tensor = self.decoder(self.encoder(x))
        return logits
