"""From a map to a code and back: of each channel by itself, or of the whole map."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: Candidates for the ridge penalty, and one that only keeps a solution from growing beyond bounds.
PENALTIES, FEW = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2), 1e-6
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


class PrincipalMap(Perceptron):
    """A linear code of all cells of the whole map, which begins as its principal components (ours).

    ``down: z = W (A F) + b``, ``up: F = B (V z + a) + c``. One number per channel, by a perceptron
    that all channels share, cannot say where a thin structure lies: see `mask_codes.py` of the
    benchmark.
    """

    def __init__(self, channels: int, cells: int, length: int | None = None) -> None:
        super().__init__()
        self.cells, self.thin = cells, min(THIN, channels)
        self.mix_in = nn.Linear(channels, self.thin)
        self.mix_out = nn.Linear(self.thin, channels)
        self.down = nn.Linear(self.thin * cells, length or channels)
        self.up = nn.Linear(length or channels, self.thin * cells)

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
        mixed = self._fit_channels(rows)
        axes, mean = principal_axes(mixed, self.down.out_features)
        turns = torch.linalg.qr(
            torch.randn(2 * [len(axes)], generator=torch.Generator().manual_seed(0))
        ).Q.to(axes)
        axes = turns @ axes
        _set(self.down, axes, -axes @ mean)
        _set(self.up, axes.T, mean)

    def _fit_channels(self, rows: Tensor) -> Tensor:
        """Begin with the principal components of the channels; return the mixed maps (N, n)."""
        channels = rows.transpose(1, 2)
        axes, mean = principal_axes(channels.flatten(0, 1), self.thin)
        _set(self.mix_in, axes, -axes @ mean)
        _set(self.mix_out, axes.T, mean)
        mixed: Tensor = self.mix_in(channels).flatten(1)
        return mixed


class FittedMap(PrincipalMap):
    """From all cells of the whole map to a code that is given, and back (ours).

    ``down: z = W x + b + W2 GELU(W1 x + b1)`` of the mixed map ``x = A F``, and ``up`` likewise.
    W2 begins as 0, so that a network begins as the least-squares solution: of the codes from the
    maps, with the ridge penalty that explains most of a held-out quarter, and of the maps from
    these codes. From random weights, 500 steps led to codes of vessels that explain 0.24 of the
    masks' codes and to a header that costs 0.146 of Dice; from the solution, 400 steps lead to
    0.42 and 0.011 (benchmark of other sites).
    """

    def __init__(self, channels: int, cells: int, length: int) -> None:
        super().__init__(channels, cells, length)
        inner = self.thin * cells
        self.more_down = _perceptron(inner, length)
        self.more_up = _perceptron(length, inner)

    def reduce(self, rows: Tensor) -> Tensor:
        mixed = self.mix_in(rows.transpose(1, 2)).flatten(1)
        codes: Tensor = self.down(mixed) + self.more_down(mixed)
        return codes

    def expand(self, codes: Tensor) -> Tensor:
        thin = (self.up(codes) + self.more_up(codes)).unflatten(1, (self.cells, self.thin))
        rows: Tensor = self.mix_out(thin)
        return rows.transpose(1, 2)

    @torch.no_grad()
    def fit_to(self, rows: Tensor, codes: Tensor) -> None:
        """Begin as the least-squares solution for maps (N, C, cells) and their codes (N, d)."""
        mixed = self._fit_channels(rows)
        weight, bias = ridge(mixed, codes)
        _set(self.down, weight, bias)
        found = mixed @ weight.T + bias
        _set(self.up, *ridge(found, mixed, (FEW,)))


def ridge(x: Tensor, y: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[Tensor, Tensor]:
    """Return weight (m, n) and bias (m,) with the least squared error of y (N, m) from x (N, n).

    Parameters
    ----------
    penalties
        Candidates for the ridge penalty, in units of the largest squared singular value of x; the
        one with the least error on a held-out quarter of the rows is used.
    """
    kept = len(x) - len(x) // 4
    if len(penalties) > 1:
        solve, errors = _ridge_of(x[:kept], y[:kept]), []
        for penalty in penalties:
            weight, bias = solve(penalty)
            errors.append(float((x[kept:] @ weight.T + bias - y[kept:]).square().sum()))
        penalties = [penalties[errors.index(min(errors))]]
    return _ridge_of(x, y)(penalties[0])


def _ridge_of(x: Tensor, y: Tensor) -> Callable[[float], tuple[Tensor, Tensor]]:
    """Return the solution for each penalty; the decomposition is computed once."""
    x_mean, y_mean = x.mean(0).double(), y.mean(0).double()
    u, s, vh = torch.linalg.svd(x.double() - x_mean, full_matrices=False)
    target = u.T @ (y.double() - y_mean)

    def solve(penalty: float) -> tuple[Tensor, Tensor]:
        shrunk = s / (s.square() + penalty * s.max().square()).clamp_min(1e-30)
        weight = (vh.T @ (shrunk[:, None] * target)).T
        return weight.to(x.dtype), (y_mean - weight @ x_mean).to(x.dtype)

    return solve


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Return a perceptron whose answers begin as 0."""
    last = nn.Linear(HIDDEN_OF_MAP, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, HIDDEN_OF_MAP), nn.GELU(), last)


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
