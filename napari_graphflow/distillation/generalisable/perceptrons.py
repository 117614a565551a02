"""Perceptrons from a map to a code and back: of each channel by itself, or of the whole map."""

from collections.abc import Sequence
from math import prod

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

    ``down: z = W2 GELU(W1 (A F) + b1) + b2``, ``up: F = B (V2 GELU(V1 z + a1) + a2)``. One number
    per channel, by a perceptron that all channels share, cannot say where a thin structure lies: of
    vessels, it kept a Dice of 0.03 where this one keeps 0.44 (`mask_codes.py` of the benchmark).
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


def make_perceptron(codes: Codes, channels: int, grid: Sequence[int]) -> Perceptron:
    """Return a perceptron for maps of `channels` on a grid of cells."""
    cells = prod(grid)
    return RowPerceptron(cells) if codes == "channels" else MapPerceptron(channels, cells)
