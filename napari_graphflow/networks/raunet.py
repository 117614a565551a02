"""RAUNet: a ResNet-34 whose decoder weights each skip by attention; a teacher of EMKD.

Ni, Bian, Zhou et al., "RAUNet: Residual Attention U-Net for Semantic Segmentation of Cataract
Surgical Instruments", ICONIP 2019; not the liver segmentation network of a similar name. Design as
in the authors' code, with random weights, and logits instead of log-probabilities. In 3D, which was
not published, every kernel has a third axis.
"""

from monai.networks.layers import Conv
from torch import Tensor, nn

from napari_graphflow.networks.layers import (
    PooledNorm,
    batch_norm,
    convolution,
    doubling,
    max_pool,
    pool_to,
)
from napari_graphflow.networks.residual import BasicBlock, conv_norm, residual_stage
from napari_graphflow.networks.taps import TapAdapter

#: Residual stage and decoder block (before the skip) at stride 4; stem and last block at 2; then 8.
TAPS = {
    "encoder": "stages.0",
    "decoder": "decoder.2",
    "encoder_2": "stem",
    "decoder_2": "decoder.3",
    "encoder_3": "stages.1",
    "decoder_3": "decoder.1",
    "bottleneck": "stages.3",
    "lo": "stem",
    "hi": "stages.1",
}


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a RAUNet.

    Parameters
    ----------
    width
        Channels w of the stem; the stages have w, 2w, 4w, 8w. By default 64 in 2D, as published
        (22.1 M parameters), and 16 in 3D (4.1 M).
    """
    module = RAUNet(in_channels, classes, dims, width or {2: 64, 3: 16}[dims])
    return TapAdapter(module, TAPS, multiple=32)


class RAUNet(nn.Module):
    """ResNet-34, four decoder blocks, attention on the three skips between them."""

    def __init__(self, in_channels: int, classes: int, dims: int, width: int = 64) -> None:
        super().__init__()
        levels = [width * 2**level for level in range(4)]
        self.stem = nn.Sequential(*conv_norm(dims, in_channels, width, 7, stride=2), nn.ReLU())
        self.pool = max_pool(dims)
        inputs = [width, *levels]
        self.stages = nn.ModuleList(
            residual_stage(
                dims, BasicBlock, inputs[i], levels[i], blocks, stride=1 if i == 0 else 2
            )
            for i, blocks in enumerate((3, 4, 6, 3))
        )
        outputs = [*reversed(levels[:-1]), width]
        self.decoder = nn.ModuleList(
            _decoder(dims, inside, out)
            for inside, out in zip([levels[-1], *outputs], outputs, strict=False)
        )
        self.attention = nn.ModuleList(SkipAttention(dims, n) for n in outputs[:-1])
        self.head = _head(dims, width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 32 to logits."""
        x = self.pool(self.stem(x))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, attention in zip(self.decoder, self.attention, strict=False):
            x = attention(up(x), skips.pop())
        logits: Tensor = self.head(self.decoder[-1](x))
        return logits


class SkipAttention(nn.Module):
    """Add a skip, channel by channel with weights computed from the global means of both maps."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.deep = _pooled(dims, channels)
        self.skip = _pooled(dims, channels)
        self.proportions = convolution(dims, channels, channels, 1, bias=True)
        self.enter = nn.Sequential(*conv_norm(dims, channels, channels, 1, bias=True), nn.ReLU())

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        whole = self.deep(pool_to(deep, 1)) + self.skip(pool_to(skip, 1))
        y: Tensor = deep + self.proportions(whole).softmax(1) * self.enter(skip)
        return y


def _pooled(dims: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(dims, channels, channels, 1, bias=True), PooledNorm(channels), nn.ReLU()
    )


def _decoder(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    inner = max(inputs // 4, 1)
    return nn.Sequential(
        *conv_norm(dims, inputs, inner, 1, bias=True),
        nn.ReLU(),
        doubling(dims, inner, inner, 4, bias=True),
        batch_norm(dims, inner),
        nn.ReLU(),
        *conv_norm(dims, inner, outputs, 1, bias=True),
        nn.ReLU(),
    )


def _head(dims: int, inputs: int, classes: int) -> nn.Sequential:
    """Build a head with maps of 2n + 1, 2n - 1, then 2n cells, all centred."""
    transposed, plain = Conv[Conv.CONVTRANS, dims], Conv[Conv.CONV, dims]
    inner = max(inputs // 2, 1)
    return nn.Sequential(
        transposed(inputs, inner, 3, stride=2),
        nn.ReLU(),
        plain(inner, inner, 3),
        nn.ReLU(),
        plain(inner, classes, 2, padding=1),
    )
