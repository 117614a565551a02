"""Small matrices beside each other, such as the similarity of structures in two networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

HEIGHT = 170


class MatrixPlot(pg.GraphicsLayoutWidget):
    """Draws square matrices with values from -1 to 1, each under its title."""

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
            (R, R) by title; NaN where a structure is not in the image.
        names
            Names of rows and columns.
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
            ticks = [(index + 0.5, name[:3]) for index, name in enumerate(names)]
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setTicks([ticks])
                axis.setStyle(tickLength=0)
            rows = [
                f"{names[row]} · {names[other]}: {matrix[row, other]:.2f}"
                for row in range(len(names))
                for other in range(row)
                if np.isfinite(matrix[row, other])
            ]
            plot.setToolTip("\n".join(rows))
