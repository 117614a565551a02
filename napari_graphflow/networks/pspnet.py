"""PSPNet: a dilated ResNet-50 and pooling at four scales (Zhao et al., "Pyramid Scene Parsing
Network", CVPR 2017), a teacher without a decoder.

The stem has three convolutions of side 3, as in the paper. Logits are computed at stride 8 and
enlarged. In 3D, which was not published, every kernel has a third axis.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import (
    LINEAR,
    PooledNorm,
    channel_dropout,
    convolution,
    max_pool,
    pool_to,
)
from napari_graphflow.networks.residual import Bottleneck, conv_norm, residual_stage
from napari_graphflow.networks.taps import TapAdapter

#: Residual stage at stride 4, first convolution at 2, end of the backbone at 8; no decoder.
TAPS = {
    "encoder": "stages.0",
    "encoder_2": "stem.0",
    "encoder_3": "stages.3",
    "bottleneck": "stages.3",
    "lo": "stem.0",
    "hi": "stages.3",
}
#: Cells along each axis of the pooled maps.
POOLS = (1, 2, 3, 6)


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.1
) -> TapAdapter:
    """Build a PSPNet.

    Parameters
    ----------
    width
        Channels w of the first convolution; the stages have 4w, 8w, 16w, 32w. By default 64 in
        2D, as published (46.7 M parameters), and 16 in 3D (6.7 M).
    dropout
        Probability of dropping a channel before the head.
    """
    module = PSPNet(in_channels, classes, dims, width or {2: 64, 3: 16}[dims], dropout)
    return TapAdapter(module, TAPS, multiple=8)


class PSPNet(nn.Module):
    """ResNet-50 of stride 8, the pyramid of pools, one head."""

    def __init__(
        self, in_channels: int, classes: int, dims: int, width: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        channels = [in_channels, width, width, 2 * width]
        self.stem = nn.Sequential(
            *(
                nn.Sequential(
                    *conv_norm(dims, channels[i], channels[i + 1], 3, stride=2 if i == 0 else 1),
                    nn.ReLU(),
                )
                for i in range(3)
            )
        )
        self.pool = max_pool(dims)
        self.stages = nn.ModuleList(
            [
                residual_stage(dims, Bottleneck, 2 * width, width, 3),
                residual_stage(dims, Bottleneck, 4 * width, 2 * width, 4, stride=2),
                residual_stage(dims, Bottleneck, 8 * width, 4 * width, 6, dilation=2),
                residual_stage(dims, Bottleneck, 16 * width, 8 * width, 3, dilation=4),
            ]
        )
        deep = 32 * width
        self.pyramid = nn.ModuleList(
            nn.Sequential(convolution(dims, deep, deep // 4, 1), PooledNorm(deep // 4), nn.ReLU())
            for _ in POOLS
        )
        self.head = nn.Sequential(
            *conv_norm(dims, 2 * deep, deep // 4, 3),
            nn.ReLU(),
            channel_dropout(dims, dropout),
            convolution(dims, deep // 4, classes, 1, bias=True),
        )
        self.linear = LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 8 to logits."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        maps = [x]
        for cells, layers in zip(POOLS, self.pyramid, strict=True):
            pooled = layers(pool_to(x, cells))
            maps.append(functional.interpolate(pooled, x.shape[2:], mode=self.linear))
        logits = self.head(torch.cat(maps, 1))
        return functional.interpolate(logits, scale_factor=8.0, mode=self.linear)
