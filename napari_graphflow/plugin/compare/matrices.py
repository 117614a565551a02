"""Small matrices beside each other, such as the similarity of structures in two networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

HEIGHT = 170
#: Most ticks along an axis, and most lines of a tooltip.
TICKS, SHOWN = 8, 24


class MatrixPlot(pg.GraphicsLayoutWidget):
    """Draws matrices with values from -1 to 1, each under its title."""

    def __init__(self) -> None:
        super().__init__()
        self.setBackground(None)
        self.setFixedHeight(HEIGHT)
        self.ci.layout.setContentsMargins(0, 0, 0, 0)

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
        map_ = pg.colormap.get("CET-D1A")
        for column, (title, matrix) in enumerate(matrices.items()):
            plot = self.addPlot(row=0, col=column, title=title)
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
