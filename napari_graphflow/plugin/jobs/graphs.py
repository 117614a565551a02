"""The two graphs of a generalisable distillation, teacher over student."""

from collections.abc import Sequence
from html import escape
from itertools import combinations
from math import cos, pi, sin

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_graphflow.plugin.widgets.layout import note
from napari_graphflow.plugin.widgets.palette import DARK, Colours
from napari_graphflow.plugin.widgets.plots import see_through
from napari_graphflow.system.events import CodeGraph, CodeGraphs

HEIGHT = 250
#: Widths of the thinnest and the thickest edge, and the span of cosines that fills this range at
#: least, so that mere rounding is not drawn as a difference.
THIN, THICK, LEAST_SPAN = 1.0, 8.0, 0.05
#: Difference of two cosines that has the full colour.
FULL = 0.1

Edge = tuple[int, int, float]
PATCH = "patch"
LEGEND = (
    "A dot is a patch of an image, or a copy of it with changed intensities; a thick line joins "
    "two that the network describes alike, by the cosine of their codes. The student learns to "
    "find the same ones alike as the teacher. Averaged over a few patches of validation cases."
)


class GraphPlot(QWidget):
    """Draws the star from a patch to its copies, and the complete graph, of both networks."""

    def __init__(self) -> None:
        super().__init__()
        self._colours = DARK
        self._shown: CodeGraphs | None = None
        self.canvas = pg.GraphicsLayoutWidget()
        see_through(self.canvas)
        self.canvas.setFixedHeight(HEIGHT)
        self.canvas.ci.layout.setContentsMargins(0, 0, 0, 0)
        self.canvas.ci.layout.setSpacing(2)
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.text = note("")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for part in (self.canvas, self.legend, self.text):
            column.addWidget(part)
        self.setToolTip(LEGEND)

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        self._colours = colours
        if self._shown is not None:
            self._draw(self._shown)

    def show_graphs(self, graphs: CodeGraphs) -> None:
        """Draw other graphs."""
        if graphs != self._shown:
            self._shown = graphs
            self._draw(graphs)

    def _draw(self, graphs: CodeGraphs) -> None:
        self.canvas.clear()
        colours = self._colours
        curves = colours.curves[2:]  # the first two are those of differences
        others = dict.fromkeys([*graphs.views, *graphs.nodes])
        names = {name: curves[k % len(curves)] for k, name in enumerate(others)}
        columns = []
        if graphs.views:
            columns.append(("from patch", "star", (PATCH, *graphs.views)))
        if graphs.nodes:
            columns.append(("all copies", "complete", graphs.nodes))
        self.canvas.addLabel("", row=0, col=0)
        for column, (title, kind, nodes) in enumerate(columns, 1):
            self.canvas.addLabel(title, row=0, col=column, color=colours.note)
            found = {
                role: edges_of(graph, kind)
                for role, graph in (("teacher", graphs.teacher), ("student", graphs.student))
            }
            range_ = spread_of([edge for edges in found.values() for edge in edges])
            for row, (role, edges) in enumerate(found.items(), 1):
                if column == 1:
                    self.canvas.addLabel(role, row=row, col=0, angle=-90, color=colours.note)
                plot = self._plot(row, column)
                brushes = [names.get(node) for node in nodes]
                plot.addItem(self._graph(edges, found["teacher"], range_, kind, brushes))
                plot.setToolTip(tip(nodes, edges))
        if graphs.nodes:
            self._draw_matrices(graphs, len(columns) + 1)
        marks = {f"○ {PATCH}": colours.note} if graphs.views else {}
        marks |= {f"● {name}": colour for name, colour in names.items()}
        parts = (
            f'<span style="color:{colour}">{escape(mark).replace(" ", "&nbsp;")}</span>'
            for mark, colour in marks.items()
        )
        self.legend.setText("&nbsp; ".join(parts))
        self.text.setText(summary(graphs))

    def _draw_matrices(self, graphs: CodeGraphs, column: int) -> None:
        """Draw the cosines of the complete graph as squares, in the order of the legend."""
        self.canvas.addLabel("as squares", row=0, col=column, color=self._colours.note)
        edges = [*edges_of(graphs.teacher, "complete"), *edges_of(graphs.student, "complete")]
        for row, graph in enumerate((graphs.teacher, graphs.student), 1):
            image = pg.ImageItem(np.array(graph.complete), axisOrder="row-major")
            image.setColorMap(pg.colormap.get("viridis"))
            image.setLevels(spread_of(edges))
            box = self.canvas.addViewBox(row=row, col=column, enableMenu=False, invertY=True)
            box.setMouseEnabled(x=False, y=False)
            box.setAspectLocked(True)
            box.addItem(image)
            box.setRange(image.boundingRect(), padding=0.05)
            box.setToolTip(tip(graphs.nodes, edges_of(graph, "complete")))

    def _plot(self, row: int, column: int) -> pg.ViewBox:
        box = self.canvas.addViewBox(row=row, col=column, enableMenu=False)
        box.setMouseEnabled(x=False, y=False)
        box.setAspectLocked(True)
        box.setRange(xRange=(-1.15, 1.15), yRange=(-1.15, 1.15), padding=0)
        return box

    def _graph(
        self,
        edges: Sequence[Edge],
        teacher: Sequence[Edge],
        span: tuple[float, float],
        kind: str,
        brushes: Sequence[str | None],
    ) -> pg.GraphItem:
        pens = np.zeros(
            len(edges),
            [(name, np.uint8) for name in ("red", "green", "blue", "alpha")] + [("width", float)],
        )
        for place, (one, other) in enumerate(zip(edges, teacher, strict=True)):
            colour = self._colour(one[2] - other[2])
            width = width_of(one[2], span)
            pens[place] = (colour.red(), colour.green(), colour.blue(), 255, width)
        hollow = QColor(0, 0, 0, 0)
        return pg.GraphItem(
            pos=np.array(places(len(brushes), kind)),
            adj=np.array([edge[:2] for edge in edges], int).reshape(-1, 2),
            pen=pens,
            size=12,
            symbolBrush=[pg.mkBrush(brush or hollow) for brush in brushes],
            symbolPen=[pg.mkPen(brush or self._colours.note, width=2) for brush in brushes],
            antialias=True,
        )

    def _colour(self, difference: float) -> QColor:
        """Return grey for none, orange where the student is higher, blue where it is lower."""
        full = QColor(self._colours.curves[1 if difference > 0 else 0])
        plain = QColor(self._colours.note)
        share = min(1.0, abs(difference) / FULL)
        mixed = (
            round(a + share * (b - a))
            for a, b in zip(plain.getRgb()[:3], full.getRgb()[:3], strict=True)
        )
        return QColor(*mixed)


