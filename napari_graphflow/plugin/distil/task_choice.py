"""Choose what is segmented, for the method and settings that the benchmarks support."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_graphflow.config.recommended import RECOMMENDED, Task
from napari_graphflow.plugin.widgets.layout import note, shrinkable

OWN = "Own choice of method"


class TaskChoice(QComboBox):
    """A list of tasks, and an entry for a method and settings of the user's own.

    Attributes
    ----------
    text_below
        Why this method, for the layout of the caller.
    """

    task_changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolTip(
            "Enters the method and options that our benchmarks support on such images. The "
            "teacher's weight then rises over half of the steps, at most 1,000."
        )
        shrinkable(self)
        self.text_below = note()
        self._touched = False
        for task, found in RECOMMENDED.items():
            self.addItem(found.title, task)
        self.addItem(OWN, None)
        self._choose(None)
        self.currentIndexChanged.connect(lambda _: self.task_changed.emit())
        self.activated.connect(self._touch)

    def task(self) -> Task | None:
        """Return what is segmented; None for the user's own choice of a method."""
        chosen: Task | None = self.currentData()
        return chosen

    def suggest(self, dims: int) -> None:
        """Choose organs for volumes, unless the user has chosen; 2D images show all kinds."""
        if not self._touched:
            self._choose("organs" if dims == 3 else None)

    def own(self) -> None:
        """The user chooses a method."""
        self._touch()
        self._choose(None)

    def _touch(self) -> None:
        self._touched = True

    def _choose(self, task: Task | None) -> None:
        self.setCurrentIndex(self.findData(task))
