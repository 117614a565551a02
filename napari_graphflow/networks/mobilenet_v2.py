"""MobileNetV2 at stride 8 with a 1x1 convolution on top, one of the students of EMKD.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, without its
classifier and with the strides of EMKD's code (Qin et al., TMI 2021): few parameters, but high
resolution and therefore many operations. Logits are enlarged; there is no decoder.
"""

from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.networks.layers import LINEAR, convolution
from napari_graphflow.networks.mobile_unet import InvertedResidual, filtered
from napari_graphflow.networks.taps import TapAdapter

#: Linear bottlenecks at stride 4, first convolution at 2, last convolution at 8; no decoder.
TAPS = {
    "encoder": "stages.4",
    "encoder_2": "stem",
    "encoder_3": "last",
    "bottleneck": "last",
    "lo": "stem",
    "hi": "last",
}
#: Of each stage: expansion, channels, blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 1),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a MobileNetV2.

    Parameters
    ----------
    width
        Channels of the first convolution; all others scale with it. By default 32 in 2D, as
        published (2.2 M parameters), and 16 in 3D (0.6 M).
    """
    module = MobileNetV2(in_channels, classes, dims, width or {2: 32, 3: 16}[dims])
    return TapAdapter(module, TAPS, multiple=8)


class MobileNetV2(nn.Module):
    """Inverted residuals and logits at stride 8."""

    def __init__(self, in_channels: int, classes: int, dims: int, width: int = 32) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(4, round(channels * width / 32))

        channels = scaled(32)
        self.stem = filtered(dims, in_channels, channels, 3, stride=2)
        self.stages = nn.Sequential()
        for expansion, outputs, repeats, stride in STAGES:
            stage = nn.Sequential()
            for repeat in range(repeats):
                first = stride if repeat == 0 else 1
                stage.append(InvertedResidual(dims, channels, scaled(outputs), expansion, first))
                channels = scaled(outputs)
            self.stages.append(stage)
        self.last = filtered(dims, channels, scaled(1280), 1)
        self.head = convolution(dims, scaled(1280), classes, 1, bias=True)
        self.linear = LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        """Map an image whose sizes are multiples of 8 to logits."""
        logits = self.head(self.last(self.stages(self.stem(x))))
        return functional.interpolate(logits, scale_factor=8.0, mode=self.linear)
