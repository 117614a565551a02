"""What would delay the opening of a dock: widgets made at their first use, imports in a thread."""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from qtpy.QtWidgets import QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_graphflow.plugin.widgets.layout import folded

if TYPE_CHECKING:
    from napari_graphflow.plugin.widgets.palette import Colours
    from napari_graphflow.plugin.widgets.panel import Panel

W = TypeVar("W", bound=QWidget)
#: Modules whose import takes a tenth of a second or more.
SLOW = ("pyqtgraph", "SimpleITK", "scipy.ndimage", "pydicom")
_threads: list[Thread] = []


class Later(QWidget, Generic[W]):
    """The place of a widget that is made when it is first asked for.

    Parameters
    ----------
    make
        Imports what it needs, and makes the widget.
    panel
        The dock whose theme a plot follows, by its `set_colours`.
    """

    def __init__(self, make: Callable[[], W], panel: "Panel | None" = None) -> None:
        super().__init__()
        self._make, self._panel = make, panel
        if panel is not None:
            panel.themed.connect(self._set_colours)
        self.made: W | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)

    def widget(self) -> W:
        """Return the widget; make it, if this is the first call."""
        if self.made is None:
            self.made = self._make()
            self.layout().addWidget(self.made)
            if self._panel is not None:
                self._set_colours(self._panel.colours)
        return self.made

    def folded(self, title: str) -> QCollapsible:
        """Return a collapsed section that makes the widget when it is unfolded."""
        section = folded(title, self)
        section.toggled.connect(lambda _: self.widget())
        return section

    def _set_colours(self, colours: "Colours") -> None:
        if self.made is not None:
            self.made.set_colours(colours)


def import_in_thread() -> None:
    """Import what is slow in a thread, once: the window responds meanwhile."""
    if not _threads:
        _threads.append(Thread(target=_import, name="graphflow-imports", daemon=True))
        _threads[0].start()


def is_imported(name: str) -> bool:
    """Whether a module has been imported to its end."""
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


def _import() -> None:
    for name in SLOW:
        with suppress(ImportError):  # whoever uses it says so
            import_module(name)
