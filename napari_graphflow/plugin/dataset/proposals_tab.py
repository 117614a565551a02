"""*Proposals*: masks of a model for the cases that wait for one, and in which order to see them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.labelling.overview import WAITING, CaseRow
from napari_graphflow.labelling.priority import Strategy
from napari_graphflow.labelling.proposing import proposal_jobs, report, start_proposals
from napari_graphflow.labelling.rereads import Outcomes, proposal_outcomes
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import proposals_presenter as presenter
from napari_graphflow.plugin.dataset.job_bar import JobBar, unfinished
from napari_graphflow.plugin.widgets.layout import Rows, note, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel, PrimaryButton
from napari_graphflow.runners import runner

#: While masks are proposed, the list of cases is read again this often.
_LIST_MS = 3000


class ProposalsTab(QWidget):
    """Makes proposals by a job, which can be paused, and lists what was proposed."""

    #: Other proposals exist, or another order was chosen.
    changed = Signal()
    #: The list of proposed cases is wanted.
    wanted = Signal()

    def __init__(self, panel: Panel, labelling: Callable[[], Labelling | None]) -> None:
        super().__init__()
        self._panel, self._labelling = panel, labelling
        self._starting = False
        self._rows: list[CaseRow] = []
        self.text = note()
        self.model = ModelPicker(panel, prefer="student")
        self.button = PrimaryButton("Propose masks", panel)
        self.button.setToolTip("For all cases without a finished mask, as a job.")
        self.bar = JobBar(panel)
        self.order = QComboBox()
        shrinkable(self.order)
        for title, strategy in presenter.ORDERS.items():
            self.order.addItem(title, strategy)
        self.inbox = QPushButton("Show proposed cases")
        self.outcomes = note()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_LIST_MS)
        self._timer.timeout.connect(self.changed)
        rows = Rows()
        rows.add("Model", self.model)
        rows.add("", self.model.about)
        order = Rows()
        order.add("Order", self.order)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(self.text)
        column.addLayout(rows)
        column.addWidget(self.button)
        column.addWidget(self.bar)
        column.addLayout(order)
        column.addWidget(note(presenter.ABOUT_ORDER))
        column.addWidget(self.inbox)
        column.addWidget(self.outcomes)
        column.addStretch(1)
        self.model.model_changed.connect(self._update)
        self.button.clicked.connect(lambda _: self.propose())
        self.bar.ended.connect(self._ended)
        self.bar.advanced.connect(self._advanced)
        self.order.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.inbox.clicked.connect(lambda _: self.wanted.emit())
        self.show_rows([])

    def strategy(self) -> Strategy | None:
        """Return the chosen order; None for the default one."""
        found: Strategy | None = self.order.currentData()
        return found

    def show_rows(self, rows: list[CaseRow]) -> None:
        """Count the cases that wait, and those with a proposal."""
        self._rows = rows
        self.text.setText(presenter.waiting_text(rows))
        labelling = self._labelling()
        self.model.judge_for_dataset(None if labelling is None else labelling.dataset)
        self._update()
        if labelling is None:
            self.outcomes.clear()
            return

        def show(found: list[Outcomes]) -> None:
            self.outcomes.setText(presenter.outcomes_text(found))

        self._panel.background.run(lambda: proposal_outcomes(labelling), show, self._panel.fail)

    def use_model(self, folder: Path) -> None:
        """Choose the model that the rounds say is the one to use, if it is still there."""
        with suppress(UserError):
            read_model_card(folder)
            self.model.choose(folder)

    def look_for_job(self) -> None:
        """Follow a job that was started before, here or elsewhere."""
        labelling = self._labelling()
        self.bar.follow(None)
        if labelling is None:
            return
        folder = labelling.dataset.folder

        def find() -> Job | None:
            return next((job for job in proposal_jobs(folder) if unfinished(job)), None)

        def found(job: Job | None) -> None:
            if labelling is self._labelling() and job is not None:
                self.bar.follow(job)
                self._update()

        self._panel.background.run(find, found, self._panel.fail)

    def propose(self) -> None:
        """Start a job that proposes masks."""
        labelling, model = self._labelling(), self.model.folder()
        if labelling is None or model is None:
            return

        def begin() -> Job:
            job = start_proposals(labelling, model)
            runner("local").submit(job)
            return job

        self._starting = True
        self._panel.status.info("Starting …")
        self._update()
        self._panel.background.run(begin, self._started, self._not_started)

    def stop(self) -> None:
        """Follow no job before the dock is closed; it goes on."""
        self._timer.stop()
        self.bar.stop()

    def _started(self, job: Job) -> None:
        self._starting = False
        self._panel.status.info("Masks are proposed by a job, which goes on if napari is closed.")
        self.bar.follow(job)
        self._update()

    def _not_started(self, error: Exception) -> None:
        self._starting = False
        self._update()
        self._panel.fail(error)

    def _advanced(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _ended(self, found: tuple[Job, Status]) -> None:
        job, status = found
        self._panel.status.show_message(presenter.proposed_message(report(job), status))
        self._update()
        self.changed.emit()

    def _update(self) -> None:
        waiting = any(row.status in WAITING for row in self._rows)
        running = self.bar.job is not None
        fits = self.model.folder() is not None and self.model.misfit() is None
        self.button.setEnabled(waiting and fits and not self._starting and not running)
        self.model.setEnabled(not running)
        self.inbox.setEnabled(any(row.status == "proposed" for row in self._rows))
