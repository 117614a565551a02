"""Coordinates of the charts of a report: box plots and curves, drawn as SVG by its template."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_graphflow.evaluation.sites import CodeMap

#: One colour per side: A, B, the student alone. As in the window, dark enough for white paper.
SIDE_COLOURS = ("#0b7fab", "#c8660a", "#7a5195")
#: Training images first, then the sites.
SITE_COLOURS = ("#566072", "#0b7fab", "#c8660a", "#7a5195", "#2e8b57", "#b0413e")
#: Pixels of a square chart, and of its empty border.
SQUARE, EDGE = 360, 16
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 260, 46, 12, 34


@dataclass(frozen=True)
class Box:
    """A box plot in pixels.

    Attributes
    ----------
    y
        Of the smallest value, the quartiles with the median, and the largest value.
    dots
        x and y of every value.
    """

    x: float
    colour: str
    y: tuple[float, ...]
    dots: tuple[tuple[float, float], ...]
    title: str


@dataclass(frozen=True)
class Chart:
    """A chart: ticks on the left as (y, text), names below as (x, text), and its content."""

    ticks: tuple[tuple[float, str], ...]
    names: tuple[tuple[float, str], ...]
    boxes: tuple[Box, ...] = ()
    lines: tuple[tuple[str, str, str], ...] = ()
    axis: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Cloud:
    """The images of one site in pixels: points, mean, and radii and angle of the ellipse."""

    name: str
    colour: str
    dots: tuple[tuple[float, float], ...]
    mean: tuple[float, float]
    ellipse: tuple[float, float, float]


@dataclass(frozen=True)
class Scatter:
    """A square of `size` pixels with the clouds of all sites."""

    clouds: tuple[Cloud, ...]
    size: int


def box_plots(groups: Mapping[str, Sequence[tuple[str, Sequence[float]]]]) -> Chart:
    """Return box plots of scores from 0 to 1.

    Parameters
    ----------
    groups
        For each structure, title and values of each side, in the order of the colours.
    """
    boxes, names = [], []
    slot = (WIDTH - LEFT - 10) / max(1, len(groups))
    low = _floor(value for sides in groups.values() for _, values in sides for value in values)
    for index, (name, sides) in enumerate(groups.items()):
        middle = LEFT + slot * (index + 0.5)
        names.append((middle, name))
        step = min(44.0, slot / (len(sides) + 0.7))
        for number, (title, values) in enumerate(sides):
            known = np.array([value for value in values if math.isfinite(value)])
            if not len(known):
                continue
            x = middle + step * (number - (len(sides) - 1) / 2)
            spread = np.random.default_rng(0).uniform(-4, 4, len(known))
            boxes.append(
                Box(
                    x,
                    SIDE_COLOURS[number % len(SIDE_COLOURS)],
                    tuple(
                        _y(float(value), low, 1.0)
                        for value in np.quantile(known, (0, 0.25, 0.5, 0.75, 1))
                    ),
                    tuple(
                        (x + float(aside), _y(float(value), low, 1.0))
                        for value, aside in zip(known, spread, strict=True)
                    ),
                    f"{title}: median {np.median(known):.3f}, {len(known)} cases",
                )
            )
    return Chart(_ticks(low, 1.0), tuple(names), tuple(boxes))


def curves(lines: Mapping[str, Sequence[tuple[int, float]]]) -> Chart | None:
    """Return the validation Dice of trainings over their steps; None without any."""
    known = {
        title: [(step, value) for step, value in points if math.isfinite(value)]
        for title, points in lines.items()
    }
    last = max((step for points in known.values() for step, _ in points), default=0)
    if not last:
        return None
    low = _floor(value for points in known.values() for _, value in points)
    drawn = []
    for number, (title, points) in enumerate(known.items()):
        path = " ".join(
            f"{LEFT + step / last * (WIDTH - LEFT - 10):.1f},{_y(value, low, 1.0):.1f}"
            for step, value in points
        )
        drawn.append((title, SIDE_COLOURS[number % len(SIDE_COLOURS)], path))
    marks = [round(last * part / 4) for part in range(5)]
    names = tuple((LEFT + mark / last * (WIDTH - LEFT - 10), f"{mark:,}") for mark in marks)
    return Chart(_ticks(low, 1.0), names, lines=tuple(drawn), axis="step")


def code_chart(found: CodeMap) -> Scatter:
    """Return the codes of the images of each site, with ellipses at two standard deviations."""
    reach = [
        (group.mean[0] + sign * radius, group.mean[1] + sign * radius)
        for group in found.groups
        for radius in group.ellipse()[:1]
        for sign in (-1, 1)
    ]
    every = np.array([*reach, *(point for group in found.groups for point in group.points)])
    low, high = every.min(0), every.max(0)
    # One scale for both axes, so that distances can be compared.
    scale = float(min((SQUARE - 2 * EDGE) / np.maximum(high - low, 1e-9)))
    middle = (low + high) / 2

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = (np.array(point) - middle) * (scale, -scale) + SQUARE / 2
        return round(float(x), 1), round(float(y), 1)

    clouds = []
    for number, group in enumerate(found.groups):
        large, small, angle = group.ellipse()
        clouds.append(
            Cloud(
                group.name,
                SITE_COLOURS[number % len(SITE_COLOURS)],
                tuple(place(point) for point in group.points),
                place(group.mean),
                (round(large * scale, 1), round(small * scale, 1), round(-angle, 1)),
            )
        )
    return Scatter(tuple(clouds), SQUARE)


def _floor(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return max(0.0, math.floor(10 * min(finite, default=0.0)) / 10)


def _y(value: float, low: float, high: float) -> float:
    span = max(high - low, 1e-9)
    return round(TOP + (1 - (value - low) / span) * (HEIGHT - TOP - BOTTOM), 1)


def _ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    values = np.linspace(low, high, 6 if high - low > 0.45 else 3)
    return tuple((_y(float(value), low, high), f"{value:.2f}") for value in values)
