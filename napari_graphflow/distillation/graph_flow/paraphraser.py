"""Paraphraser: an auto-encoder that compresses a teacher's tap to the student's width.

Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer",
NeurIPS 2018; Graph Flow puts one on each of the teacher's taps.
"""

from itertools import pairwise

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn.functional import mse_loss


class Paraphraser(nn.Module):
    """Three 3x3 convolutions down to `out_channels` and three transposed ones back.

    Every layer, including the last, is followed by LeakyReLU(0.1); there is no batch norm. It is
    trained without labels to reconstruct the frozen teacher's tap, then frozen; only
    :meth:`encode` is used afterwards.

    Parameters
    ----------
    in_channels
        Channels of the teacher's tap.
    out_channels
        Channels of the student's tap.
    dims
        2 or 3 spatial axes; 3x3x3 kernels in 3D.
    """

    def __init__(self, in_channels: int, out_channels: int, dims: int = 2) -> None:
        super().__init__()
        if dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, not {dims}")
        self.in_channels, self.out_channels, self.dims = in_channels, out_channels, dims
        wide, narrow = in_channels, out_channels
        self.encoder = _chain(Conv[Conv.CONV, dims], [wide, wide, narrow, narrow])
        self.decoder = _chain(Conv[Conv.CONVTRANS, dims], [narrow, narrow, wide, wide])

    def encode(self, features: Tensor) -> Tensor:
        """Compress a tap (B, in_channels, *spatial) to (B, out_channels, *spatial)."""
        codes: Tensor = self.encoder(features)
        return codes

    def forward(self, features: Tensor) -> Tensor:
        """Compress and reconstruct a tap, (B, in_channels, *spatial)."""
        reconstruction: Tensor = self.decoder(self.encode(features))
        return reconstruction

    def loss(self, features: Tensor) -> Tensor:
        """Return the mean squared error of the reconstruction, in at least float32.

        The squared norm is a reconstruction: Graph Flow's own criterion was never published,
        and the two projects it borrows from use the squared and the absolute error.
        """
        reconstruction = self(features.detach())
        dtype = torch.promote_types(features.dtype, torch.float32)
        return mse_loss(reconstruction.to(dtype), features.detach().to(dtype))


class RSquared:
    """Coefficient of determination of a reconstruction, accumulated over batches.

    ``R^2 = 1 - sum (F' - F)^2 / sum (F - mean_c)^2`` over all channels together, where ``mean_c``
    is the mean of channel c over cases and pixels. 1 is perfect, 0 no better than the mean of each
    channel. Evaluate it on held-out cases.
    """

    def __init__(self) -> None:
        self.count, self.errors = 0, 0.0
        self.total = self.squares = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def add(self, features: Tensor, reconstruction: Tensor) -> None:
        """Accumulate a batch and its reconstruction, both (B, C, *spatial)."""
        # On the CPU, since not every GPU supports float64.
        target, output = features.cpu().double(), reconstruction.cpu().double()
        self.errors += float((output - target).square().sum())
        self.count += target.numel() // target.shape[1]
        axes = [0, *range(2, target.ndim)]
        self.total = self.total + target.sum(axes)
        self.squares = self.squares + target.square().sum(axes)

    def value(self) -> float:
        """Return R^2 of all batches so far; NaN if the features do not vary."""
        variation = float((self.squares - self.total.square() / max(self.count, 1)).sum())
        return 1.0 - self.errors / variation if variation > 0 else float("nan")


def _chain(layer: type[nn.Module], channels: list[int]) -> nn.Sequential:
    chain = nn.Sequential()
    for before, after in pairwise(channels):
        chain.append(layer(before, after, kernel_size=3, padding=1))
        chain.append(nn.LeakyReLU(0.1))
    return chain
