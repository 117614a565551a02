"""*Distil*: train a teacher or distil it into a small student, as a job in its own process."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QLabel,
    QPushButton,
    QRadioButton,
    QSpinBox,
)

from napari_graphflow.config.methods import METHODS, MethodName
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.distil import presenter
from napari_graphflow.plugin.distil.dataset_picker import DatasetPicker
from napari_graphflow.plugin.distil.forms import method_form, named_taps, run_form
from napari_graphflow.plugin.distil.presenter import RUNNERS, Choices
from napari_graphflow.plugin.distil.site_choice import SiteChoice
from napari_graphflow.plugin.distil.task_choice import TaskChoice
from napari_graphflow.plugin.jobs.announcer import announce_ends
from napari_graphflow.plugin.viewer.preferences import preferences
from napari_graphflow.plugin.widgets.background import Background, LastingBackground
from napari_graphflow.plugin.widgets.config_form import ConfigForm
from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.keys import KeyButton, button_keys
from napari_graphflow.plugin.widgets.layout import Rows, folded, note, row, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import (
    NOT_A_DEVICE,
    Panel,
    PrimaryButton,
    copy_text,
)
from napari_graphflow.runners import RunnerName, runner
from napari_graphflow.system.devices import Device, devices

if TYPE_CHECKING:  # imported at the first estimate, which is after the dock has opened
    from napari_graphflow.jobs.estimate import Estimate

TRAIN_FIRST = "train a teacher first"


class DistilWidget(Panel):
    """Configures, starts and monitors a distillation.

    While no teacher is chosen, it trains one on the labelled cases.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.dataset = DatasetPicker(self)
        self.sites, self.sites_label = SiteChoice(self), QLabel("Learn from")
        self.teacher = ModelPicker(self, optional=TRAIN_FIRST, empty=TRAIN_FIRST, prefer="teacher")
        self.network, self.network_label = QComboBox(), QLabel()
        shrinkable(self.network)
        self.task, self.task_label = TaskChoice(self), QLabel("For")
        self.method, self.method_label = QComboBox(), QLabel("Method")
        shrinkable(self.method, entry_as_tip=False)
        self.method_text = note()
        self.effort = QButtonGroup(self)
        self.effort_text = note()
        self.alone = QCheckBox("Also train the student alone")
        self.alone.setToolTip(
            "Afterwards, with the same seed, batches and steps but without the teacher. Compare "
            "can then say what distillation contributed."
        )
        self.forms: dict[str, ConfigForm[Any]] = {
            "distill": run_form(DistillationConfig),
            "train": run_form(TrainingConfig),
        }
        self.method_forms = {name: method_form(name) for name in METHODS}
        self.command = QPushButton("Copy")
        self.command.setToolTip("Copy the command line that starts the same job in a terminal.")
        self.runner = QComboBox()
        self.runner.setToolTip(
            "The cluster needs access to the data and job folders, or choose the runner that "
            "uploads them."
        )
        for runner_name, title in RUNNERS.items():
            self.runner.addItem(title, runner_name)
        shrinkable(self.runner)
        self.workers = QSpinBox()
        self.workers.setRange(1, 64)
        self.workers.setPrefix("workers: ")
        self.workers.setToolTip("Number of Ray worker processes that share each batch.")
        self.workers.hide()
        self.measure = KeyButton("Estimate time and memory")
        self.measure.setToolTip(
            "Run a few training steps and find the largest settings that fit into memory."
        )
        self.estimate = note()
        self.button = PrimaryButton("Start distillation", self)
        self.show_jobs = KeyButton("Jobs")
        self.show_jobs.setToolTip("Show all jobs with their progress and curves.")
        self._starting = self._measuring = False
        self._recommended: Any = None

        for name, known in METHODS.items():
            self.method.addItem(known.title, name)
        efforts = []
        for effort, offered in presenter.efforts().items():
            choice = QRadioButton(offered.title)
            choice.setToolTip(offered.text)
            choice.setProperty("effort", effort)
            self.effort.addButton(choice)
            efforts.append(choice)
        efforts[0].setChecked(True)

        rows = Rows()
        rows.add("Dataset", self.dataset)
        rows.add("", self.dataset.counts)
        rows.add(self.sites_label, self.sites)
        rows.add("", self.sites.text_below)
        rows.add("Teacher", self.teacher)
        rows.add("", self.teacher.about)
        rows.add(self.network_label, self.network)
        rows.add(self.task_label, self.task)
        rows.add("", self.task.text_below)
        rows.add(self.method_label, self.method)
        rows.add("", self.method_text)
        rows.add("Effort", row(*efforts, stretch=-1))
        rows.add("", self.effort_text)
        rows.add("", self.alone)
        self.column.addLayout(rows)
        self.column.addWidget(self.dataset.details)
        where = row(QLabel("Run on"), self.runner, stretch=1)
        self.advanced = folded(
            "Advanced", where, self.workers, *self.forms.values(), *self.method_forms.values()
        )
        self.column.addWidget(self.advanced)
        self.column.addWidget(folded("Copy as command line", self.command))
        self.column.addLayout(row(self.measure, self.show_jobs))
        self.column.addWidget(self.estimate)
        self.estimate.hide()
        self.column.addWidget(self.button)
        self.column.addWidget(self.status)
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.dataset.dataset_changed.connect(self._dataset_changed)
        self.sites.sites_changed.connect(self._update)
        self.teacher.model_changed.connect(self._recommend)
        self.network.currentIndexChanged.connect(self._pair_changed)
        self.network.activated.connect(self._recommend)
        self.task.task_changed.connect(self._recommend)
        self.method.activated.connect(self.task.own)
        self.method.currentIndexChanged.connect(self._update)
        self.effort.buttonClicked.connect(self._effort_changed)
        self.runner.currentIndexChanged.connect(self._runner_changed)
        self.command.clicked.connect(self._copy)
        self.measure.clicked.connect(self._measure)
        for form in self.method_forms.values():
            form.entered.connect(self._pair_changed)
        self.button.clicked.connect(self.start)
        self.show_jobs.clicked.connect(lambda: show_dock(self.viewer, "Jobs"))
        buttons = {"start": self.button, "measure": self.measure, "jobs": self.show_jobs}
        self._keys = button_keys(self, "distil_keys", buttons, self.status.warn)
        announce_ends(self)
        self._effort_changed()
        self._background, self._starts = Background(self), LastingBackground(self)
        self._closing = threading.Event()
        self._background.run(devices, self._offer_devices, lambda _: None)

    @property
    def kind(self) -> RunKind:
        """``train`` while there is no teacher, otherwise ``distill``."""
        return self.choices().kind

    def choices(self) -> Choices:
        """Return what the user has chosen so far."""
        method: MethodName = self.method.currentData()
        return Choices(
            folder=self.dataset.folder(),
            dataset=self.dataset.dataset,
            teacher=self.teacher.folder(),
            card=self.teacher.card(),
            network=str(self.network.currentData()),
            method=method,
            taps=named_taps(method, self.method_forms[method]),
            also_alone=self.alone.isChecked(),
            sources=self.sites.sources(),
            runner=self.runner.currentData(),
            workers=self.workers.value(),
            starting=self._starting,
            measuring=self._measuring,
            task=self.task.task(),
            effort=self.effort.checkedButton().property("effort"),
        )

    def released(self) -> None:
        """Stop, once a job that is being started is so."""
        super().released()
        self.dataset.stop()
        self._closing.set()  # otherwise quitting napari would wait for the estimate
        self._background.stop()
        self._starts.stop()

    def config(self) -> TrainingConfig:
        """Return the configuration that the window shows.

        Raises
        ------
        UserError
            If something is missing, or a value is not allowed.
        """
        return presenter.config(self.choices(), self._entered())

    def _entered(self) -> TrainingConfig:
        """Return the values under *Advanced*."""
        entered: TrainingConfig = self.forms[self.kind].config()
        if isinstance(entered, DistillationConfig):
            options = self.method_forms[self.choices().method].config()
            entered = entered.model_copy(update={"method": options})
        return entered

    def start(self) -> None:
        """Start the job and show it in the list."""
        try:
            config = self.config()
        except UserError as error:
            self.fail(error)
            return
        self._starting = True  # a second click would start a second job
        self._update()
        self.status.show_message(presenter.STARTING)
        choices = self.choices()
        # Drivers, the queue and clusters may take seconds to respond.
        background = self._starts if choices.runner == "local" else self._background
        background.run(
            lambda: _submit(choices.kind, config, choices.runner, choices.processes),
            self._started, self._not_started,
        )  # fmt: skip

    def _started(self, job: Job) -> None:
        self._starting = False
        self._update()
        self.status.show_message(presenter.STARTED)
        show_dock(self.viewer, "Jobs").choose(job)

    def _not_started(self, error: Exception) -> None:
        self._starting = False
        self._update()
        self.fail(error)

    def _measure(self) -> None:
        try:
            config = self.config()
        except UserError as error:
            self.fail(error)
            return
        self._set_measuring(True)
        self.estimate.setText(presenter.MEASURING)
        self.estimate.show()
        kind, closing = self.kind, self._closing.is_set
        self._background.run(
            lambda: _estimate(kind, config, closing), self._measured, self._not_measured
        )

    def _measured(self, found: "Estimate") -> None:
        self._set_measuring(False)
        text, entries = presenter.estimated(found)
        self.estimate.setText(text)
        self.forms[self.kind].put_fields(**entries)

    def _not_measured(self, error: Exception) -> None:
        self._set_measuring(False)
        self.estimate.hide()
        self.fail(error)

    def _set_measuring(self, measuring: bool) -> None:
        self._measuring = measuring
        self.measure.setEnabled(presenter.present(self.choices()).measure)

    def _offer_devices(self, found: list[Device]) -> None:
        choices = {f"auto: {found[0]}": "auto"} | {str(device): device.name for device in found}
        for form in self.forms.values():
            form.offer("device", choices)
            if preferences().device in choices.values():
                form.put_fields(device=preferences().device)

    def _runner_changed(self) -> None:
        self.workers.setVisible(presenter.present(self.choices()).shows_workers)

    def _effort_changed(self) -> None:
        effort = self.choices().effort
        for one in self.forms.values():
            one.put_fields(**presenter.efforts()[effort].entries)
        self.alone.setChecked(effort == "quick")
        self._update()

    def _update(self) -> None:
        choices = self.choices()
        shown = presenter.present(choices)
        self.network_label.setText(shown.network_label)
        self.network_label.setToolTip(shown.network_tip)
        self._list_networks(choices.kind, shown.networks)
        method = (self.task, self.task_label, self.method, self.method_label, self.method_text)
        for widget in (*method, self.alone):
            widget.setVisible(shown.shows_method)
        self.task.text_below.setText(shown.task_text)
        self.task.text_below.setVisible(bool(shown.task_text))
        self.effort_text.setText(shown.effort_text)
        self.method_text.setText(shown.method_text)
        self.method_text.setToolTip(shown.method_tip)
        self.method.setToolTip(shown.method_tip)
        for widget in (self.sites, self.sites_label):
            widget.setVisible(shown.shows_sites)
        self.sites.setText(shown.sites_title)
        self.sites.text_below.setText(shown.sites_text)
        self.sites.text_below.setVisible(bool(shown.sites_text))
        for kind, form in self.forms.items():
            form.setVisible(kind == choices.kind)
        for name, form in self.method_forms.items():
            form.setVisible(shown.shows_method and name == choices.method)
        self.button.setText(shown.start_text)
        self.button.setEnabled(shown.start)
        self.status.show_message(shown.message)

    def _recommend(self) -> None:
        """Enter what is recommended, once: later changes of the user stay."""
        choices = self.choices()
        found, before = presenter.recommended(choices), self._recommended
        if choices.task is None and before is not None:
            form = self.method_forms[before.name]
            with suppress(UserError):  # what is not valid, the user has entered
                if form.config() == before:
                    form.put(type(before)())
            self._recommended = None
        elif found is not None and found != before:
            self.method_forms[found.name].put(found)
            self.method.setCurrentIndex(self.method.findData(found.name))
            self._recommended = found
        self._update()

    def _dataset_changed(self) -> None:
        chosen = self.dataset.dataset
        if chosen is not None:
            self.sites.offer(chosen.dataset.folder, chosen.sites)
            self.task.suggest(chosen.dims)
        self.teacher.judge_for_dataset(None if chosen is None else chosen.dataset)
        self._update()

    def _pair_changed(self) -> None:
        shown = presenter.present(self.choices())
        self.button.setText(shown.start_text)
        self.button.setEnabled(shown.start)
        self.status.show_message(shown.message)

    def _list_networks(self, kind: RunKind, networks: tuple[tuple[str, str], ...]) -> None:
        """List networks; keep the choice if the role of the network is the same."""
        chosen = self.network.currentData() if self.network.property("kind") == kind else None
        self.network.clear()
        for title, name in networks:
            self.network.addItem(title, name)
        self.network.setCurrentIndex(max(0, self.network.findData(chosen)))
        self.network.setProperty("kind", kind)

    def _copy(self) -> None:
        try:
            copy_text(presenter.command(self.choices(), self._entered()))
        except UserError as error:
            self.fail(error)

    def use_teacher(self, folder: Path) -> None:
        """Choose a teacher that was just trained."""
        if self.teacher.choose(folder):
            self.status.show_message(presenter.SET_AS_TEACHER)


def _estimate(kind: RunKind, config: TrainingConfig, cancelled: Callable[[], bool]) -> "Estimate":
    from napari_graphflow.jobs.estimate import estimate

    return estimate(kind, config, cancelled=cancelled)


def _submit(kind: RunKind, config: TrainingConfig, where: RunnerName, workers: int) -> Job:
    from napari_graphflow.jobs.store import create

    engine = runner(where, workers)  # fails before a job exists that could not run
    job = create(kind, config)
    engine.submit(job)
    return job
