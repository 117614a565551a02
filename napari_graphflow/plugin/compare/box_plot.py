"""Box plots of the Dice per structure and side."""

import numpy as np
import pyqtgraph as pg

from napari_graphflow.evaluation.charts import SIDE_COLOURS
from napari_graphflow.evaluation.study import Study
from napari_graphflow.plugin.widgets.palette import Colours
from napari_graphflow.plugin.widgets.plots import colour_axes, see_through
from napari_graphflow.plugin.widgets.words import in_words

HEIGHT = 150


class BoxPlot(pg.PlotWidget):
    """Draws the scores of a comparison on a dataset."""

    def __init__(self) -> None:
        super().__init__()
        see_through(self)
        self.setFixedHeight(HEIGHT)
        self.setMouseEnabled(x=False, y=False)
        self.setMenuEnabled(False)
        self.hideButtons()

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        colour_axes(self.getPlotItem(), colours)

    def show_study(self, study: Study) -> None:
        """Draw one box per structure and side."""
        self.clear()
        self.setYRange(0, 1)
        count = len(study.scored)
        names = study.structures
        for number, side in enumerate(study.scored):
            pen = pg.mkPen(SIDE_COLOURS[number % len(SIDE_COLOURS)], width=2)
            for index, name in enumerate(names):
                values = sorted(v for v in side.dice(name).values() if v is not None)
                if values:
                    x = index + (number - (count - 1) / 2) * 0.25
                    self._box(x, values, pen)
        self.getAxis("bottom").setTicks([list(enumerate(map(in_words, names)))])

    def _box(self, x: float, values: list[float], pen: "pg.QtGui.QPen") -> None:
        """Draw quartiles, median, whiskers and the values themselves."""
        low, q1, median, q3, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
        left, right = x - 0.09, x + 0.09
        # Pairs of points: whiskers, quartiles, sides, median.
        xs = [x, x, x, x, left, right, left, right, left, left, right, right, left, right]
        ys = [low, q1, q3, high, q1, q1, q3, q3, q1, q3, q1, q3, median, median]
        self.plot(xs, ys, pen=pen, connect="pairs")
        self.plot([x] * len(values), values, pen=None, symbol="o", symbolSize=3, symbolPen=pen)
