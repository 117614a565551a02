"""Live curves of a job: validation Dice above, loss terms below."""

import math
import time
from collections.abc import Iterable, Sequence
from html import escape

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_graphflow.plugin.jobs.presenter import Level, curve_title
from napari_graphflow.plugin.widgets.palette import DARK, Colours
from napari_graphflow.plugin.widgets.plots import colour_axes, see_through
from napari_graphflow.system.events import Event, Metric

HEIGHT = 230
#: Maximum number of points of a curve; beyond it every second point is dropped.
POINTS = 600
#: Seconds between two drawings: a flood of events would otherwise keep the window busy.
DRAW_S = 1.0


class Curves(QWidget):
    """Plots the metrics of one job; only changed curves are redrawn."""

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[str, tuple[list[float], list[float]]] = {}
        self._strides: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._lines: dict[str, pg.PlotDataItem] = {}
        self._levels: dict[Level, pg.InfiniteLine] = {}
        self._changed: set[str] = set()
        self._drawn = -math.inf
        self._colours = DARK
        self._canvas = pg.GraphicsLayoutWidget()
        see_through(self._canvas)
        self._canvas.setFixedHeight(HEIGHT)
        self._canvas.ci.layout.setContentsMargins(0, 0, 0, 0)
        self._canvas.ci.layout.setSpacing(2)
        self._dice = self._plot(0, "Dice")
        self._dice.setYRange(0, 1)
        self._loss = self._plot(1, "Loss")
        self._loss.setLogMode(y=True)
        self._loss.setXLink(self._dice)
        self._dice.getAxis("bottom").setStyle(showValues=False)
        self._legend = QLabel()
        self._legend.setWordWrap(True)
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._canvas)
        column.addWidget(self._legend)

    def clear(self) -> None:
        """Remove all points."""
        for name, line in self._lines.items():
            (self._loss if name.startswith("loss/") else self._dice).removeItem(line)
        self._points, self._lines, self._strides, self._counts = {}, {}, {}, {}
        self._changed, self._drawn = set(), -math.inf
        self.show_levels(())
        self._legend.setText("")

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        self._colours = colours
        for plot, title in ((self._dice, "Dice"), (self._loss, "Loss")):
            plot.getAxis("left").setLabel(title, color=colours.note)
            colour_axes(plot, colours)
        self._paint()

    def show_levels(self, levels: Sequence[Level]) -> None:
        """Show horizontal lines over the curve of Dice."""
        if list(levels) == list(self._levels):
            return
        for line in self._levels.values():
            self._dice.removeItem(line)
        self._levels = {level: pg.InfiniteLine(level.dice, angle=0) for level in levels}
        for line in self._levels.values():
            self._dice.addItem(line)
        self._paint()

    def legend(self) -> str:
        """Return the legend, without its colours."""
        return "  ".join(title for title, _, _ in self._entries())

    def add(self, events: Iterable[Event]) -> None:
        """Add the metrics among some events; draw them, and those before, from time to time."""
        for event in events:
            if not isinstance(event, Metric):
                continue
            name, value = event.name, event.value
            if value is None or not _is_shown(name, value):
                continue
            steps, values = self._points.setdefault(name, ([], []))
            # A resumed job continues from its checkpoint and reports the steps after it again.
            while steps and steps[-1] >= event.step:
                steps.pop()
                values.pop()
            # After thinning out a curve, only every n-th new point is kept.
            self._counts[name] = count = self._counts.get(name, -1) + 1
            if count % self._strides.get(name, 1):
                continue
            steps.append(float(event.step))
            values.append(value)
            self._changed.add(name)
            if len(steps) > POINTS:
                del steps[1::2], values[1::2]
                self._strides[name] = 2 * self._strides.get(name, 1)
        if time.monotonic() - self._drawn > DRAW_S:
            self._draw()

    def _draw(self) -> None:
        for name in sorted(self._changed):
            self._line(name).setData(*self._points[name], symbol=_symbol(name, self._points[name]))
        if self._changed:
            self._changed, self._drawn = set(), time.monotonic()

    def empty(self) -> bool:
        """Whether there are no points."""
        return not self._points

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Return the drawn steps and values of a metric."""
        return self._points.get(name, ([], []))

    def _plot(self, row: int, title: str) -> pg.PlotItem:
        axes = {"left": LogAxis("left")} if title == "Loss" else {}
        plot = self._canvas.addPlot(row=row, col=0, axisItems=axes)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(x=False, y=False)
        plot.showGrid(x=True, y=True, alpha=0.15)
        plot.getAxis("left").setWidth(46)
        plot.getAxis("left").setLabel(title)
        for side in ("left", "bottom"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        return plot

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            line = pg.PlotDataItem(symbolSize=5, antialias=True)
            line.setSymbolPen(None)
            (self._loss if name.startswith("loss/") else self._dice).addItem(line)
            self._lines[name] = line
            self._paint()
        return self._lines[name]

    def _entries(self) -> list[tuple[str, str, str]]:
        """Return title, colour and mark of each line in the legend."""
        curves = ((curve_title(name), self._colour(name), "━") for name in self._lines)
        levels = (
            (f"{level.text} {level.dice:.2f}", self._colours.note, "╍" if number else "┈")
            for number, level in enumerate(self._levels)
        )
        return [*curves, *levels]

    def _colour(self, name: str) -> str:
        loss = name.startswith("loss/")
        place = [one for one in self._lines if one.startswith("loss/") == loss].index(name)
        return self._colours.curves[(place + 4 * loss) % len(self._colours.curves)]

    def _paint(self) -> None:
        for name, line in self._lines.items():
            colour = self._colour(name)
            line.setPen(pg.mkPen(colour, width=2.5 if name == "dice" else 1.2))
            line.setSymbolBrush(colour)
        styles = (Qt.PenStyle.DotLine, Qt.PenStyle.DashLine)
        for level, style in zip(self._levels.values(), styles, strict=False):
            level.setPen(pg.mkPen(self._colours.note, width=1.5, style=style))
        self._legend.setText(
            "&nbsp;&nbsp; ".join(
                f'<span style="color:{colour}">{mark}</span>&nbsp;{escape(title)}'
                for title, colour, mark in self._entries()
            )
        )


class LogAxis(pg.AxisItem):
    """A logarithmic axis with few labels; those of pyqtgraph overlap in a low plot."""

    def tickValues(self, *span: float) -> list[tuple[float, list[float]]]:
        """Return the powers of ten, or a few even steps if there are fewer than two."""
        low, high, _ = span
        powers = [float(one) for one in range(math.ceil(low), math.floor(high) + 1)]
        if len(powers) < 2:
            powers = [low + (high - low) * share for share in (0.1, 0.5, 0.9)]
        return [(1.0, powers[:: max(1, math.ceil(len(powers) / 4))])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [f"{10**value:.2g}" for value in values]


def _is_shown(name: str, value: float) -> bool:
    if name == "dice" or name.startswith("dice/"):
        return math.isfinite(value)
    # The loss is drawn on a logarithmic scale.
    return name.startswith("loss/") and 0 < value < math.inf


def _symbol(name: str, points: tuple[list[float], list[float]]) -> str | None:
    return "o" if name.startswith("dice") or len(points[0]) == 1 else None
