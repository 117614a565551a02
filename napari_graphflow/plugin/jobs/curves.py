"""Live curves of a job: validation Dice above, loss terms below."""

import math
from collections.abc import Iterable
from html import escape

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_graphflow.system.events import Event, Metric

COLOURS = ("#4fb3ff", "#ffb454", "#7fd77f", "#d58cff", "#ff7d7d", "#4fd6c4", "#c9c24f", "#f58bc0")
GREY = "#9a9ea6"
HEIGHT = 220
#: Maximum number of points of a curve; beyond it every second point is dropped.
POINTS = 600


class Curves(QWidget):
    """Plots the metrics of one job; only changed curves are redrawn."""

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[str, tuple[list[float], list[float]]] = {}
        self._strides: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._lines: dict[str, pg.PlotDataItem] = {}
        self._canvas = pg.GraphicsLayoutWidget()
        self._canvas.setBackground(None)
        self._canvas.setFixedHeight(HEIGHT)
        self._canvas.ci.layout.setContentsMargins(0, 0, 0, 0)
        self._canvas.ci.layout.setSpacing(2)
        self._dice = self._plot(0, "Dice")
        self._dice.setYRange(0, 1)
        self._loss = self._plot(1, "loss")
        self._loss.setLogMode(y=True)
        self._loss.setXLink(self._dice)
        self._dice.getAxis("bottom").setStyle(showValues=False)
        self._legend = QLabel()
        self._legend.setWordWrap(True)
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self._legend.setStyleSheet("font-size: 8pt;")
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
        self._legend.setText("")

    def add(self, events: Iterable[Event]) -> None:
        """Add the metrics among some events."""
        changed = set()
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
            changed.add(name)
            if len(steps) > POINTS:
                del steps[1::2], values[1::2]
                self._strides[name] = 2 * self._strides.get(name, 1)
        for name in sorted(changed):
            self._line(name).setData(*self._points[name], symbol=_symbol(name, self._points[name]))

    def empty(self) -> bool:
        """Whether there are no points."""
        return not self._points

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Return the drawn steps and values of a metric."""
        return self._points.get(name, ([], []))

    def _plot(self, row: int, title: str) -> pg.PlotItem:
        plot = self._canvas.addPlot(row=row, col=0)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(x=False, y=False)
        plot.showGrid(x=True, y=True, alpha=0.15)
        left = plot.getAxis("left")
        left.setWidth(46)
        left.setLabel(title, color=GREY)
        for side in ("left", "bottom"):
            axis = plot.getAxis(side)
            axis.setPen(pg.mkPen("#666666"))
            axis.setTextPen(pg.mkPen(GREY))
            axis.enableAutoSIPrefix(False)
        return plot

    def _line(self, name: str) -> pg.PlotDataItem:
        if name not in self._lines:
            loss = name.startswith("loss/")
            siblings = [other for other in self._lines if other.startswith("loss/") == loss]
            colour = COLOURS[(len(siblings) + 4 * loss) % len(COLOURS)]
            width = 2.5 if name == "dice" else 1.2
            line = pg.PlotDataItem(pen=pg.mkPen(colour, width=width), symbolSize=5, antialias=True)
            line.setSymbolBrush(colour)
            line.setSymbolPen(None)
            (self._loss if loss else self._dice).addItem(line)
            self._lines[name] = line
            entries = (
                f'<span style="color:{one.opts["pen"].color().name()}">━</span>&nbsp;{title}'
                for key, one in self._lines.items()
                for title in (escape(_title(key)),)
            )
            self._legend.setText("&nbsp;&nbsp; ".join(entries))
        return self._lines[name]


def _is_shown(name: str, value: float) -> bool:
    if name == "dice" or name.startswith("dice/"):
        return math.isfinite(value)
    # The loss is drawn on a logarithmic scale.
    return name.startswith("loss/") and 0 < value < math.inf


def _symbol(name: str, points: tuple[list[float], list[float]]) -> str | None:
    return "o" if name.startswith("dice") or len(points[0]) == 1 else None


def _title(name: str) -> str:
    return {"dice": "mean Dice"}.get(name, name.replace("dice/", "Dice ").replace("loss/", ""))
