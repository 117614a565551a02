"""Find, raise or open a dock of this plugin."""

from typing import Any

from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtWidgets import QDockWidget, QWidget

#: As napari titles the docks that are opened from its menu, which then finds those opened here.
_TITLE = "{} (Graph Flow)"


def show_dock(viewer: ViewerModel, name: str) -> Any:
    """Raise the dock with a name such as ``Segment``, opened if it is not; return its widget."""
    found = find_dock(viewer, name)
    if found is None:
        kind = PluginManager.instance().commands.get(f"napari-graphflow.{name.lower()}")
        found = kind(viewer)
        viewer.window.add_dock_widget(found, name=_TITLE.format(name))
    dock = found.parent()
    if isinstance(dock, QDockWidget):
        dock.show()
        dock.raise_()
    return found


def find_dock(viewer: ViewerModel, name: str) -> QWidget | None:
    """Return the widget of an open dock under whatever title, or None."""
    module = f"napari_graphflow.plugin.{name.lower()}.widget"
    for widget in viewer.window.dock_widgets.values():
        if type(widget).__module__ == module:
            return widget
    return None
