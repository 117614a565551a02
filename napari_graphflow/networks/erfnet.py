"""ERFNet (Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic
Segmentation", IEEE T-ITS 2018), a student between ENet and a U-Net.

In 3D, which is not in the paper, its pair of one-dimensional convolutions becomes three.
"""

import torch
from torch import Tensor, nn

from napari_graphflow.networks.layers import (
    along,
    batch_norm,
    channel_dropout,
    convolution,
    doubling,
    max_pool,
)
from napari_graphflow.networks.taps import TapAdapter

#: Stride 4: output of the second down-sampler, and end of the first decoder stage; then stride 2;
#: stride 8: output of the third down-sampler, and end of the encoder.
TAPS = {
    "encoder": "down2",
    "decoder": "decoder1",
    "encoder_2": "down1",
    "decoder_2": "decoder2",
    "encoder_3": "down3",
    "decoder_3": "encoder3",
    "bottleneck": "encoder3",
    "lo": "down1",
    "hi": "encoder3",
}


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.3
) -> TapAdapter:
    """Build an ERFNet.

    Parameters
    ----------
    width
        Channels w of the first stage; the others have 4w and 8w. By default 16 in 2D, as
        published (2.1 M parameters), and 8 in 3D (0.8 M).
    dropout
        Probability of dropping a channel in a block at stride 8; a tenth of it at stride 4.
    """
    module = ERFNet(in_channels, classes, dims, width or {2: 16, 3: 8}[dims], dropout)
    return TapAdapter(module, TAPS, multiple=8)


class ERFNet(nn.Module):
    """Encoder of factorised, dilated residual blocks and a short decoder without skips."""

    def __init__(
        self, in_channels: int, classes: int, dims: int, width: int = 16, dropout: float = 0.3
    ) -> None:
        super().__init__()
        middle, deep = 4 * width, 8 * width
        self.down1 = Down(dims, in_channels, width)
        self.down2 = Down(dims, width, middle)
        self.encoder2 = nn.Sequential(*(Factorised(dims, middle, dropout / 10) for _ in range(5)))
        self.down3 = Down(dims, middle, deep)
        self.encoder3 = nn.Sequential(
            *(Factorised(dims, deep, dropout, dilation) for dilation in (2, 4, 8, 16) * 2)
        )
        self.decoder1 = _decoder(dims, deep, middle)
        self.decoder2 = _decoder(dims, middle, width)
        self.head = doubling(dims, width, classes, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 8 to logits."""
        x = self.encoder2(self.down2(self.down1(x)))
        x = self.encoder3(self.down3(x))
        logits: Tensor = self.head(self.decoder2(self.decoder1(x)))
        return logits


class Down(nn.Module):
    """A strided convolution concatenated with the max-pooled input.

    With more input channels than half the outputs (spectral images) there is no pooling branch.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = max_pool(dims) if inputs <= outputs // 2 else None
        filters = outputs - inputs if self.pool else outputs
        self.convolution = convolution(dims, inputs, filters, stride=2, bias=True)
        self.after = nn.Sequential(batch_norm(dims, outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolution(x)
        if self.pool is not None:
            maps = torch.cat([maps, self.pool(x)], dim=1)
        y: Tensor = self.after(maps)
        return y


class Factorised(nn.Module):
    """Residual block whose two convolutions are each factorised into one per axis."""

    def __init__(self, dims: int, channels: int, dropout: float = 0.0, dilation: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential()
        for step in (1, dilation):
            for axis in range(dims):
                kernel = along(axis, 3, dims)
                layer = convolution(dims, channels, channels, kernel, dilation=step, bias=True)
                self.branch.append(layer)
                last = axis == dims - 1
                self.branch.append(batch_norm(dims, channels) if last else nn.ReLU())
            self.branch.append(nn.ReLU() if step is not dilation else nn.Identity())
        self.branch.append(channel_dropout(dims, dropout))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.relu(x + self.branch(x))
        return y


def _decoder(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        doubling(dims, inputs, outputs, kernel=3, bias=True),
        batch_norm(dims, outputs),
        nn.ReLU(),
        Factorised(dims, outputs),
        Factorised(dims, outputs),
    )
