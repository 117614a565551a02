"""A whole dataset in *Compare*: the job, the verdict, box plots, and cases that can be opened."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari import Viewer
from napari.layers import Image
from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.study import Study, cases_by_dice
from napari_graphflow.evaluation.verdict import verdict
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.plugin.compare.side_choice import SideChoice
from napari_graphflow.plugin.widgets.dataset_combo import DatasetCombo
from napari_graphflow.plugin.widgets.later import Later
from napari_graphflow.plugin.widgets.layout import Rows, note, row, scaled, shrinkable
from napari_graphflow.plugin.widgets.progress import ProgressRow

if TYPE_CHECKING:
    from napari_graphflow.plugin.compare.box_plot import BoxPlot
    from napari_graphflow.plugin.widgets.panel import Panel

POLL_MS = 500


class DatasetSection(QWidget):
    """Compares two models or folders of masks on a split as a job, and shows its results."""

    def __init__(self, panel: "Panel") -> None:
        super().__init__()
        self._panel = panel
        self._job: Job | None = None
        self._study: Study | None = None
        self._offset = 0
        self.dataset = DatasetCombo(panel)
        self.split = QComboBox()
        self.split.addItems(["test", "val", "train"])
        self.split.setToolTip("The labelled cases of this split are scored.")
        self.a, self.b = SideChoice("A"), SideChoice("B")
        for side in (self.a, self.b):
            side.setToolTip(
                "The model above, the model of a round, or a folder of masks, such as those of a "
                "reader."
            )
        self._above: tuple[Path | None, Path | None] = (None, None)
        self.button = QPushButton("Compare on the dataset")
        self.button.setToolTip("A job: it goes on when napari closes, and is found again here.")
        self.progress = ProgressRow()
        self.results = QComboBox()
        shrinkable(self.results)
        self.verdict = note()
        self.verdict.setStyleSheet("font-weight: 600;")
        self.plot = Later(_box_plot, panel)
        self.cases = QTableWidget()
        self.cases.verticalHeader().hide()
        self.cases.verticalHeader().setDefaultSectionSize(scaled(22))
        self.cases.setShowGrid(False)
        self.cases.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.cases.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.cases.setToolTip("Click a case to open it at its worst slice.")
        self.report = QPushButton("Open the report")
        self.report.setToolTip("The page in the browser; it numbers the cases.")
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)

        rows = Rows()
        rows.add("Dataset", self.dataset)
        rows.add("Split", self.split)
        rows.add("A", self.a)
        rows.add("B", self.b)
        rows.add_wide(self.button)
        rows.add_wide(self.progress)
        rows.add("Result", self.results)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(rows)
        for widget in (self.verdict, self.plot, self.cases):
            column.addWidget(widget)
        column.addLayout(row(self.report, stretch=-1))
        self.button.clicked.connect(self.start)
        self.progress.cancelled.connect(self._cancel)
        self.results.activated.connect(self._chosen)
        self.cases.cellClicked.connect(self._open_case)
        self.report.clicked.connect(self._open_report)
        self.dataset.chosen.connect(self._update)
        for side in (self.a, self.b):
            side.side_changed.connect(self._update)
        self._timer.timeout.connect(self._poll)
        self._list()
        self._update()

    def choose(self, a: Path | None, b: Path | None) -> None:
        """Take over the models that are chosen above, or made the masks; None for other masks."""
        self._above = (a, b)
        self._update()

    def start(self) -> None:
        """Start the job."""
        a, b, folder = self.a.path(), self.b.path(), self.dataset.folder()
        if a is None or b is None or folder is None:
            return
        config = ComparisonConfig(a=a, b=b, dataset=folder, split=self.split.currentText())
        self.button.setEnabled(False)
        self.progress.wait("starting …")
        self._panel.background.run(
            lambda: queue.submit(create("compare", config)), self._follow, self._failed
        )

    def release(self) -> None:
        """Stop watching; the job goes on."""
        self._timer.stop()

    def show_study(self, study: Study) -> None:
        """Show a finished comparison."""
        self._study = study
        self.verdict.setText(verdict(study))
        self.plot.widget().show_study(study)
        judged = study.of_role("student") or study.scored[-1]
        order = cases_by_dice(judged)
        titles = ["case", *(study.heading(side) for side in study.scored)]
        self.cases.setColumnCount(len(titles))
        self.cases.setHorizontalHeaderLabels(titles)
        self.cases.setRowCount(len(order))
        dice = [side.dice() for side in study.scored]
        for index, case in enumerate(order):
            self.cases.setItem(index, 0, QTableWidgetItem(case))
            for column, values in enumerate(dice, start=1):
                value = values.get(case)
                text = "–" if value is None or math.isnan(value) else f"{value:.3f}"
                self.cases.setItem(index, column, QTableWidgetItem(text))
        self.cases.resizeColumnsToContents()
        self.cases.setFixedHeight(min(len(order), 6) * self.cases.rowHeight(0) + 50)
        self._update()

    def _follow(self, job: Job) -> None:
        self._job, self._offset = job, 0
        self._timer.start()

    def _poll(self) -> None:
        job = self._job
        if job is None:
            return
        run = job.status().run
        if run.total:
            self.progress.advance(run.step, run.total, run.eta_s)
        else:
            self.progress.wait(str(run.phase or "starting …"))
        status = job.status()
        if status.active:
            return
        self._timer.stop()
        self._job = None
        self.progress.hide()
        if status.state == "done":
            self._list()
            self._load(job.folder)
        elif status.state == "cancelled":
            self._panel.status.info("The comparison was cancelled.")
        else:
            self._panel.status.fail(str(status.failure or "The comparison stopped unexpectedly."))
        self._update()

    def _cancel(self) -> None:
        if self._job is not None:
            self.progress.wait("cancelling …")
            self._panel.background.run(self._job.cancel, lambda _: None, self._failed)

    def _failed(self, error: Exception) -> None:
        self.progress.hide()
        self._update()
        self._panel.fail(error)

    def _list(self) -> None:
        self.results.clear()
        for job in list_jobs():
            if job.kind == "compare" and job.study.is_file():
                when = time.strftime("%d %b %H:%M", job.created.astimezone().timetuple())
                self.results.addItem(f"{when}  {job.title}", str(job.folder))
        if not self.results.count():
            self.results.addItem("none yet", "")

    def _chosen(self, _: int) -> None:
        if folder := self.results.currentData():
            self._load(Path(folder))

    def _load(self, folder: Path) -> None:
        self.results.setCurrentIndex(max(0, self.results.findData(str(folder))))
        try:
            self.show_study(read_config(Study, Job(folder).study))
        except UserError as error:
            self._panel.fail(error)

    def _open_case(self, index: int, _: int = 0) -> None:
        """Open a case with its reference, at the slice in which the student is worst."""
        study, folder = self._study, self.results.currentData()
        if study is None or not folder:
            return
        name = self.cases.item(index, 0).text()
        judged = study.of_role("student") or study.scored[-1]
        try:
            config = Job(Path(folder)).config
            assert isinstance(config, ComparisonConfig)
            dataset = Dataset.open(config.dataset, fold=config.fold)
            case = next(one for one in dataset.cases if one.name == name)
        except (UserError, StopIteration):
            self._panel.status.fail(f"{name} is not in the dataset any more.")
            return
        viewer = self._panel.viewer
        assert isinstance(viewer, Viewer)
        paths = [*case.images[:1], *([case.label] if case.label else [])]
        layers = viewer.open([str(path) for path in paths], plugin="napari-graphflow")
        images = [layer for layer in layers if isinstance(layer, Image)]
        worst = judged.worst_slices.get(name)
        if images and worst is not None and images[0].ndim == 3:
            axis = viewer.dims.ndim - 3
            viewer.dims.set_point(axis, images[0].data_to_world((worst, 0, 0))[0])
        self._panel.status.done(f"{name}: opened with its reference, slice {worst}.")

    def _open_report(self) -> None:
        if folder := self.results.currentData():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(Job(Path(folder)).report)))

    def _update(self) -> None:
        shown = self._study is not None
        for widget in (self.verdict, self.plot, self.cases, self.report):
            widget.setVisible(shown)
        for side, above in zip((self.a, self.b), self._above, strict=True):
            side.take(above, self.dataset.folder())
        a, b = self.a.path(), self.b.path()
        models = a is not None and b is not None and a != b
        self.button.setEnabled(models and self.dataset.folder() is not None and self._job is None)
        self.button.setText("Compare on the dataset" if models else "Choose A and B first")


def _box_plot() -> "BoxPlot":
    from napari_graphflow.plugin.compare.box_plot import BoxPlot

    return BoxPlot()
