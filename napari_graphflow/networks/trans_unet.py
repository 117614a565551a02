"""TransUNet (Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image
Segmentation", arXiv 2102.04306): ResNet-50, then a vision transformer, then an up-sampling path.

Built on MONAI's residual and transformer blocks, with group normalisation of plain convolutions
(the paper's are weight-standardised). Positions are learned on a small grid and interpolated to
that of the image, so that any size works. The paper is 2D; in 3D every kernel has a third axis.
"""

from itertools import pairwise
from math import gcd

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from monai.networks.nets.resnet import ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import LINEAR, batch_norm, convolution, max_pool, pointwise
from napari_graphflow.networks.taps import TapAdapter

#: ResNet stage and decoder block at stride 4, stem and decoder block at stride 2, then at 8.
#: Design choice: the paper on Graph Flow used such a teacher but its taps are not known.
TAPS = {
    "encoder": "stages.0",
    "decoder": "decoder.1",
    "encoder_2": "stem",
    "decoder_2": "decoder.2",
    "encoder_3": "stages.1",
    "decoder_3": "decoder.0",
    "bottleneck": "transformer",
    "lo": "stem",
    "hi": "stages.1",
}
#: Cells of the learned grid of positions along each axis.
POSITIONS = {2: 14, 3: 6}


def network(
    in_channels: int,
    classes: int,
    dims: int,
    width: int | None = None,
    *,
    layers: int = 12,
    dropout: float = 0.0,
) -> TapAdapter:
    """Build a TransUNet.

    Parameters
    ----------
    width
        Channels w of the stem; the residual stages have 4w, 8w and 16w, the tokens 12w. By default
        64 in 2D, as published (ResNet-50 and ViT-B), and 16 in 3D.
    layers
        Number of transformer layers.
    dropout
        Probability of dropout in the transformer.
    """
    module = TransUNet(in_channels, classes, dims, width or {2: 64, 3: 16}[dims], layers, dropout)
    return TapAdapter(module, TAPS, multiple=16)


class TransUNet(nn.Module):
    """Three residual stages, a transformer at stride 16, four decoder blocks with skips."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        dims: int,
        width: int = 64,
        layers: int = 12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolution(dims, in_channels, width, 7, stride=2), _group_norm(width), nn.ReLU()
        )
        self.pool = max_pool(dims)
        self.stages = nn.ModuleList(
            [
                _residual_stage(dims, width, width, blocks=3, stride=1),
                _residual_stage(dims, 4 * width, 2 * width, blocks=4, stride=2),
                _residual_stage(dims, 8 * width, 4 * width, blocks=9, stride=2),
            ]
        )
        self.transformer = Transformer(dims, 16 * width, 12 * width, layers, dropout)
        self.enter = _convolution(dims, 12 * width, 8 * width)
        channels = [8 * width, 4 * width, 2 * width, width, max(width // 4, 4)]
        skips = [8 * width, 4 * width, width, 0]
        self.decoder = nn.ModuleList(
            Up(dims, inputs, skip, outputs)
            for (inputs, outputs), skip in zip(pairwise(channels), skips, strict=True)
        )
        self.head = convolution(dims, channels[-1], classes, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 16 to logits."""
        skips = [self.stem(x)]
        x = self.pool(skips[0])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.enter(self.transformer(skips.pop()))
        for up in self.decoder:
            x = up(x, skips.pop() if skips else None)
        logits: Tensor = self.head(x)
        return logits


class Transformer(nn.Module):
    """Self-attention over the cells of a map as tokens."""

    def __init__(self, dims: int, inputs: int, size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.linear = LINEAR[dims]
        self.embed = convolution(dims, inputs, size, 1, bias=True)
        self.positions = nn.Parameter(torch.randn(1, size, *[POSITIONS[dims]] * dims) * 0.02)
        self.layers = nn.Sequential(
            *(
                TransformerBlock(size, 4 * size, num_heads=12, dropout_rate=dropout, qkv_bias=True)
                for _ in range(layers)
            )
        )
        for layer in self.layers:
            # MONAI builds the norm of a cross-attention even if there is none.
            layer.norm_cross_attn = nn.Identity()
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        positions = functional.interpolate(self.positions, size, mode=self.linear)
        tokens = (self.embed(x) + positions).flatten(2).transpose(1, 2)
        y: Tensor = self.norm(self.layers(tokens))
        return y.transpose(1, 2).reshape(x.shape[0], -1, *size)


class Up(nn.Module):
    """Enlarge linearly, concatenate the skip if any, convolve twice."""

    def __init__(self, dims: int, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.linear = LINEAR[dims]
        self.convolutions = nn.Sequential(
            _convolution(dims, inputs + skip, outputs), _convolution(dims, outputs, outputs)
        )

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = functional.interpolate(x, scale_factor=2.0, mode=self.linear)
        y: Tensor = self.convolutions(x if skip is None else torch.cat([x, skip], dim=1))
        return y


def _residual_stage(
    dims: int, inputs: int, inner: int, *, blocks: int, stride: int
) -> nn.Sequential:
    outputs = inner * ResNetBottleneck.expansion
    stage = nn.Sequential()
    for block in range(blocks):
        shortcut = None
        if block == 0:
            shortcut = nn.Sequential(pointwise(dims, inputs, outputs, stride), _group_norm(outputs))
        stage.append(
            ResNetBottleneck(
                inputs if block == 0 else outputs,
                inner,
                dims,
                stride if block == 0 else 1,
                shortcut,
                norm=("group", {"num_groups": gcd(32, inner)}),
            )
        )
    return stage


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(32, channels), channels)


def _convolution(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(dims, inputs, outputs), batch_norm(dims, outputs), nn.ReLU())
