"""Choosing a dataset, with counts at once and a check of its files beside the window."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import QProcess, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QWidget

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import FLAT
from napari_graphflow.plugin.widgets.layout import browse_button, folded, hint, shrinkable
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.recent import recent, remember

SIGNS = {"error": "✕", "warning": "⚠", "info": "·"}


MOST_SHOWN = 30


class DatasetPicker(QWidget):
    """Chooses a dataset; counts its cases, then checks all files in a process of its own.

    The check reads every image. SimpleITK holds Python's lock while it reads, so a thread of
    this process would make the window stutter.

    Attributes
    ----------
    counts, details
        A line with the counts, and the folded findings, to be set below.
    """

    dataset_changed = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel
        self._dataset: Dataset | None = None
        self._findings: list[dict[str, Any]] | None = None
        self.combo = QComboBox()
        shrinkable(self.combo)
        self.browse = browse_button("Choose the folder of a dataset")
        self.counts = hint(wrap=False)
        self.findings = QLabel()
        self.findings.setWordWrap(True)
        self.findings.setTextFormat(Qt.TextFormat.PlainText)
        self.findings.setStyleSheet("font-size: 9pt;")
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

    def folder(self) -> Path | None:
        """Folder of the dataset, or None before one is chosen."""
        found = self.combo.currentData()
        return Path(found) if found else None

    def name(self) -> str:
        """Name of the dataset."""
        return self._dataset.name if self._dataset else ""

    def dims(self) -> int:
        """Take 2 for pictures and 3 for volumes."""
        return 2 if self._dataset and self._dataset.file_ending.lower() in FLAT else 3

    def findings_of(self, severity: str) -> list[dict[str, Any]]:
        """Findings of the check, once it has ended."""
        return [one for one in self._findings or [] if one["severity"] == severity]

    def checked(self) -> bool:
        """Whether the check has ended."""
        return self._findings is not None

    def ready(self) -> bool:
        """Whether a training may start: there are labelled cases and no known error."""
        return (
            self._dataset is not None
            and bool(self._dataset.labelled("train"))
            and not self.findings_of("error")
        )

    def obstacle(self) -> str:
        """Why the dataset cannot be used, in a sentence, or nothing while it is being opened."""
        errors = self.findings_of("error")
        if errors:
            return _sentence(errors[0])
        if self._dataset is not None and not self._dataset.labelled("train"):
            return (
                f"{self._dataset.name} has no labelled training case. "
                "Segment and correct at least one, and save its mask in labelsTr."
            )
        return ""

    def stop(self) -> None:
        """End a check that is running."""
        self._dataset, self._findings = None, None
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
        folders = recent("datasets")
        with suppress(UserError):  # an installation may lack the samples
            if (sample := sample_dataset("abdomen")) not in folders:
                folders.append(sample)
        self.combo.blockSignals(True)
        self.combo.clear()
        if chosen is None:
            self.combo.addItem("choose …" if folders else "no dataset yet", "")
        for folder in folders:
            self.combo.addItem(folder.name, str(folder))
            self.combo.setItemData(self.combo.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(max(0, self.combo.findData(str(chosen or ""))))
        self.combo.blockSignals(False)
        self._open()

    def _open(self) -> None:
        folder = self.folder()
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
        self._dataset = dataset
        self._describe("checking …")
        self._check.start(
            sys.executable,
            ["-m", "napari_graphflow", "datasets", "check", str(dataset.folder), "--json"],
        )
        self.dataset_changed.emit()

    def _cannot_open(self, error: Exception) -> None:
        self.counts.setText("cannot be opened")
        self._panel.fail(error)

    def _checked(self, code: int) -> None:
        output = bytes(self._check.readAllStandardOutput()).decode("utf-8", "replace")
        if self._dataset is None:
            return
        try:
            self._findings = json.loads(output)["findings"]
        except (ValueError, KeyError):
            said = bytes(self._check.readAllStandardError()).decode("utf-8", "replace").strip()
            self._findings = [
                {
                    "severity": "error" if code == 2 else "warning",
                    "case": "",
                    "text": said.splitlines()[-1] if said else "The data check could not be run.",
                    "remedy": "",
                }
            ]
        errors, warnings = self.findings_of("error"), self.findings_of("warning")
        if errors:
            self._describe(f"{len(errors)} error{'s' * (len(errors) > 1)}")
        elif warnings:
            self._describe(f"{len(warnings)} remark{'s' * (len(warnings) > 1)}")
        else:
            self._describe("ok ✓")
        shown = [*errors, *warnings, *self.findings_of("info")]
        lines = [f"{SIGNS[one['severity']]} {_sentence(one)}" for one in shown[:MOST_SHOWN]]
        if len(shown) > MOST_SHOWN:
            lines.append(f"… and {len(shown) - MOST_SHOWN} more")
        self.findings.setText("\n".join(lines))
        self.details.setText(f"Data check ({len(shown)})")
        self.details.setVisible(bool(shown))
        self.dataset_changed.emit()

    def _describe(self, state: str) -> None:
        assert self._dataset is not None
        labelled = len(self._dataset.labelled("train"))
        unlabelled = len(self._dataset.unlabelled("train"))
        self.counts.setText(f"{labelled} labelled · {unlabelled} unlabelled · {state}")
        self.counts.setToolTip(
            f"Training cases of {self._dataset.name}\n"
            f"Classes: {', '.join(self._dataset.classes)}\n{self._dataset.folder}"
        )

    def _browse(self) -> None:
        start = self.folder() or Path.home()
        folder = QFileDialog.getExistingDirectory(self, "Folder of a dataset", str(start.parent))
        if folder:
            self.choose(Path(folder))


def _sentence(finding: dict[str, Any]) -> str:
    case = f"{finding['case']}: " if finding.get("case") else ""
    return f"{case}{finding['text']} {finding.get('remedy', '')}".strip()
