"""From a map to a code and back: of each channel by itself, or of the whole map."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from napari_graphflow.config.generalisable import Codes

#: Hidden units of the perceptron that is shared by all channels, and of that of the whole map.
HIDDEN, HIDDEN_OF_MAP = 64, 512
#: Channels to which the whole map is mixed before its cells are read.
THIN = 32


class Perceptron(nn.Module):
    """From a map of C channels to a code of C numbers, and back."""

    def reduce(self, rows: Tensor) -> Tensor:
        """Return codes (B, C) of maps (B, C, cells)."""
        raise NotImplementedError

    def expand(self, codes: Tensor) -> Tensor:
        """Return maps (B, C, cells) of codes (B, C)."""
        raise NotImplementedError


class RowPerceptron(Perceptron):
    """The same small perceptron on every channel: cells to one number, or back, as published.

    ``down: z_c = w2 . GELU(W1 F_c + b1) + b2``, ``up: F_c = V2 GELU(v1 z_c + a1) + a2``, with 64
    hidden units.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(cells, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))
        self.up = nn.Sequential(nn.Linear(1, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, cells))

    def reduce(self, rows: Tensor) -> Tensor:
        codes: Tensor = self.down(rows)
        return codes[..., 0]

    def expand(self, codes: Tensor) -> Tensor:
        rows: Tensor = self.up(codes[..., None])
        return rows


class MapPerceptron(Perceptron):
    """A perceptron on all cells of the whole map, whose channels are mixed to a few (ours).

    ``down: z = W2 GELU(W1 (A F) + b1) + b2``, ``up: F = B (V2 GELU(V1 z + a1) + a2)``.
    """

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.mix_in, self.mix_out = nn.Linear(channels, THIN), nn.Linear(THIN, channels)
        inner = THIN * cells
        self.down = nn.Sequential(
            nn.Linear(inner, HIDDEN_OF_MAP), nn.GELU(), nn.Linear(HIDDEN_OF_MAP, channels)
        )
        self.up = nn.Sequential(
            nn.Linear(channels, HIDDEN_OF_MAP), nn.GELU(), nn.Linear(HIDDEN_OF_MAP, inner)
        )

    def reduce(self, rows: Tensor) -> Tensor:
        codes: Tensor = self.down(self.mix_in(rows.transpose(1, 2)).flatten(1))
        return codes

    def expand(self, codes: Tensor) -> Tensor:
        thin: Tensor = self.up(codes).unflatten(1, (self.cells, THIN))
        rows: Tensor = self.mix_out(thin)
        return rows.transpose(1, 2)


class PrincipalMap(Perceptron):
    """A linear code of all cells of the whole map, which begins as its principal components (ours).

    ``down: z = W (A F) + b``, ``up: F = B (V z + a) + c``. One number per channel, by a perceptron
    that all channels share, cannot say where a thin structure lies: see `mask_codes.py` of the
    benchmark.
    """

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        self.cells, self.thin = cells, min(THIN, channels)
        self.mix_in = nn.Linear(channels, self.thin)
        self.mix_out = nn.Linear(self.thin, channels)
        self.down = nn.Linear(self.thin * cells, channels)
        self.up = nn.Linear(channels, self.thin * cells)

    def reduce(self, rows: Tensor) -> Tensor:
        codes: Tensor = self.down(self.mix_in(rows.transpose(1, 2)).flatten(1))
        return codes

    def expand(self, codes: Tensor) -> Tensor:
        thin: Tensor = self.up(codes).unflatten(1, (self.cells, self.thin))
        rows: Tensor = self.mix_out(thin)
        return rows.transpose(1, 2)

    @torch.no_grad()
    def fit(self, rows: Tensor) -> None:
        """Begin with the principal components of maps (N, C, cells): of channels, then of cells.

        The code is rotated, so that each number has about the same share of their variance;
        standardised codes would otherwise weigh the last component as much as the first.
        """
        mixed = rows.transpose(1, 2)
        axes, mean = principal_axes(mixed.flatten(0, 1), self.thin)
        _set(self.mix_in, axes, -axes @ mean)
        _set(self.mix_out, axes.T, mean)
        axes, mean = principal_axes(self.mix_in(mixed).flatten(1), self.down.out_features)
        turns = torch.linalg.qr(
            torch.randn(2 * [len(axes)], generator=torch.Generator().manual_seed(0))
        ).Q.to(axes)
        axes = turns @ axes
        _set(self.down, axes, -axes @ mean)
        _set(self.up, axes.T, mean)


def principal_axes(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return orthonormal axes (count, n) of most variance, and the mean, of rows (N, n).

    Where the rows do not vary along as many axes, the last ones are 0.
    """
    mean = rows.mean(0)
    centred = (rows - mean).double()
    few = len(rows) < rows.shape[1]
    values, vectors = torch.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    found = (vectors.T @ centred if few else vectors.T).flip(0)[:count]
    norm = found.norm(dim=1, keepdim=True)
    varies = values.flip(0)[:count, None] > 1e-10 * values[-1].clamp_min(1e-30)
    axes = torch.zeros(count, rows.shape[1], dtype=torch.float64, device=rows.device)
    axes[: len(found)] = torch.where(varies, found / norm.clamp_min(1e-30), 0.0)
    return axes.to(rows.dtype), mean


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def make_perceptron(codes: Codes, channels: int, grid: Sequence[int]) -> Perceptron:
    """Return a perceptron for maps of `channels` on a grid of cells."""
    cells = prod(grid)
    return RowPerceptron(cells) if codes == "channels" else MapPerceptron(channels, cells)
