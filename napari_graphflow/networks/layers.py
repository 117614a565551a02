"""Layers of torch by number of spatial axes, with padding that keeps the size."""

from collections.abc import Sequence

from monai.networks.layers import Conv, Dropout, Norm, Pool
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

#: Name of the linear mode of `torch.nn.functional.interpolate`.
LINEAR = {2: "bilinear", 3: "trilinear"}


def convolution(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: int | Sequence[int] = 3,
    *,
    stride: int = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    """Build a convolution; odd kernels are padded to keep the size, even ones (2, stride 2) not."""
    kernels = [kernel] * dims if isinstance(kernel, int) else kernel
    dilations = [dilation] * dims if isinstance(dilation, int) else dilation
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernels, dilations, strict=True))
    layer: nn.Module = Conv[Conv.CONV, dims](
        inputs,
        outputs,
        tuple(kernels),
        stride=stride,
        padding=padding,
        dilation=tuple(dilations),
        groups=groups,
        bias=bias,
    )
    return layer


class EveryNth(nn.Module):
    """Keep every n-th cell along each spatial axis, from the first."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        step = slice(None, None, self.n)
        return x[..., step, step] if x.ndim == 4 else x[..., step, step, step]


def pointwise(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Build a strided convolution with a kernel of side 1.

    The cells are subsampled before the convolution: oneDNN's weight gradient of a strided
    pointwise convolution with fewer than 8 channels (16 with AVX-512) in channels-last layout
    writes past its buffer (uxlfoundation/oneDNN#6035).
    """
    layer = convolution(dims, inputs, outputs, 1)
    return layer if stride == 1 else nn.Sequential(EveryNth(stride), layer)


def doubling(
    dims: int, inputs: int, outputs: int, kernel: int = 2, *, bias: bool = False
) -> nn.Module:
    """Build a transposed convolution of stride 2 that doubles the size (kernel 2, 3 or 4)."""
    layer: nn.Module = Conv[Conv.CONVTRANS, dims](
        inputs,
        outputs,
        kernel,
        stride=2,
        padding=(kernel - 1) // 2,
        output_padding=kernel % 2,
        bias=bias,
    )
    return layer


class PooledNorm(_BatchNorm):
    """Batch normalisation of maps of one cell, in any number of dimensions.

    A batch of one has a single value per channel and therefore no variance; the running
    statistics are then used, as in evaluation mode.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept any number of axes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, ...)``."""
        if self.training and x.numel() == self.num_features:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


def batch_norm(dims: int, channels: int) -> nn.Module:
    """Build a batch normalisation."""
    layer: nn.Module = Norm[Norm.BATCH, dims](channels)
    return layer


def norms_without_copies(module: nn.Module) -> nn.Module:
    """Replace each instance normalisation by a group normalisation with one channel per group.

    Both compute the same with the same weights. Group normalisation works in channels-last layout
    (`napari_graphflow.networks.taps.channels_last`); instance normalisation copies every map to
    another layout, and the next convolution copies it back. The backward pass of group
    normalisation is slower in 2D, so networks in training keep instance normalisation.

    Parameters
    ----------
    module
        A frozen network, changed in place.
    """
    for parent in list(module.modules()):
        for name, norm in parent.named_children():
            if not isinstance(norm, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
                continue
            if not norm.track_running_stats:
                channels = norm.num_features
                groups = nn.GroupNorm(channels, channels, norm.eps, norm.affine)
                groups.load_state_dict(norm.state_dict())
                setattr(parent, name, groups)
    return module


def channel_dropout(dims: int, probability: float) -> nn.Module:
    """Build a dropout of whole channels."""
    layer: nn.Module = Dropout[Dropout.DROPOUT, dims](probability)
    return layer


def max_pool(dims: int) -> nn.Module:
    """Build a max pooling that halves the size."""
    layer: nn.Module = Pool[Pool.MAX, dims](2)
    return layer


def pool_to(x: Tensor, cells: int) -> Tensor:
    """Average-pool to `cells` along each axis, or fewer where the map has fewer."""
    size = tuple(min(cells, n) for n in x.shape[2:])
    pooled: Tensor = Pool[Pool.ADAPTIVEAVG, len(size)](size)(x)
    return pooled


def along(axis: int, size: int, dims: int) -> tuple[int, ...]:
    """Return a kernel (or dilation) of `size` along one axis and 1 along the others."""
    return tuple(size if i == axis else 1 for i in range(dims))
