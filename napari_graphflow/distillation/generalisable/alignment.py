"""Alignment networks: from the bottleneck of a network to a code, and by its header back.

One for the teacher, one for the student, trained so that their codes are those of the mask
auto-encoder (alignment consistency training), then frozen. The paper draws a perceptron for each
model. Our own reading: pooling to a grid, the 1x1 convolutions that mix channels (without them a
perceptron that is shared by all channels cannot map the channels of a network to those of the
codes, nor change their number), and the losses.
"""

from collections.abc import Sequence
from math import prod

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn

from napari_graphflow.config.generalisable import Codes
from napari_graphflow.distillation.generalisable.autoencoder import (
    cross_entropy,
    feature_error,
    pooled,
    resized,
)
from napari_graphflow.distillation.generalisable.perceptrons import (
    FittedMap,
    Perceptron,
    RowPerceptron,
)

#: Most cells along an axis to which a bottleneck is pooled.
MOST_CELLS = {2: 16, 3: 8}


class AlignmentNetwork(nn.Module):
    """A code ``z = down(mix_in(pool(F)))``, and the header ``F' = unpool(mix_out(up(z)))``.

    Parameters
    ----------
    channels
        Channels of the bottleneck.
    code_length
        Numbers in a code.
    grid
        Cells along each axis to which the bottleneck is pooled.
    mixed
        Whether channels are mixed before each is read by itself; without, the code has one number
        per channel.
    codes
        What the perceptron reads: each channel by itself, or the whole map.
    """

    def __init__(
        self,
        channels: int,
        code_length: int,
        grid: Sequence[int],
        codes: Codes = "channels",
        *,
        mixed: bool = True,
    ) -> None:
        super().__init__()
        self.grid, dims = tuple(grid), len(grid)
        self.mix_in: nn.Module = nn.Identity()
        self.mix_out: nn.Module = nn.Identity()
        cells = prod(self.grid)
        if codes == "map":
            self.perceptron: Perceptron = FittedMap(channels, cells, code_length)
            return
        if mixed:
            self.mix_in = Conv[Conv.CONV, dims](channels, code_length, kernel_size=1)
            self.mix_out = Conv[Conv.CONV, dims](code_length, channels, kernel_size=1)
        self.perceptron = RowPerceptron(cells)

    def fit(self, features: Tensor, codes: Tensor) -> None:
        """Begin codes of the whole map as the least-squares solution.

        Parameters
        ----------
        features
            (N, C, *grid), pooled bottlenecks.
        codes
            (N, d), the codes of their masks.
        """
        if isinstance(self.perceptron, FittedMap):
            self.perceptron.fit_to(features.float().flatten(2), codes)

    def code(self, features: Tensor) -> Tensor:
        """Return the codes (B, d) of bottlenecks (B, C, *cells) of any size."""
        mixed = self.mix_in(pooled(features.float(), self.grid))
        return self.perceptron.reduce(mixed.flatten(2))

    def header(self, codes: Tensor, cells: Sequence[int]) -> Tensor:
        """Return bottlenecks (B, C, *cells) for codes (B, d)."""
        rows = self.perceptron.expand(codes).unflatten(2, self.grid)
        return resized(self.mix_out(rows), cells)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes and what they expand to."""
        codes = self.code(features)
        return codes, self.header(codes, features.shape[2:])


def alignment_losses(
    codes: Tensor,
    mask_codes: Tensor,
    expanded: Tensor,
    features: Tensor,
    logits: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:
    """Return the three terms of alignment consistency training.

    ``align = mean (z - z*)^2``, ``reconstruction = mean (F' - F)^2 / Var(F)``, and ``prediction``,
    the cross-entropy of what the frozen decoder makes of F'.

    Parameters
    ----------
    codes, mask_codes
        (B, d), of the image and of its mask.
    expanded, features
        (B, C, *cells), the bottleneck from the code and the network's own.
    logits, labels
        (B, classes, *spatial) and (B, *spatial).
    """
    return {
        "align": (codes - mask_codes).square().mean(),
        "reconstruction": feature_error(expanded, features),
        "prediction": cross_entropy(logits, labels),
    }


def grid_of(cells: Sequence[int]) -> tuple[int, ...]:
    """Return the grid for a bottleneck: its own cells, but at most `MOST_CELLS` along an axis."""
    return tuple(min(n, MOST_CELLS[len(cells)]) for n in cells)


def r_squared(predicted: Tensor, target: Tensor) -> float:
    """Return ``1 - sum (z - z*)^2 / sum (z* - mean)^2`` over all codes; NaN if they do not vary."""
    variation = (target - target.mean(0)).square().sum()
    error = (predicted - target).square().sum()
    return float(1 - error / variation) if variation > 0 else float("nan")


def spread(codes: Tensor) -> float:
    """Return the root mean square over the code of the deviation between images."""
    return float(codes.var(0, unbiased=False).mean().sqrt()) if len(codes) else float("nan")


@torch.no_grad()
def mean_dice(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection and size of each class but the background, summed over images."""
    valid = (labels >= 0) & (labels < logits.shape[1])
    answer = logits.argmax(1)
    both, size = [], []
    for value in range(1, logits.shape[1]):
        a, b = (answer == value) & valid, labels == value
        both.append((a & b).sum())
        size.append(a.sum() + b.sum())
    return torch.stack(both).double().cpu(), torch.stack(size).double().cpu()
