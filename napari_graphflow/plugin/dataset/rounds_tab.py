"""*Rounds*: learn from what is labelled, judge the model, undo."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QLabel,
    QMessageBox,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.config.run import PRESETS, Effort
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.labelling.rounds import (
    DamagedRound,
    Round,
    job_state,
    offered_round,
    read_rounds,
    start,
    undo,
)
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import rounds_presenter as presenter
from napari_graphflow.plugin.dataset.job_bar import JobBar
from napari_graphflow.plugin.dataset.tables import fill, table
from napari_graphflow.plugin.jobs.announcer import announce_ends
from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.layout import Rows, folded, note, row, scaled, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel, PrimaryButton
from napari_graphflow.runners import runner

#: Rounds, their states, and the damaged ones.
Listed = tuple[list[Round], list[str], list[DamagedRound]]
_TICK_MS = 3000
FIRST = "none (masks alone)"


class RoundsTab(QWidget):
    """Starts rounds as jobs, which go on when napari is closed, and lists them."""

    #: The model to use has changed.
    model_judged = Signal(object)
    #: A round was undone: every case may have changed.
    undone = Signal()
    #: The open case has to be put away before a round is undone; called by `undo`.
    put_away: Callable[[], None]

    def __init__(self, panel: Panel, labelling: Callable[[], Labelling | None]) -> None:
        super().__init__()
        announce_ends(panel)
        self._panel, self._labelling = panel, labelling
        self.put_away = lambda: None
        self._rounds: list[Round] = []
        self._cells: list[presenter.RoundCells] = []
        self._rows: list[CaseRow] = []
        self._starting = False
        self.text = note()
        self.teacher = ModelPicker(panel, optional=FIRST, empty=FIRST, prefer="teacher")
        self.network = QComboBox()
        shrinkable(self.network)
        self.network_label = QLabel()
        self.effort = QButtonGroup(self)
        efforts = []
        for effort, preset in PRESETS.items():
            choice = QRadioButton(effort)
            choice.setToolTip(f"{preset['steps']:,} steps")
            choice.setProperty("effort", effort)
            self.effort.addButton(choice)
            efforts.append(choice)
        efforts[0].setChecked(True)
        self.button = PrimaryButton("Learn from what is labelled", panel)
        self.student = QComboBox()
        shrinkable(self.student)
        self.also = QCheckBox("then distil a student of it")
        self.also.setToolTip(
            "A small network that learns from the first one; the same small network is also "
            "trained alone, and both are compared."
        )
        self.student_label = QLabel("Student")
        self.also.toggled.connect(self._list_networks)
        for title, name in presenter.student_networks():
            self.student.addItem(title, name)
        self.bar = JobBar(panel)
        self._model = Path()
        self.list = table(presenter.HEADERS)
        self.list.setFixedHeight(scaled(120))
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.scores = table(presenter.SCORES)
        self.scores.setFixedHeight(scaled(150))
        self.details = folded("By structure and case", self.scores)
        self._waited: set[int] = set()
        self._scored: list[tuple[str, str, str, str]] = []
        self.job = QPushButton("Show the job")
        self.undo_button = QPushButton("Undo round …")
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self.refresh)
        rows = Rows()
        rows.add("Teacher", self.teacher)
        rows.add("", self.teacher.about)
        rows.add(self.network_label, self.network)
        rows.add_wide(self.also)
        rows.add(self.student_label, self.student)
        rows.add("Effort", row(*efforts, stretch=-1))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(self.text)
        column.addLayout(rows)
        column.addWidget(self.button)
        column.addWidget(self.bar)
        column.addWidget(self.list)
        column.addWidget(self.verdict)
        column.addWidget(self.details)
        column.addLayout(row(self.job, self.undo_button, stretch=-1))
        column.addStretch(1)
        self.teacher.model_changed.connect(self._list_networks)
        self.teacher.model_changed.connect(self._update)
        self.button.clicked.connect(lambda _: self.learn())
        self.list.itemSelectionChanged.connect(self._update)
        self.bar.ended.connect(lambda _: self.refresh())
        self.job.clicked.connect(lambda _: self._show_job())
        self.undo_button.clicked.connect(lambda _: self.undo())
        self._list_networks()
        self._update()

    def show_rows(self, rows: list[CaseRow]) -> None:
        """Count the masks, and list the rounds again."""
        self._rows = rows
        self.text.setText(presenter.learn_text(rows))
        labelling = self._labelling()
        self.teacher.judge_for_dataset(None if labelling is None else labelling.dataset)
        self._update()
        self.refresh()

    def learn(self) -> None:
        """Start a round."""
        labelling = self._labelling()
        if labelling is None:
            return
        effort: Effort = self.effort.checkedButton().property("effort")
        dataset = labelling.dataset
        card = self.teacher.card()
        about = (dataset.folder, dataset.file_ending, dataset.name)
        network = str(self.network.currentData())
        config = presenter.settings(*about, network, effort, self.teacher.folder(), card)
        teacher = None
        if card is None and self.also.isChecked():
            teacher = config
            student = str(self.student.currentData())
            config = presenter.settings(*about, student, effort, Path("teacher"), None)

        def begin() -> Round:
            engine = runner("local")
            record, job = start(labelling, config, teacher=teacher)
            engine.submit(job)
            return record

        self._starting = True
        self._update()
        self._panel.status.info("Starting the round …")
        self._panel.background.run(begin, self._started, self._not_started)

    def undo(self) -> None:
        """Undo the newest round after a question."""
        labelling, chosen = self._labelling(), self._chosen()
        if labelling is None or chosen is None:
            return
        title = f"Undo round {chosen.number}?"
        answer = QMessageBox.question(self, title, presenter.undo_text(chosen.number))
        if answer != QMessageBox.StandardButton.Yes:
            return
        try:
            self.put_away()
        except UserError as error:
            self._panel.fail(error)
            return

        def done(record: Round) -> None:
            self._panel.status.done(f"Round {record.number} was undone.")
            self.undone.emit()

        self._panel.background.run(lambda: undo(labelling, chosen.number), done, self._panel.fail)

    def refresh(self) -> None:
        """List the rounds again; their jobs judge the models."""
        labelling = self._labelling()
        if labelling is None:
            self._show(None, ([], [], []))
            return

        def read() -> Listed:
            rounds, damaged = read_rounds(labelling)
            states = [job_state(one) if one.state == "started" else one.state for one in rounds]
            return rounds, states, damaged

        self._panel.background.run(read, partial(self._show, labelling), self._panel.fail)

    def stop(self) -> None:
        """Stop; jobs go on."""
        self._timer.stop()
        self.bar.stop()

    def _show(self, labelling: Labelling | None, found: Listed) -> None:
        if labelling is not self._labelling():
            return
        chosen, before = self._chosen(), len(self._cells)
        self._rounds, states, _ = found
        self._cells = presenter.cells(*found)
        fill(self.list, [one.texts for one in self._cells], numbers=(2,))
        numbers = [one.number for one in self._cells]
        # A new round is chosen at once.
        known = chosen is not None and chosen.number in numbers and len(numbers) == before
        if numbers:
            self.list.selectRow(numbers.index(chosen.number) if known and chosen else 0)
        self._update()
        current = zip(self._rounds, states, strict=True)
        running = [one for one, state in current if state in ("queued", "running", "paused")]
        self.bar.follow(Job(Path(running[-1].job)) if running else None)
        for one in presenter.judged(self._rounds, self._waited):
            assert one.verdict is not None
            first = one.verdict.sentence.split(":")[0].rstrip(".")
            self._panel.status.done(f"Round {one.number}: {first}.")
        self._waited = {one.number for one in running}
        default = offered_round(self._rounds)
        if default is not None and self._model != Path(default.model):
            self._model = Path(default.model)
            self.model_judged.emit(self._model)
        if any(state in ("queued", "running") for state in states):
            self._timer.start()
        else:
            self._timer.stop()

    def _started(self, record: Round) -> None:
        self._starting = False
        self._panel.status.done(
            f"Round {record.number} started as a job. It goes on when napari is closed."
        )
        self.refresh()

    def _not_started(self, error: Exception) -> None:
        self._starting = False
        self._update()
        self._panel.fail(error)

    def _chosen(self) -> presenter.RoundCells | None:
        found = self.list.selectionModel().selectedRows()
        return self._cells[found[0].row()] if found and self._cells else None

    def _list_networks(self, _: bool = False) -> None:
        card = self.teacher.card()
        self.network_label.setText("Network" if card is None else "Student")
        self.also.setVisible(card is None)
        for widget in (self.student_label, self.student):
            widget.setVisible(card is None and self.also.isChecked())
        chosen = self.network.currentData()
        self.network.clear()
        for title, name in presenter.networks(card):
            self.network.addItem(title, name)
        self.network.setCurrentIndex(max(0, self.network.findData(chosen)))

    def _show_job(self) -> None:
        chosen = self._chosen()
        record = next((one for one in self._rounds if chosen and one.number == chosen.number), None)
        if record is not None and record.job and Path(record.job).is_dir():
            show_dock(self._panel.viewer, "Jobs").choose(Job(Path(record.job)))

    def _update(self) -> None:
        chosen = self._chosen()
        learnable = not presenter.learn_text(self._rows).startswith("No")
        fits = self.teacher.misfit() is None
        self.button.setEnabled(learnable and fits and not self._starting)
        self.verdict.setText(chosen.verdict if chosen is not None else "")
        self.verdict.setVisible(chosen is not None)
        rows = presenter.score_rows(self._rounds, chosen.number) if chosen is not None else []
        self.details.setVisible(bool(rows))
        if rows != self._scored:
            self._scored = rows
            fill(self.scores, rows, numbers=(1, 2))
        self.job.setEnabled(any(chosen and one.number == chosen.number for one in self._rounds))
        self.undo_button.setEnabled(chosen is not None and chosen.undoable)
