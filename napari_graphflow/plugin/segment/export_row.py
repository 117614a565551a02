"""The export of the chosen model, in a process of its own."""

import json
import re
import sys
from pathlib import Path

from qtpy.QtCore import QProcess
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton, QWidget
from superqt import QCollapsible

from napari_graphflow.config.exports import EXPORTS, ExportParity
from napari_graphflow.config.model_card import name_of_model
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.layout import folded, row, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel, StatusLine
from napari_graphflow.system.failures import Failure, explain_exit


def export_section(panel: Panel, model: ModelPicker) -> QCollapsible:
    """Return the collapsed section that exports the chosen model."""
    line = ExportRow(panel, model)
    return folded("Export the model", line, line.status)


class ExportRow(QWidget):
    """Chooses a format and a folder, and reports how the export compares with the model.

    Parameters
    ----------
    panel
        The dock.
    model
        Chooses the model.
    """

    def __init__(self, panel: Panel, model: ModelPicker) -> None:
        super().__init__()
        self._model, self._out = model, Path()
        self.kind = QComboBox()
        for kind, info in EXPORTS.items():
            self.kind.addItem(info.title, kind)
        shrinkable(self.kind)
        self.button = QPushButton("Export …")
        self.button.setToolTip("Write a folder with which others run the model, and compare both.")
        self.status = StatusLine()
        self.setLayout(row(self.kind, self.button))
        self._process = QProcess(self)
        self._process.finished.connect(self._finished)
        self.button.clicked.connect(self._export)
        model.model_changed.connect(self.update_button)
        panel.closing.connect(self.stop)
        self.update_button()

    @property
    def running(self) -> bool:
        """Whether an export is running."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def update_button(self) -> None:
        """Enable the button if there is a model and no export is running."""
        self.button.setEnabled(self._model.folder() is not None and not self.running)

    def stop(self) -> None:
        """Kill a running export."""
        self._process.kill()
        self._process.waitForFinished(1000)

    def _export(self) -> None:
        model, kind = self._model.folder(), str(self.kind.currentData())
        parent = QFileDialog.getExistingDirectory(self, "Folder in which to write the export")
        if not parent or model is None:
            return
        name = name_of_model(model)
        folder = re.sub(r"[^\w.-]+", "-", name)
        self._out = Path(parent) / f"{folder}-{kind}"
        arguments = ["export", str(model), "--to", kind, "--out", str(self._out), "--json"]
        self._process.start(sys.executable, ["-m", "napari_graphflow", *arguments])
        self.status.info(f"{name}: exporting and comparing …")
        self.update_button()

    def _finished(self) -> None:
        self.update_button()
        text = bytes(self._process.readAllStandardOutput()).decode("utf-8", "replace")
        name = self._out.name
        try:
            reply = json.loads(text)
        except ValueError:
            self.status.fail(str(explain_exit(self._process.exitCode(), what="The export")))
            return
        if "failure" in reply:
            failure = Failure.model_validate(reply["failure"])
            self.status.fail(str(UserError(failure.text, failure.remedy)))
            return
        self.status.done(f"{name}: {ExportParity.model_validate(reply)}.")
        self.status.setToolTip(str(self._out))
