"""ENet (Paszke et al., "ENet: A Deep Neural Network Architecture for Real-Time Semantic
Segmentation", arXiv 1606.02147), the smallest student.

In 3D, which is not in the paper, kernels have a third axis and the asymmetric convolution becomes
three.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import (
    along,
    batch_norm,
    channel_dropout,
    convolution,
    doubling,
    max_pool,
)
from napari_graphflow.networks.taps import TapAdapter

#: Stride 4: end of stage 1 and of stage 4; stride 2: initial block and end of stage 5; stride 8:
#: end of stages 2 and 3.
TAPS = {
    "encoder": "stage1",
    "decoder": "stage4",
    "encoder_2": "initial",
    "decoder_2": "stage5",
    "encoder_3": "stage2",
    "decoder_3": "stage3",
    "bottleneck": "stage3",
    "lo": "initial",
    "hi": "stage3",
}


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.1
) -> TapAdapter:
    """Build an ENet.

    Parameters
    ----------
    width
        Channels w of the initial block; stages have 4w and 8w. By default 16, as published
        (0.35 M parameters in 2D, 0.63 M in 3D); at a 3D width of 8 the last bottlenecks have two
        channels, too few to learn a small structure.
    dropout
        Probability of dropping a channel in a bottleneck of stages 2 to 5; a tenth of it in
        stage 1.
    """
    module = ENet(in_channels, classes, dims, width or 16, dropout)
    return TapAdapter(module, TAPS, multiple=8)


class ENet(nn.Module):
    """Early down-sampling, many thin bottlenecks at stride 8, a short decoder with unpooling."""

    def __init__(
        self, in_channels: int, classes: int, dims: int, width: int = 16, dropout: float = 0.1
    ) -> None:
        super().__init__()
        middle, deep = 4 * width, 8 * width
        self.initial = Initial(dims, in_channels, width)
        self.down1 = Down(dims, width, middle, dropout / 10)
        self.stage1 = nn.Sequential(*(Bottleneck(dims, middle, dropout / 10) for _ in range(4)))
        self.down2 = Down(dims, middle, deep, dropout)
        self.stage2 = _dilated_stage(dims, deep, dropout)
        self.stage3 = _dilated_stage(dims, deep, dropout)
        self.up4 = Up(dims, deep, middle, dropout)
        self.stage4 = nn.Sequential(
            *(Bottleneck(dims, middle, dropout, activation=nn.ReLU) for _ in range(2))
        )
        self.up5 = Up(dims, middle, width, dropout)
        self.stage5 = Bottleneck(dims, width, dropout, activation=nn.ReLU)
        # Where all features before it are 0, only a bias can distinguish the classes.
        self.head = doubling(dims, width, classes, kernel=3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 8 to logits."""
        x, peaks1 = self.down1(self.initial(x))
        x, peaks2 = self.down2(self.stage1(x))
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.up4(x, peaks2))
        x = self.stage5(self.up5(x, peaks1))
        logits: Tensor = self.head(x)
        return logits


