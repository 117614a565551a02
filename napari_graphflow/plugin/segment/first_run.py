"""What to do while there is no model at all."""

from collections.abc import Callable

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.layout import note
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel

TEXT = "There is no model yet. To get one:"


class FirstRun(QWidget):
    """Leads to a sample, a dataset and a teacher; shown until there is a model."""

    def __init__(self, panel: Panel, model: ModelPicker) -> None:
        super().__init__()
        self._panel = panel
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(note(TEXT))
        viewer = panel.viewer
        ways: dict[str, tuple[str, Callable[[], object]]] = {
            "Open a sample scan": (
                "Try the window with a computed abdomen.",
                lambda: viewer.open_sample("napari-graphflow", "abdomen-labelled"),
            ),
            "Train a teacher": (
                "From masks you have, or on the sample dataset.",
                lambda: show_dock(viewer, "Distil"),
            ),
            "Label scans first": (
                "Make a dataset from a folder of scans.", lambda: show_dock(viewer, "Dataset"),
            ),
            "Choose a teacher from elsewhere …": (
                "A folder or a file, such as of a model that a colleague has exported.",
                model.browse.click,
            ),
        }  # fmt: skip
        self.buttons = []
        for title, (tip, act) in ways.items():
            button = QPushButton(title)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, act=act: act())
            column.addWidget(button)
            self.buttons.append(button)
