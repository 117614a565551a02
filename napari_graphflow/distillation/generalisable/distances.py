"""How differently a network describes two sets of images: distances of their semantic codes.

The paper states that it uses a Frechet distance of semantic features; its formula and the sets it
compares are our own reading. The headline number is `SiteGap.gap`, because the plain distance
depends on the number of images and on the scale of the codes.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_graphflow.errors import UserError

#: Images of each set below which no gap is stated.
FEWEST_IMAGES = 8


class SiteGap(NamedTuple):
    """How far the codes of two sets of images are apart.

    Attributes
    ----------
    gap
        E: the Frechet distance less the median distance of random halves of all codes together, in
        units of the mean variance of the sets. Near 0 for two sets of one site; it does not depend
        on the scale of the codes, and hardly on the number of images.
    p_value
        Share of the random re-splits, the observed one included, whose distance is as large.
    control
        The same number as `gap` for two random halves of the first set.
    n, m
        Number of codes of each set.
    distance
        The Frechet distance itself; not to be compared between numbers of images or networks.
    trace
        Mean total variance of the two sets, 1/2 (Tr S1 + Tr S2).
    effective_rank
        Exponential of the entropy of the normalised eigenvalues of 1/2 (S1 + S2).
    """

    gap: float
    p_value: float
    control: float
    n: int
    m: int
    distance: float
    trace: float
    effective_rank: float


def frechet_semantic_distance(first: ArrayLike | Tensor, second: ArrayLike | Tensor) -> float:
    """Return the Frechet distance between the Gaussians of two sets of codes.

    ``|mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)`` with unbiased covariances. The last
    trace is the sum of the singular values of ``A B^T``, where A and B are the centred codes
    divided by ``sqrt(n - 1)``; it needs no matrix root and holds with fewer codes than dimensions.

    Parameters
    ----------
    first, second
        (n, d) and (m, d), one code per image.

    Raises
    ------
    UserError
        If a set has fewer than two codes, the lengths differ, or a number is not finite.
    """
    return _distance(*_checked(first, second, fewest=2))


def site_gap(
    first: ArrayLike | Tensor, second: ArrayLike | Tensor, resamples: int = 200, seed: int = 0
) -> SiteGap:
    """Compare the codes of two sites; see `SiteGap`.

    Parameters
    ----------
    first, second
        (n, d) and (m, d), one code per image; the first set also gives the control.
    resamples
        Number of random re-splits of all codes into sets of n and m.
    seed
        Seed of the re-splits.

    Raises
    ------
    UserError
        If a set has fewer than 8 codes, or the codes do not vary.
    """
    one, two = _checked(first, second, fewest=FEWEST_IMAGES)
    random = np.random.default_rng(seed)
    pooled = torch.cat([one, two])
    # Distances do not change by a rotation to the axes in which the codes vary.
    centred = pooled - pooled.mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = values > values.max() * 1e-12
    if not bool(kept.any()) or _trace(one) + _trace(two) <= 0:
        raise UserError(
            "The codes of all images are equal, so that no gap between sites can be measured.",
            "Train the alignment networks longer, or use another student.",
        )
    reduced = centred @ axes[kept].T
    a, b = reduced[: len(one)], reduced[len(one) :]
    gap, p_value = _gap(a, b, resamples, random)
    order = random.permutation(len(a))
    halves = a[order[: len(a) // 2]], a[order[len(a) // 2 :]]
    control, _ = _gap(*halves, resamples, random)
    spectrum = torch.linalg.eigvalsh((_covariance(a) + _covariance(b)) / 2).clamp_min(0)
    share = spectrum / spectrum.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    return SiteGap(
        gap,
        p_value,
        control,
        len(a),
        len(b),
        _distance(a, b),
        (_trace(a) + _trace(b)) / 2,
        float(entropy.exp()),
    )


def _gap(
    first: Tensor, second: Tensor, resamples: int, random: np.random.Generator
) -> tuple[float, float]:
    """Return E and its p-value."""
    distance, n = _distance(first, second), len(first)
    pooled = torch.cat([first, second])
    null = np.empty(resamples)
    for index in range(resamples):
        order = torch.from_numpy(random.permutation(len(pooled)))
        null[index] = _distance(pooled[order[:n]], pooled[order[n:]])
    scale = (_trace(first) + _trace(second)) / 2
    middle = float(np.median(null)) if resamples else 0.0
    # Re-splits into the same sets differ by rounding only.
    as_large = int((null >= distance * (1 - 1e-9)).sum())
    gap = (distance - middle) / scale if scale > 0 else 0.0
    return gap, (1 + as_large) / (1 + resamples)


def _distance(first: Tensor, second: Tensor) -> float:
    shift = (first.mean(0) - second.mean(0)).square().sum()
    a, b = _scaled(first), _scaled(second)
    overlap = torch.linalg.svdvals(_short(a) @ _short(b).T).sum()
    return float(shift + a.square().sum() + b.square().sum() - 2 * overlap)


def _scaled(codes: Tensor) -> Tensor:
    centred: Tensor = (codes - codes.mean(0)) / (len(codes) - 1) ** 0.5
    return centred


def _short(rows: Tensor) -> Tensor:
    """Return as many rows as columns, if there are more, with the same singular products."""
    if len(rows) <= rows.shape[1]:
        return rows
    triangle: Tensor = torch.linalg.qr(rows, mode="r").R
    return triangle


def _covariance(codes: Tensor) -> Tensor:
    scaled = _scaled(codes)
    return scaled.T @ scaled


def _trace(codes: Tensor) -> float:
    return float(_scaled(codes).square().sum())


def _checked(
    first: ArrayLike | Tensor, second: ArrayLike | Tensor, fewest: int
) -> tuple[Tensor, Tensor]:
    arrays = (x if isinstance(x, Tensor) else np.asarray(x) for x in (first, second))
    one, two = (torch.as_tensor(x).detach().cpu().double() for x in arrays)
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1]:
        raise UserError(
            f"The codes have shapes {tuple(one.shape)} and {tuple(two.shape)}.",
            "Compare codes of one network: (images, length) of equal length.",
        )
    few = min(len(one), len(two))
    if few < fewest:
        raise UserError(
            f"Too few images: {few} on one side, but a distance between sites needs at least "
            f"{fewest} on each.",
            "Add images of that site.",
        )
    if not (one.isfinite().all() and two.isfinite().all()):
        raise UserError("A code is infinite or NaN.", "Check the images and the model.")
    return one, two