class Initial(nn.Module):
    """A strided convolution concatenated with the max-pooled input channels.

    With more input channels than half the width (spectral images) there is no pooling branch.
    """

    def __init__(self, dims: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.pool = max_pool(dims) if in_channels <= width // 2 else None
        filters = width - in_channels if self.pool else width
        self.convolution = convolution(dims, in_channels, filters, stride=2)
        self.after = nn.Sequential(batch_norm(dims, width), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolution(x)
        if self.pool is not None:
            maps = torch.cat([maps, self.pool(x)], dim=1)
        y: Tensor = self.after(maps)
        return y


class Bottleneck(nn.Module):
    """Residual block: reduce to a quarter, convolve (plain, dilated or asymmetric), expand."""

    def __init__(
        self,
        dims: int,
        channels: int,
        dropout: float,
        *,
        dilation: int = 1,
        asymmetric: bool = False,
        activation: type[nn.Module] = nn.PReLU,
    ) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        kernels = [along(axis, 5, dims) for axis in range(dims)] if asymmetric else [(3,) * dims]
        layers = [convolution(dims, channels, inner, 1)]
        layers += [convolution(dims, inner, inner, k, dilation=dilation) for k in kernels]
        layers += [convolution(dims, inner, channels, 1)]
        self.branch = _branch(dims, layers, dropout, activation)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(x + self.branch(x))
        return y


class Down(nn.Module):
    """Bottleneck that halves the size; also returns the position of each maximum."""

    def __init__(self, dims: int, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        inner = max(inputs // 4, 1)
        layers = [
            convolution(dims, inputs, inner, 2, stride=2),
            convolution(dims, inner, inner),
            convolution(dims, inner, outputs, 1),
        ]
        self.branch = _branch(dims, layers, dropout, nn.PReLU)
        self.new_channels = outputs - inputs
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maxima, peaks = pool(x)
        maxima = functional.pad(maxima, [0, 0] * (x.ndim - 2) + [0, self.new_channels])
        return self.activation(maxima + self.branch(x)), peaks


class Up(nn.Module):
    """Bottleneck that doubles the size by unpooling to the positions of the maxima."""

    def __init__(self, dims: int, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        inner = max(inputs // 4, 1)
        self.shortcut = nn.Sequential(
            convolution(dims, inputs, outputs, 1), batch_norm(dims, outputs)
        )
        layers = [
            convolution(dims, inputs, inner, 1),
            doubling(dims, inner, inner),
            convolution(dims, inner, outputs, 1),
        ]
        self.branch = _branch(dims, layers, dropout, nn.ReLU)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, peaks: Tensor) -> Tensor:
        y: Tensor = self.activation(unpool(self.shortcut(x), peaks) + self.branch(x))
        return y


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the size by max pooling; also return the mask of the first maximum of each cell.

    Written with reshapes because torch's unpooling is not supported in deterministic mode and by
    most exporters.

    Parameters
    ----------
    x
        ``(B, C, *spatial)`` with even sizes.

    Returns
    -------
    tuple of Tensor
        Maxima ``(B, C, *spatial / 2)``, and the mask with the corners of a cell as last axis, or
        as a map of the size of `x` while the network is traced for another runtime.
    """
    dims = x.ndim - 2
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return pool_with_map(x)
    split = [n for size in x.shape[2:] for n in (size // 2, 2)]
    corners = x.reshape(*x.shape[:2], *split).permute(
        0, 1, *range(2, 2 + 2 * dims, 2), *range(3, 3 + 2 * dims, 2)
    )
    maxima, position = corners.flatten(-dims).max(dim=-1)
    return maxima, position.unsqueeze(-1) == torch.arange(2**dims, device=x.device)


def unpool(x: Tensor, peaks: Tensor) -> Tensor:
    """Double the size: values at the positions of the maxima, zeros elsewhere."""
    dims = x.ndim - 2
    if peaks.ndim == x.ndim:
        return _doubled(x) * peaks
    corners = (x.unsqueeze(-1) * peaks).reshape(*x.shape, *[2] * dims)
    order = [axis for i in range(dims) for axis in (2 + i, 2 + dims + i)]
    return corners.permute(0, 1, *order).reshape(*x.shape[:2], *(2 * n for n in x.shape[2:]))


def pool_with_map(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `pool` by operations that other runtimes have kernels for; slower in training."""
    dims = x.ndim - 2
    max_pooling = functional.max_pool3d if dims == 3 else functional.max_pool2d
    maxima = max_pooling(x, 2)
    rank = torch.full([1] * x.ndim, 2.0**dims, device=x.device)  # largest at the first corner
    for axis in range(dims):
        odd = torch.arange(x.shape[2 + axis], device=x.device) % 2
        rank = rank - 2.0 ** (dims - 1 - axis) * odd.view(-1, *[1] * (dims - 1 - axis))
    ranked = (x == _doubled(maxima)) * rank
    return maxima, (ranked == _doubled(max_pooling(ranked, 2))).to(x.dtype)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _branch(
    dims: int, layers: list[nn.Module], dropout: float, activation: type[nn.Module]
) -> nn.Sequential:
    branch = nn.Sequential()
    for layer in layers:
        channels = layer.out_channels
        assert isinstance(channels, int)
        branch.extend([layer, batch_norm(dims, channels), activation()])
    branch.append(channel_dropout(dims, dropout))
    return branch


def _dilated_stage(dims: int, channels: int, dropout: float) -> nn.Sequential:
    stage = nn.Sequential()
    for dilations in ((2, 4), (8, 16)):
        stage.append(Bottleneck(dims, channels, dropout))
        stage.append(Bottleneck(dims, channels, dropout, dilation=dilations[0]))
        stage.append(Bottleneck(dims, channels, dropout, asymmetric=True))
        stage.append(Bottleneck(dims, channels, dropout, dilation=dilations[1]))
    return stage
