"""Mobile U-Net: a U-Net of inverted residuals on a MobileNetV2 encoder.

Encoder after Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018),
without its classifier; decoder as used with Graph Flow: up-convolution, concatenation with the
encoder's map of that size, one inverted residual. Logits are computed at stride 2 and enlarged.

In 3D, which was not published, up-convolutions have kernel 2 instead of 4: with 4 they would have
most of the parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import LINEAR, batch_norm, convolution, doubling
from napari_graphflow.networks.taps import TapAdapter

#: Stride 4: the encoder's stage and the third decoder block, both linear bottlenecks; then 2 and 8.
TAPS = {
    "encoder": "encoder.1",
    "decoder": "blocks.2",
    "encoder_2": "encoder.0",
    "decoder_2": "blocks.3",
    "encoder_3": "encoder.2",
    "decoder_3": "blocks.1",
    "bottleneck": "encoder.4",
    "lo": "stem",
    "hi": "encoder.2",
}
#: Stages of MobileNetV2 up to each map of the encoder: expansion, channels, blocks, first stride.
STAGES = (
    ((1, 16, 1, 1),),
    ((6, 24, 2, 2),),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a Mobile U-Net.

    Parameters
    ----------
    width
        Channels of the first convolution; all others scale with it. By default 32 in 2D, as
        published (4.7 M parameters), and 16 in 3D (1.0 M).
    """
    module = MobileUNet(in_channels, classes, dims, width or {2: 32, 3: 16}[dims])
    return TapAdapter(module, TAPS, multiple=32)


class MobileUNet(nn.Module):
    """MobileNetV2 encoder of stride 32 and a decoder of four inverted residuals."""

    def __init__(self, in_channels: int, classes: int, dims: int, width: int = 32) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(4, round(channels * width / 32))

        channels = scaled(32)
        self.stem = filtered(dims, in_channels, channels, 3, stride=2)
        self.encoder = nn.ModuleList()
        skips = []
        for group in STAGES:
            blocks = nn.Sequential()
            for expansion, outputs, repeats, stride in group:
                for repeat in range(repeats):
                    first = stride if repeat == 0 else 1
                    blocks.append(
                        InvertedResidual(dims, channels, scaled(outputs), expansion, first)
                    )
                    channels = scaled(outputs)
            self.encoder.append(blocks)
            skips.append(channels)
        deepest = scaled(1280)
        blocks.append(filtered(dims, channels, deepest, 1))
        self.ups = nn.ModuleList()
        self.blocks = nn.ModuleList()
        channels = deepest
        for skip in reversed(skips[:-1]):
            self.ups.append(doubling(dims, channels, skip, {2: 4, 3: 2}[dims], bias=True))
            self.blocks.append(InvertedResidual(dims, 2 * skip, skip, 6))
            channels = skip
        # Two linear maps in a row, as published; their rank is at least the number of classes.
        between = max(3, classes)
        self.head = nn.Sequential(
            convolution(dims, channels, between, 1, bias=True),
            convolution(dims, between, classes, 1, bias=True),
        )
        self.linear = LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 32 to logits."""
        x = self.stem(x)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
        return functional.interpolate(self.head(x), scale_factor=2.0, mode=self.linear)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project linearly; a shortcut if the shape does not change."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, expansion: int, stride: int = 1
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.layers = nn.Sequential()
        if expansion > 1:
            self.layers.append(filtered(dims, inputs, inner, 1))
        self.layers.append(filtered(dims, inner, inner, 3, stride=stride, groups=inner))
        self.layers.append(convolution(dims, inner, outputs, 1))
        self.layers.append(batch_norm(dims, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


def filtered(
    dims: int, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution, batch normalisation and ReLU6."""
    return nn.Sequential(
        convolution(dims, inputs, outputs, kernel, stride=stride, groups=groups),
        batch_norm(dims, outputs),
        nn.ReLU6(),
    )
