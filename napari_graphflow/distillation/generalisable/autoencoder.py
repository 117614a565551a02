"""Mask auto-encoder: a few numbers, the code, that say what a mask looks like.

The paper pre-trains a semantic auto-encoder whose codes regularise those of the segmentation
networks. Its layers are known: four stages of residual blocks with selective kernels, a small
perceptron shared by all channels from the cells of a map to one number and back, and a decoder
of three transposed convolutions without activation. Our own reading: its input is the mask (the
only thing that is the same object on every scanner), one channel per class in -1 and +1, or by
choice the image (:class:`ImageAutoencoder`), which its single channel fits as well; its losses; its
width; pooling to a fixed grid, for patches of any size; standardised codes; and, where wanted,
codes of the whole map (see :class:`~.perceptrons.PrincipalMap`).
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
from monai.losses import DiceLoss
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.config.generalisable import Codes
from napari_graphflow.distillation.generalisable.perceptrons import (
    Perceptron,
    PrincipalMap,
    RowPerceptron,
)
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.networks.fanet import stage
from napari_graphflow.networks.layers import LINEAR, batch_norm, channel_dropout, doubling, max_pool
from napari_graphflow.networks.taps import crop, pad

#: Added to the standard deviation of a code before dividing by it.
EPSILON = 1e-4
#: Stride of the deepest map.
STRIDE = 8


class Reconstruction(NamedTuple):
    """What the auto-encoder makes of masks.

    Attributes
    ----------
    features, expanded
        (B, C, *cells), the deepest map and what its code expands to.
    codes
        (B, C), not standardised.
    logits
        (B, classes, *spatial), decoded from `expanded`.
    """

    features: Tensor
    expanded: Tensor
    codes: Tensor
    logits: Tensor


class MaskAutoencoder(nn.Module):
    """Auto-encoder of masks with codes of fixed length.

    Parameters
    ----------
    classes
        Number of classes with the background.
    dims
        2 or 3 spatial axes.
    code_length
        Numbers in a code: channels of the deepest stage, a multiple of 8.
    grid
        Cells along each axis to which the deepest map is pooled before the perceptron.
    codes
        What the perceptron reads: each channel by itself, or the whole map.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        classes: int,
        dims: int,
        code_length: int,
        grid: Sequence[int],
        codes: Codes = "channels",
    ) -> None:
        super().__init__()
        self.classes, self.dims, self.grid = classes, dims, tuple(grid)
        widths = [code_length // 8 * 2**level for level in range(4)]
        self.encoder = nn.ModuleList(
            stage(dims, inputs, outputs) for inputs, outputs in pairwise([classes, *widths])
        )
        self.pool = max_pool(dims)
        cells = prod(self.grid)
        self.perceptron: Perceptron = (
            RowPerceptron(cells) if codes == "channels" else PrincipalMap(code_length, cells)
        )
        self.norm = batch_norm(dims, code_length)
        self.decoder = nn.Sequential(
            *(doubling(dims, a, b, bias=True) for a, b in pairwise(reversed(widths))),
            channel_dropout(dims, 0.5),
            Conv[Conv.CONV, dims](widths[0], classes, kernel_size=1),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                nn.init.xavier_uniform_(module.weight)
        self.register_buffer("mean", torch.zeros(code_length))
        self.register_buffer("deviation", torch.ones(code_length))

    def input_of(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return what it encodes of patches (B, C, *spatial) and their labels (B, *spatial)."""
        return one_hot(labels, self.classes, IGNORE)

    def first_loss(self, decoded: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        """Return the error of what is decoded from the deepest map."""
        return mask_loss(decoded, labels)

    def second_loss(self, decoded: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        """Return the error of what is decoded from a code."""
        return cross_entropy(decoded, labels)

    def features(self, masks: Tensor) -> Tensor:
        """Return the deepest map (B, C, *cells) of masks (B, classes, *spatial)."""
        x = pad(masks, STRIDE)
        for number, level in enumerate(self.encoder):
            x = level(self.pool(x) if number else x)
        return x

    def codes(self, features: Tensor) -> Tensor:
        """Return codes (B, C), not standardised."""
        return self.perceptron.reduce(pooled(features, self.grid).flatten(2))

    def expand(self, codes: Tensor, cells: Sequence[int]) -> Tensor:
        """Return a deepest map (B, C, *cells) for codes (B, C)."""
        rows = self.perceptron.expand(codes)
        return resized(rows.unflatten(2, self.grid), cells)

    def decode(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """Return logits (B, classes, *size): an affine map, one block of 8 pixels per cell."""
        return crop(self.decoder(features), size)

    def forward(self, masks: Tensor) -> Reconstruction:
        """Encode and decode masks (B, classes, *spatial) of :func:`one_hot`."""
        features = self.features(masks)
        codes = self.codes(features)
        expanded = self.expand(codes, features.shape[2:])
        logits = self.decode(self.norm(expanded), masks.shape[2:])
        return Reconstruction(features, expanded, codes, logits)

    def standardised(self, masks: Tensor) -> Tensor:
        """Return codes (B, C) with the mean and deviation of the training masks removed."""
        return (self.codes(self.features(masks)) - self.mean) / (self.deviation + EPSILON)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Begin codes of the whole map with the principal components of maps (N, C, *grid).

        The normalisation begins as one that changes nothing.
        """
        if not isinstance(self.perceptron, PrincipalMap):
            return
        self.perceptron.fit(features.flatten(2))
        expanded = self.expand(self.codes(features), self.grid)
        axes = [axis for axis in range(expanded.ndim) if axis != 1]
        mean, variance = expanded.mean(axes), expanded.var(axes, unbiased=False)
        assert isinstance(self.norm, nn.BatchNorm2d | nn.BatchNorm3d)
        given = {"running_mean": mean, "running_var": variance, "bias": mean}
        given["weight"] = (variance + self.norm.eps).sqrt()
        self.norm.load_state_dict(given, strict=False)

    def convolutions(self) -> list[nn.Parameter]:
        """Return what the first phase trains: encoder and decoder."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    def header(self) -> list[nn.Parameter]:
        """Return what the second phase trains: the perceptron and its normalisation."""
        return [*self.perceptron.parameters(), *self.norm.parameters()]


class ImageAutoencoder(MaskAutoencoder):
    """Auto-encoder of images instead of masks (ours): `classes` is their number of channels.

    Its codes say what an image looks like, on whichever scanner, and not what is to be segmented.
    Both losses are the squared error in units of the variance of the images.
    """

    def input_of(self, images: Tensor, labels: Tensor) -> Tensor:
        return images.float()

    def first_loss(self, decoded: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        return feature_error(decoded, seen)

    def second_loss(self, decoded: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        return feature_error(decoded, seen)


def first_phase_loss(autoencoder: MaskAutoencoder, seen: Tensor, labels: Tensor) -> Tensor:
    """Loss of the masks or images that are decoded from the deepest map itself.

    Cross-entropy and Dice loss of masks.
    """
    decoded = autoencoder.decode(autoencoder.features(seen), seen.shape[2:])
    return autoencoder.first_loss(decoded, seen, labels)


def second_phase_loss(autoencoder: MaskAutoencoder, seen: Tensor, labels: Tensor) -> Tensor:
    """Loss of the features and of the masks or images that are decoded from the code.

    ``|G' - G|^2 / Var(G) + CE(D(BN(G')), y)`` of masks.
    """
    found = autoencoder(seen)
    error = feature_error(found.expanded, found.features)
    return error + autoencoder.second_loss(found.logits, seen, labels)


def one_hot(labels: Tensor, classes: int, ignore: int) -> Tensor:
    """Return masks (B, classes, *spatial) in -1 and +1; 0 where the label is to be ignored.

    Parameters
    ----------
    labels
        (B, *spatial), class indices or `ignore`.
    """
    valid = labels != ignore
    hot = functional.one_hot(labels.masked_fill(~valid, 0), classes).movedim(-1, 1)
    return (2.0 * hot - 1.0) * valid[:, None]


def mask_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss of all classes but the background."""
    valid = (labels >= 0) & (labels < logits.shape[1])
    target = functional.one_hot(labels.masked_fill(~valid, 0), logits.shape[1]).movedim(-1, 1)
    dice: Tensor = DiceLoss(include_background=False, batch=True)(
        logits.softmax(1) * valid[:, None], target * valid[:, None]
    )
    return cross_entropy(logits, labels) + dice


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the voxels whose label is a class; 0 if there are none."""
    valid = (labels >= 0) & (labels < logits.shape[1])
    target = labels.masked_fill(~valid, -100)
    total: Tensor = functional.cross_entropy(logits.float(), target, reduction="sum")
    return total / valid.sum().clamp_min(1)


def feature_error(reconstructed: Tensor, features: Tensor) -> Tensor:
    """Mean squared error in units of the variance of the features: 1 is as good as their mean."""
    target = features.detach().float()
    error = (reconstructed.float() - target).square().mean()
    return error / target.var().clamp_min(torch.finfo(torch.float32).tiny)


def pooled(features: Tensor, grid: Sequence[int]) -> Tensor:
    """Average a map to `grid` cells; where it has fewer, neighbours are interpolated."""
    cells = tuple(features.shape[2:])
    if cells == tuple(grid):
        return features
    if any(n < g for n, g in zip(cells, grid, strict=True)):
        return resized(features, grid)
    pool = functional.adaptive_avg_pool2d if len(grid) == 2 else functional.adaptive_avg_pool3d
    result: Tensor = pool(features, tuple(grid))  # type: ignore[arg-type]
    return result


def resized(features: Tensor, cells: Sequence[int]) -> Tensor:
    """Interpolate a map linearly to `cells` along each axis."""
    if tuple(features.shape[2:]) == tuple(cells):
        return features
    size = tuple(cells)
    return functional.interpolate(features, size, mode=LINEAR[len(size)], align_corners=False)
