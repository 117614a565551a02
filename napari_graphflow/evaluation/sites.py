"""Scores by site, and how differently a network describes the images of each site."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.settings import Frozen


class CodeGroup(Frozen):
    """The codes of the images of one site, in two principal components.

    Parameters
    ----------
    name
        The site.
    points
        (x, y) of each image.
    mean, covariance
        Of the points; the Gaussian that the Frechet distance compares, seen in this plane. The
        covariance is (xx, xy, yy), and 0 of a single image.
    text
        What is said about the distance to the training images; empty for these themselves.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    mean: tuple[float, float]
    covariance: tuple[float, float, float]
    text: str = ""

    def ellipse(self) -> tuple[float, float, float]:
        """Return the two radii at two standard deviations, and the angle in degrees."""
        xx, xy, yy = self.covariance
        values, vectors = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
        large, small = 2 * np.sqrt(np.clip(values[::-1], 0, None))
        axis = vectors[:, -1]
        return float(large), float(small), math.degrees(math.atan2(axis[1], axis[0]))


class CodeMap(Frozen):
    """How one network describes the images of all sites.

    Parameters
    ----------
    side
        Index of the network among the sides of the study.
    groups
        Training images first, then the sites.
    explained
        Share of the variance of all codes that the two components hold.
    """

    side: int
    groups: tuple[CodeGroup, ...]
    explained: float

    def renamed(self, names: Mapping[str, str]) -> "CodeMap":
        """Return it with other names of sites."""
        groups = [
            one.model_copy(update={"name": names.get(one.name, one.name)}) for one in self.groups
        ]
        return self.model_copy(update={"groups": tuple(groups)})


class SiteRow(NamedTuple):
    """The scores of one side on one site.

    Attributes
    ----------
    site, side
        Their names.
    first
        Whether it is the first row of the site.
    n, mean, std, worst
        Of the Dice of the cases, which is the mean over structures.
    """

    site: str
    side: str
    first: bool
    n: int
    mean: float
    std: float
    worst: float


def code_map(
    side: int,
    training: NDArray[np.floating],
    sites: Mapping[str, Sequence[NDArray[np.floating]]],
    texts: Mapping[str, str],
) -> CodeMap | None:
    """Project codes to the two directions in which all of them vary most.

    Parameters
    ----------
    training
        (n, d), codes of the training images.
    sites
        Codes (d,) of the images of each site.
    texts
        What is said about each site.

    Returns
    -------
    CodeMap or None
        None with fewer than three codes, or if all are equal.
    """
    found = {"training images": training} | {
        name: np.stack(one) for name, one in sorted(sites.items())
    }
    pooled = np.concatenate(list(found.values())).astype(np.float64)
    centre = pooled.mean(0)
    _, values, axes = np.linalg.svd(pooled - centre, full_matrices=False)
    if len(pooled) < 3 or pooled.shape[1] < 2 or not values[0] > 0:
        return None
    groups = []
    for name, codes in found.items():
        points = (codes - centre) @ axes[:2].T
        spread = np.cov(points.T) if len(points) > 1 else np.zeros((2, 2))
        groups.append(
            CodeGroup(
                name=name,
                points=tuple((float(x), float(y)) for x, y in points),
                mean=(float(points[:, 0].mean()), float(points[:, 1].mean())),
                covariance=(float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1])),
                text=texts.get(name, ""),
            )
        )
    explained = float((values[:2] ** 2).sum() / (values**2).sum())
    return CodeMap(side=side, groups=tuple(groups), explained=explained)


def site_rows(
    sites: Mapping[str, str], dice: Mapping[str, Mapping[str, float | None]]
) -> list[SiteRow]:
    """Return the scores by site and side.

    Parameters
    ----------
    sites
        Site of each case.
    dice
        By side, the Dice of each case.
    """
    rows = []
    for site in sorted(set(sites.values())):
        for number, (side, values) in enumerate(dice.items()):
            known = np.array(
                [v for case, v in values.items() if v is not None and sites.get(case) == site]
            )
            if not len(known):
                rows.append(SiteRow(site, side, number == 0, 0, math.nan, math.nan, math.nan))
                continue
            spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
            row = SiteRow(
                site, side, number == 0, len(known), float(known.mean()), spread, float(known.min())
            )
            rows.append(row)
    return rows
