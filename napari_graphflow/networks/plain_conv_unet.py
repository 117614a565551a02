"""The plain convolutional U-Net of nnU-Net (Isensee et al., Nature Methods 2021), as a student.

Two convolutions per level, each followed by instance normalisation and a leaky ReLU; strided
convolutions down, transposed ones up. Without deep supervision. The parameters have the names of
`PlainConvUNet` in nnU-Net's `dynamic_network_architectures`, so that nnU-Net can rebuild the
network and load its weights.
"""

import torch
from monai.networks.layers import Norm
from torch import Tensor, nn

from napari_graphflow.networks.layers import convolution, doubling
from napari_graphflow.networks.taps import TapAdapter

#: Levels, at strides 1 to 16; channels double, up to this multiple of the first level's.
LEVELS, MOST = 5, 10
#: Encoder and decoder levels at strides 4, 2 and 8.
TAPS = {
    "encoder": "encoder.stages.2",
    "decoder": "decoder.stages.1",
    "encoder_2": "encoder.stages.1",
    "decoder_2": "decoder.stages.2",
    "encoder_3": "encoder.stages.3",
    "decoder_3": "decoder.stages.0",
    "bottleneck": "encoder.stages.4",
    "lo": "encoder.stages.1",
    "hi": "encoder.stages.3",
}


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a plain convolutional U-Net.

    Parameters
    ----------
    width
        Channels w of the levels w, 2w, 4w, 8w, 10w; 8 by default. nnU-Net uses 32.
    """
    module = PlainConvUNet(in_channels, classes, dims, features(width or 8))
    return TapAdapter(module, TAPS, multiple=2 ** (LEVELS - 1))


def features(width: int) -> list[int]:
    """Return the channels of each level."""
    return [min(width * 2**level, width * MOST) for level in range(LEVELS)]


class PlainConvUNet(nn.Module):
    """Encoder and decoder with skips."""

    def __init__(self, in_channels: int, classes: int, dims: int, channels: list[int]) -> None:
        super().__init__()
        self.encoder = _Encoder(dims, in_channels, channels)
        self.decoder = _Decoder(dims, channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 16 to logits."""
        logits: Tensor = self.decoder(self.encoder(x))
        return logits


class _Block(nn.Module):
    """A convolution, its normalisation and activation."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = convolution(dims, inputs, outputs, stride=stride, bias=True)
        self.norm = Norm[Norm.INSTANCE, dims](outputs, affine=True)
        self.nonlin = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.nonlin(self.norm(self.conv(x)))
        return y


class _Level(nn.Module):
    """Two blocks, of which the first may halve the size."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            _Block(dims, inputs, outputs, stride), _Block(dims, outputs, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs(x)
        return y


class _Encoder(nn.Module):
    def __init__(self, dims: int, in_channels: int, channels: list[int]) -> None:
        super().__init__()
        inputs = [in_channels, *channels[:-1]]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Level(dims, before, after, stride=2 if level else 1))
                for level, (before, after) in enumerate(zip(inputs, channels, strict=True))
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class _Decoder(nn.Module):
    def __init__(self, dims: int, channels: list[int], classes: int) -> None:
        super().__init__()
        down = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.transpconvs = nn.ModuleList(doubling(dims, a, b, bias=True) for a, b in down)
        self.stages = nn.ModuleList(_Level(dims, 2 * b, b) for _, b in down)
        # The others are those of deep supervision.
        last = convolution(dims, channels[0], classes, 1, bias=True)
        self.seg_layers = nn.ModuleDict({str(len(down) - 1): last})

    def forward(self, levels: list[Tensor]) -> Tensor:
        *skips, x = levels
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        (head,) = self.seg_layers.values()
        logits: Tensor = head(x)
        return logits