def edges_of(graph: CodeGraph, kind: str) -> list[Edge]:
    """Return the edges of a graph as two nodes and a cosine."""
    if kind == "star":
        return [(0, place, cosine) for place, cosine in enumerate(graph.star, 1)]
    pairs = combinations(range(len(graph.complete)), 2)
    return [(a, b, graph.complete[a][b]) for a, b in pairs]


def spread_of(edges: Sequence[Edge]) -> tuple[float, float]:
    """Return the cosines of the thinnest and of the thickest line."""
    cosines = [edge[2] for edge in edges]
    high = max(cosines)
    return min(*cosines, high - LEAST_SPAN), high


def width_of(cosine: float, span: tuple[float, float]) -> float:
    """Return the width of a line."""
    low, high = span
    return THIN + (THICK - THIN) * (cosine - low) / (high - low)


def places(count: int, kind: str) -> list[tuple[float, float]]:
    """Return a place per node: on a circle, the anchor of a star in its middle."""
    ring = count - (kind == "star")
    angles = [pi / 2 - 2 * pi * k / ring for k in range(ring)]
    circle = [(cos(angle), sin(angle)) for angle in angles]
    return [(0.0, 0.0), *circle] if kind == "star" else circle


def tip(nodes: Sequence[str], edges: Sequence[Edge]) -> str:
    """Return the cosines in words."""
    return "\n".join(f"{nodes[a]} · {nodes[b]}: {cosine:.3f}" for a, b, cosine in edges)


def summary(graphs: CodeGraphs) -> str:
    """Return what is drawn, with the mean cosines, in words."""
    means = []
    for kind, title in (("star", "from the patch to its copies"), ("complete", "between copies")):
        found = [edges_of(graph, kind) for graph in (graphs.teacher, graphs.student)]
        if found[0]:
            both = [sum(edge[2] for edge in edges) / len(edges) for edges in found]
            means.append(f"{title}: teacher {both[0]:.2f}, student {both[1]:.2f}")
    return (
        f"Step {graphs.step}. Thick: alike. The student finds orange pairs more alike than the "
        f"teacher does, blue pairs less. Mean cosine, {'; '.join(means)}."
    )
