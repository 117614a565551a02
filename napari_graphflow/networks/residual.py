"""Residual stages (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016).

Shared by the networks with a ResNet backbone. MONAI's residual blocks cannot be dilated. In 3D
every kernel has a third axis.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_graphflow.networks.layers import batch_norm, convolution, pointwise


class BasicBlock(nn.Module):
    """Two convolutions of side 3 and a shortcut."""

    expansion: ClassVar[int] = 1

    def __init__(self, dims: int, inputs: int, inner: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *conv_norm(dims, inputs, inner, 3, stride=stride, dilation=dilation),
            nn.ReLU(),
            *conv_norm(dims, inner, inner, 3, dilation=dilation),
        )
        self.shortcut = _shortcut(dims, inputs, inner, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """Reduce, convolve with side 3 (and the stride), expand to four times as many channels."""

    expansion: ClassVar[int] = 4

    def __init__(self, dims: int, inputs: int, inner: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = inner * self.expansion
        self.branch = nn.Sequential(
            *conv_norm(dims, inputs, inner, 1),
            nn.ReLU(),
            *conv_norm(dims, inner, inner, 3, stride=stride, dilation=dilation),
            nn.ReLU(),
            *conv_norm(dims, inner, outputs, 1),
        )
        self.shortcut = _shortcut(dims, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


def residual_stage(
    dims: int,
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    inner: int,
    blocks: int,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Build a stage of several blocks, the first of which has the stride."""
    stage = nn.Sequential(block(dims, inputs, inner, stride, dilation))
    for _ in range(blocks - 1):
        stage.append(block(dims, inner * block.expansion, inner, 1, dilation))
    return stage


def conv_norm(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> list[nn.Module]:
    """Build a convolution and its batch normalisation."""
    layer = convolution(dims, inputs, outputs, kernel, stride=stride, dilation=dilation, bias=bias)
    return [layer, batch_norm(dims, outputs)]


def _shortcut(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(pointwise(dims, inputs, outputs, stride), batch_norm(dims, outputs))
