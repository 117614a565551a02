"""Choose what is segmented, for the method and settings that the benchmarks support."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_graphflow.config.recommended import RECOMMENDED, Task, usual_task
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
        self.setToolTip("Sets the method and its options to those that were best on such images.")
        shrinkable(self)
        self.text_below = note()
        self._touched = False
        for task, found in RECOMMENDED.items():
            self.addItem(found.title, task)
        self.addItem(OWN, None)
        self.setCurrentIndex(self.count() - 1)
        self.activated.connect(self._chosen)

    def task(self) -> Task | None:
        """Return what is segmented; None for the user's own choice of a method."""
        chosen: Task | None = self.currentData()
        return chosen

    def suggest(self, dims: int) -> None:
        """Choose what is likely in volumes or in 2D images, unless the user has chosen."""
        if not self._touched:
            self._choose(usual_task(dims))

    def own(self) -> None:
        """The user chooses a method."""
        self._touched = True
        self._choose(None)

    def _chosen(self) -> None:
        self._touched = True
        self._choose(self.task())

    def _choose(self, task: Task | None) -> None:
        self.setCurrentIndex(self.findData(task))
        self.text_below.setText("" if task is None else RECOMMENDED[task].text)
        self.task_changed.emit()
