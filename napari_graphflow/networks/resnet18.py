"""ResNet-18 with a 1x1 convolution on top, one of the students of EMKD (Qin et al., TMI 2021).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, without its classifier;
logits are computed at stride 32 and enlarged. There is no decoder. In 3D every kernel has a third
axis.
"""

from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import LINEAR, convolution, max_pool
from napari_graphflow.networks.residual import BasicBlock, conv_norm, residual_stage
from napari_graphflow.networks.taps import TapAdapter

#: Residual stages at stride 4, 2 (the stem) and 8; no decoder.
TAPS = {
    "encoder": "stages.0",
    "encoder_2": "stem",
    "encoder_3": "stages.1",
    "bottleneck": "stages.3",
    "lo": "stem",
    "hi": "stages.1",
}


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a ResNet-18.

    Parameters
    ----------
    width
        Channels w of the stem; the stages have w, 2w, 4w, 8w. By default 64 in 2D, as published
        (11.2 M parameters), and 16 in 3D (2.1 M).
    """
    module = ResNet18(in_channels, classes, dims, width or {2: 64, 3: 16}[dims])
    return TapAdapter(module, TAPS, multiple=32)


class ResNet18(nn.Module):
    """Four residual stages of two blocks, and logits at stride 32."""

    def __init__(self, in_channels: int, classes: int, dims: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(dims, in_channels, width, 7, stride=2), nn.ReLU())
        self.pool = max_pool(dims)
        levels = [width, *(width * 2**level for level in range(4))]
        self.stages = nn.Sequential(
            *(
                residual_stage(
                    dims, BasicBlock, levels[i], levels[i + 1], 2, stride=1 if i == 0 else 2
                )
                for i in range(4)
            )
        )
        self.head = convolution(dims, levels[-1], classes, 1, bias=True)
        self.linear = LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 32 to logits."""
        logits = self.head(self.stages(self.pool(self.stem(x))))
        return functional.interpolate(logits, scale_factor=32.0, mode=self.linear)
