"""Plots of the results that ``method_tables`` writes as tables."""

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from method_tables import Kinds, mean
from rows import AGAIN

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import numpy as np
import pyqtgraph
from pyqtgraph.exporters import ImageExporter

PANEL = 500, 44
GREY, BLUE = "#888888", "#2a6fbb"


def canvas() -> Any:
    """Return the application that pyqtgraph needs, with black on white as colours."""
    pyqtgraph.setConfigOptions(background="w", foreground="k", antialias=True)
    return pyqtgraph.mkQApp()


def save(application: Any, item: Any, path: Path) -> None:
    """Draw an item into a file."""
    application.processEvents()
    ImageExporter(item).export(str(path))


def plot_kinds(
    groups: Mapping[tuple[str, str], Kinds], titles: Mapping[str, str], path: Path
) -> None:
    """Plot the test Dice of each kind of model, one panel per task and student.

    Dots are seeds, bars the mean and its sample standard deviation; the dashed lines are the means
    of student and teacher.
    """
    application = canvas()
    window = pyqtgraph.GraphicsLayoutWidget()
    heights = []
    for number, ((task, network), kinds) in enumerate(groups.items()):
        shown = [kind for kind in reversed(titles) if kinds.get(kind)]
        heights.append(90 + PANEL[1] * len(shown))
        panel = window.addPlot(row=number // 2, col=number % 2, title=f"{task}, {network}")
        panel.getAxis("left").setTicks([[(y, titles[kind]) for y, kind in enumerate(shown)]])
        panel.getAxis("left").setWidth(250)
        panel.getAxis("bottom").enableAutoSIPrefix(False)
        panel.setLabel("bottom", "test Dice")
        panel.setYRange(-0.6, len(shown) - 0.4, padding=0)
        again = f"teacher{AGAIN}"
        for reference in ("alone", again if kinds.get(again) else "teacher"):
            if kinds.get(reference):
                centre = statistics.mean(map(mean, kinds[reference].values()))
                line = pyqtgraph.mkPen(GREY, style=pyqtgraph.QtCore.Qt.PenStyle.DashLine)
                panel.addItem(pyqtgraph.InfiniteLine(centre, angle=90, pen=line))
        for y, kind in enumerate(shown):
            values = np.array([mean(result) for result in kinds[kind].values()])
            around = values.std(ddof=1) if len(values) > 1 else 0.0
            pen = pyqtgraph.mkPen(BLUE, width=2)
            centre = np.array([values.mean()])
            panel.addItem(
                pyqtgraph.ErrorBarItem(
                    x=centre, y=np.array([y]), width=2 * around, beam=0.3, pen=pen
                )
            )
            panel.plot(centre, [y], pen=None, symbol="|", symbolSize=18, symbolPen=pen)
            panel.plot(values, [y] * len(values), pen=None, symbol="o", symbolSize=7,
                       symbolBrush=BLUE, symbolPen=None)  # fmt: skip
    rows = [max(heights[i : i + 2]) for i in range(0, len(heights), 2)]
    window.resize(PANEL[0] * 2 + 160, sum(rows))
    for row, height in enumerate(rows):
        window.ci.layout.setRowStretchFactor(row, height)
    window.show()
    save(application, window.scene(), path)
    window.close()
