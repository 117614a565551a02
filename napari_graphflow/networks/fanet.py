"""FANet, the teacher of Graph Flow: a residual U-Net of selective kernels with strip pooling.

Reconstruction. The authors' source was not used: the design follows a description (stages of
64, 128, 256 and 512 channels with two residual blocks each; a block is 1x1 convolution, selective
kernels of sides 3 and 5, 1x1 convolution; attention with square pools of 3 and 6, 12 and 18, 3 and
6 cells in the decoder; head of dropout and 1x1 convolution), with the parts as in

- Li et al., "Selective Kernel Networks", CVPR 2019;
- Hou et al., "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", CVPR 2019.

Details that the description does not specify were chosen to match the known counts for 1 channel
and 2 classes: 38.292 M parameters (38.250 M without batch normalisation), both matched. Of the
known 166.6 G multiply-adds at 256 x 256 this network needs 164.2 G: the difference is one strip
convolution per attention block, which the original computes after enlarging the strip instead of
before, with the same result.

Design choices: pooled maps are enlarged linearly, not by nearest neighbours, which would leave a
grid; unused parts of the original (an auxiliary head, three gains) are omitted. In 3D, which was
not published, the kernel of side 5 is one of side 3 with dilation 2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import (
    LINEAR,
    PooledNorm,
    along,
    batch_norm,
    channel_dropout,
    convolution,
    doubling,
    max_pool,
    pool_to,
)
from napari_graphflow.networks.taps import TapAdapter

#: Stride 4: third encoder stage and first up-convolution (before the skip, no activation); then 2;
#: stride 8: first block and end of the fourth stage, since no decoder stage has this stride.
TAPS = {
    "encoder": "encoder.2",
    "decoder": "ups.0",
    "encoder_2": "encoder.1",
    "decoder_2": "ups.1",
    "encoder_3": "encoder.3.0",
    "decoder_3": "encoder.3",
    "bottleneck": "encoder.3",
    "lo": "encoder.1",
    "hi": "encoder.3",
}
#: Cells along each axis of the two square pools, from the deepest decoder stage up.
POOLS = ((3, 6), (12, 18), (3, 6))


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.5
) -> TapAdapter:
    """Build a FANet.

    Parameters
    ----------
    width
        Channels w of the stages w, 2w, 4w, 8w; by default 64 in 2D, as published, and 16 in 3D.
    dropout
        Probability of dropping a channel before the head.
    """
    module = FANet(in_channels, classes, dims, width or {2: 64, 3: 16}[dims], dropout)
    return TapAdapter(module, TAPS, multiple=8)


class FANet(nn.Module):
    """U-Net of four levels whose decoder stages end in strip-pooling attention."""

    def __init__(
        self, in_channels: int, classes: int, dims: int, width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        levels = [width * 2**level for level in range(4)]
        self.encoder = nn.ModuleList(
            stage(dims, inputs, outputs)
            for inputs, outputs in zip([in_channels, *levels], levels, strict=False)
        )
        self.pool = max_pool(dims)
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for outputs, pools in zip(reversed(levels[:-1]), POOLS, strict=True):
            self.ups.append(doubling(dims, 2 * outputs, outputs, bias=True))
            attention = StripAttention(dims, outputs, pools)
            self.decoder.append(nn.Sequential(stage(dims, 2 * outputs, outputs), attention))
        self.head = nn.Sequential(
            channel_dropout(dims, dropout), convolution(dims, width, classes, 1, bias=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 8 to logits."""
        skips: list[Tensor] = []
        for level in self.encoder:
            x = level(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for up, level in zip(self.ups, self.decoder, strict=True):
            x = level(torch.cat([skips.pop(), up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


class SelectiveKernel(nn.Module):
    """Two kernel sizes, mixed channel by channel with weights computed from the image."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        large = {"kernel": 5} if dims == 2 else {"kernel": 3, "dilation": 2}
        self.large = nn.Sequential(
            convolution(dims, channels, channels, bias=True, **large),
            batch_norm(dims, channels),
            nn.ReLU(),
        )
        self.small = nn.Sequential(
            convolution(dims, channels, channels, bias=True), batch_norm(dims, channels), nn.ReLU()
        )
        inner = max(channels // 2, 1)
        self.summary = nn.Sequential(
            convolution(dims, channels, inner, 1, bias=True),
            PooledNorm(inner),
            nn.ReLU(),
        )
        self.large_gate = convolution(dims, inner, channels, 1, bias=True)
        self.small_gate = convolution(dims, inner, channels, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.large(x), self.small(x)
        summary = self.summary(pool_to(large + small, 1))
        # A softmax over two branches is a sigmoid of the difference.
        share = torch.sigmoid(self.large_gate(summary) - self.small_gate(summary))
        y: Tensor = torch.lerp(small, large, share)
        return y


class Residual(nn.Module):
    """Residual block: 1x1 convolution, selective kernels, 1x1 convolution, and a shortcut."""

    def __init__(self, dims: int, inputs: int, outputs: int, projected: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            convolution(dims, inputs, outputs, 1),
            batch_norm(dims, outputs),
            nn.ReLU(),
            SelectiveKernel(dims, outputs),
            batch_norm(dims, outputs),
            nn.ReLU(),
            convolution(dims, outputs, outputs, 1),
            batch_norm(dims, outputs),
        )
        self.shortcut = nn.Sequential()
        if projected:
            self.shortcut.extend([convolution(dims, inputs, outputs, 1), batch_norm(dims, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.relu(self.branch(x) + self.shortcut(x))
        return y


class StripAttention(nn.Module):
    """Residual attention from square pools and from strips, one strip along each axis."""

    def __init__(self, dims: int, channels: int, pools: tuple[int, int]) -> None:
        super().__init__()
        self.linear = LINEAR[dims]
        self.enter_squares = _convolution(dims, channels, channels, 1)
        self.enter_strips = _convolution(dims, channels, channels, 1)
        self.plain = _normalised(dims, channels, 3)
        self.pools = pools
        self.squares = nn.ModuleList(_normalised(dims, channels, 3) for _ in pools)
        self.strips = nn.ModuleList(
            _normalised(dims, channels, along(axis, 3, dims)) for axis in range(dims)
        )
        self.leave_squares = _convolution(dims, channels, channels, 3)
        self.leave_strips = _convolution(dims, channels, channels, 3)
        self.merge = nn.Sequential(
            convolution(dims, 2 * channels, channels, 1), batch_norm(dims, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        size, axes = x.shape[2:], set(range(2, x.ndim))
        entered = self.enter_squares(x)
        squares = self.plain(entered)
        for cells, square in zip(self.pools, self.squares, strict=True):
            pooled = square(pool_to(entered, cells))
            squares = squares + functional.interpolate(pooled, size, mode=self.linear)
        entered = self.enter_strips(x)
        strips = torch.zeros_like(entered)
        for axis, strip in enumerate(self.strips, start=2):
            strips = strips + strip(entered.mean(sorted(axes - {axis}), keepdim=True))
        both = torch.cat(
            [self.leave_squares(torch.relu(squares)), self.leave_strips(torch.relu(strips))], dim=1
        )
        y: Tensor = torch.relu(x + self.merge(both))
        return y


def stage(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    """Build two residual blocks with selective kernels; the first changes the channels."""
    return nn.Sequential(
        Residual(dims, inputs, outputs, projected=True),
        Residual(dims, outputs, outputs, projected=False),
    )


def _normalised(dims: int, channels: int, kernel: int | tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(convolution(dims, channels, channels, kernel), batch_norm(dims, channels))


def _convolution(dims: int, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(dims, inputs, outputs, kernel), batch_norm(dims, outputs), nn.ReLU()
    )
