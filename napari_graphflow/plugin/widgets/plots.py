"""What all plots share: no background of their own, and the axes of the theme."""

import pyqtgraph as pg

from napari_graphflow.plugin.widgets.palette import Colours


def see_through(view: pg.GraphicsView) -> None:
    """Show what is behind a plot."""
    view.setBackground(None)
    # Otherwise it keeps the background of the theme in which it was made.
    view.viewport().setAutoFillBackground(False)
    view.setStyleSheet("background: transparent; border: none;")


def colour_axes(plot: pg.PlotItem, colours: Colours) -> None:
    """Draw the axes at the left and at the bottom in the colours of a theme."""
    for side in ("left", "bottom"):
        plot.getAxis(side).setPen(pg.mkPen(colours.groove))
        plot.getAxis(side).setTextPen(pg.mkPen(colours.note))
