"""Small matrices beside each other, such as the similarity of structures in two networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

from napari_graphflow.plugin.widgets.palette import DARK, Colours
from napari_graphflow.plugin.widgets.plots import colour_axes, see_through

HEIGHT = 170
#: Most ticks along an axis, and most lines of a tooltip.
TICKS, SHOWN = 8, 24


class MatrixPlot(pg.GraphicsLayoutWidget):
    """Draws matrices with values from -1 to 1, each under its title."""

    def __init__(self) -> None:
        super().__init__()
        self._colours = DARK
        self._plots: dict[str, pg.PlotItem] = {}
        see_through(self)
        self.setFixedHeight(HEIGHT)
        self.ci.layout.setContentsMargins(0, 0, 0, 0)

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        self._colours = colours
        for title, plot in self._plots.items():
            self._colour(plot, title)

    def _colour(self, plot: pg.PlotItem, title: str) -> None:
        plot.setTitle(title, color=self._colours.note)
        colour_axes(plot, self._colours)

    def fill(self, matrices: Mapping[str, NDArray[Any]], names: Sequence[str]) -> None:
        """Draw the matrices.

        Parameters
        ----------
        matrices
            (R, R) by title; NaN where a structure is not in the image. Or (R + 1, R), whose first
            row is of the vertices.
        names
            Names of the columns, and of the rows.
        """
        self.clear()
        self._plots = {}
        map_ = pg.colormap.get("CET-D1A")
        for column, (title, matrix) in enumerate(matrices.items()):
            plot = self._plots[title] = self.addPlot(row=0, col=column)
            self._colour(plot, title)
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            plot.setAspectLocked(True)
            plot.invertY(True)
            image = pg.ImageItem(np.asarray(matrix, float), axisOrder="row-major")
            image.setColorMap(map_)
            image.setLevels((-1.0, 1.0))
            plot.addItem(image)
            lines = [*["vertices"] * (len(matrix) - matrix.shape[1]), *names]
            for side, titles in (("left", lines), ("bottom", names[: matrix.shape[1]])):
                every = -(-len(titles) // TICKS)
                ticks = [(at + 0.5, text[:3]) for at, text in enumerate(titles)][::every]
                axis = plot.getAxis(side)
                axis.setTicks([ticks])
                axis.setStyle(tickLength=0)
            entries = [
                f"{lines[row]} · {names[other]}: {matrix[row, other]:.2f}"
                for row in range(len(matrix))
                for other in range(matrix.shape[1])
                if lines[row] != names[other] and np.isfinite(matrix[row, other])
            ]
            plot.setToolTip("\n".join(entries[:SHOWN]))
