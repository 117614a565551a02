"""Choose a dataset; its cases are counted at once and its files are checked in the background."""

import sys
from pathlib import Path

from qtpy.QtCore import QProcess, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QWidget
from superqt.utils import signals_blocked

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.findings import Finding
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.distil.dataset_check import CheckedDataset
from napari_graphflow.plugin.widgets.layout import browse_button, folded, note, shrinkable
from napari_graphflow.plugin.widgets.list_watch import ListRefresher
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.recent import remember
from napari_graphflow.plugin.widgets.saved_models import dataset_stamp, listed_datasets


class DatasetPicker(QWidget):
    """Chooses a dataset, counts its cases, and checks all files in a separate process.

    The check reads every image. SimpleITK holds the GIL while it reads, so a thread of this
    process would make the window stutter.

    Attributes
    ----------
    dataset
        The chosen dataset, or None before it is open.
    counts, details
        The line with the counts and the collapsible findings, for the layout of the caller.
    """

    dataset_changed = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel
        self.dataset: CheckedDataset | None = None
        self._stamp: dict[Path, int] = {}
        self.combo = QComboBox()
        shrinkable(self.combo)
        self.browse = browse_button("Choose a dataset folder")
        self.counts = note(wrap=False)
        self.findings = QLabel()
        self.findings.setWordWrap(True)
        self.findings.setTextFormat(Qt.TextFormat.PlainText)
        self.details = folded("Data check", self.findings)
        line = QHBoxLayout()
        line.setSpacing(4)
        line.addWidget(self.combo, 1)
        line.addWidget(self.browse)
        line.setContentsMargins(0, 0, 0, 0)
        self.setLayout(line)
        self._check = QProcess(self)
        self._check.finished.connect(self._checked)
        self.browse.clicked.connect(self._browse)
        self.combo.currentIndexChanged.connect(self._open)
        self._list(None)
        ListRefresher(self, self._list_changed)

    def folder(self) -> Path | None:
        """Return the folder of the dataset, or None before one is chosen."""
        found = self.combo.currentData()
        return Path(found) if found else None

    def findings_of(self, severity: str) -> list[Finding]:
        """Return the findings of one severity; empty before the check has finished."""
        return [] if self.dataset is None else self.dataset.findings_of(severity)

    def checked(self) -> bool:
        """Whether the check has finished."""
        return self.dataset is not None and self.dataset.findings is not None

    def stop(self) -> None:
        """Kill a running check."""
        self.dataset = None
        self._check.kill()
        self._check.waitForFinished(1000)

    def choose(self, folder: Path) -> None:
        """Open the dataset in a folder."""
        try:
            Dataset.open(folder)
        except UserError as error:
            self._panel.fail(error)
            return
        remember("datasets", folder)
        self._list(Path(folder).resolve())

    def _list(self, chosen: Path | None) -> None:
        folders = listed_datasets()
        if chosen not in folders:  # removed
            chosen = None
        with signals_blocked(self.combo):
            self.combo.clear()
            if chosen is None:
                self.combo.addItem("choose a dataset …" if folders else "no dataset yet", "")
            for folder in folders:
                self.combo.addItem(folder.name, str(folder))
                self.combo.setItemData(
                    self.combo.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole
                )
            self.combo.setCurrentIndex(max(0, self.combo.findData(str(chosen or ""))))
        self._open()

    def _list_changed(self) -> bool:
        """List the datasets again; count and check the chosen one again if it has changed."""
        if self.combo.view().isVisible():  # the user is choosing
            return False
        folder = self.folder()
        listed = [Path(self.combo.itemData(i)) for i in range(self.combo.count())]
        if listed_datasets() != [one for one in listed if one != Path()]:
            self._list(folder)
        elif folder is not None and self._stamp != dataset_stamp(folder):
            self._open()
        return True

    def _open(self) -> None:
        folder = self.folder()
        self._stamp = dataset_stamp(folder) if folder else {}
        self.stop()
        self.details.hide()
        self.counts.setText("opening …" if folder else "")
        self.counts.setVisible(folder is not None)
        self.dataset_changed.emit()
        if folder is not None:
            self._panel.background.run(
                lambda: Dataset.open(folder), self._opened, self._cannot_open
            )

    def _opened(self, dataset: Dataset) -> None:
        if dataset.folder != self.folder():
            return
        self.dataset = CheckedDataset(dataset)
        self._describe(self.dataset)
        self._check.start(
            sys.executable,
            ["-m", "napari_graphflow", "datasets", "check", str(dataset.folder), "--json"],
        )
        self.dataset_changed.emit()

    def _cannot_open(self, error: Exception) -> None:
        self.counts.setText("could not be opened")
        self._panel.fail(error)

    def _checked(self) -> None:
        output = bytes(self._check.readAllStandardOutput()).decode("utf-8", "replace")
        if self.dataset is None:
            return
        self.dataset = self.dataset.checked(output)
        self._describe(self.dataset)
        title, text = self.dataset.report
        self.findings.setText(text)
        self.details.setText(title)
        self.details.setVisible(bool(text))
        self.dataset_changed.emit()

    def _describe(self, dataset: CheckedDataset) -> None:
        self.counts.setText(dataset.counts)
        self.counts.setToolTip(dataset.tip)

    def _browse(self) -> None:
        start = self.folder() or Path.home()
        folder = QFileDialog.getExistingDirectory(self, "Dataset folder", str(start.parent))
        if folder:
            self.choose(Path(folder))
