"""*Distil*: from a dataset and a teacher to a small student, as a job that outlives the window."""

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from napari.components import ViewerModel
from pydantic import ValidationError
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFrame,
    QLabel,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QWidget,
)

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.networks import PARAMETERS, network_title, students, teachers
from napari_graphflow.config.run import PRESETS, DistillationConfig, Effort, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import Estimate, estimate
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import create
from napari_graphflow.plugin.distil.dataset_picker import DatasetPicker
from napari_graphflow.plugin.jobs.view import JobsView
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.command_line import job_command
from napari_graphflow.plugin.widgets.config_form import ConfigForm
from napari_graphflow.plugin.widgets.layout import Rows, folded, hint, row, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import (
    NOT_A_DEVICE,
    Panel,
    PrimaryButton,
    copy_text,
    enabled,
)
from napari_graphflow.plugin.widgets.words import count_text
from napari_graphflow.runners import RunnerName, runner
from napari_graphflow.system.devices import Device, devices

RUNNERS = {
    "local": "this computer",
    "ray": "Ray cluster",
    "ray-packed": "Ray, data sent along",
    "slurm": "Slurm cluster",
}


TRAIN_FIRST = "train a teacher first"


#: Fields that the window asks for by itself.
ASKED = {"dataset", "teacher", "network", "method", "dims"}


class DistilWidget(Panel):
    """Gathers what a distillation needs, starts it and watches it.

    Without a teacher it trains one on the labelled cases, which is the first step anyway.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.dataset = DatasetPicker(self)
        self.teacher = ModelPicker(self, optional=TRAIN_FIRST, empty=TRAIN_FIRST, prefer="teacher")
        self.network = QComboBox()
        shrinkable(self.network)
        self.network_label = QLabel()
        self.method = QComboBox()
        self.method_label = QLabel("Method")
        self.method_text = hint()
        self.effort = QButtonGroup(self)
        self.effort_text = hint(wrap=False)
        self.forms: dict[str, ConfigForm[Any]] = {
            "distill": ConfigForm(_start(DistillationConfig), _shown_fields(DistillationConfig)),
            "train": ConfigForm(_start(TrainingConfig), _shown_fields(TrainingConfig)),
        }
        self.method_forms = {name: _method_form(name) for name in METHODS}
        self.command = QPushButton("Copy")
        self.command.setToolTip("Copy the command line that starts the same job in a terminal.")
        self.runner = QComboBox()
        self.runner.setToolTip(
            "Clusters must see the folders of the data and of the jobs, unless these are sent."
        )
        for name, title in RUNNERS.items():
            self.runner.addItem(title, name)
        shrinkable(self.runner)
        self.workers = QSpinBox()
        self.workers.setRange(1, 64)
        self.workers.setPrefix("workers: ")
        self.workers.setToolTip("Processes of the Ray cluster that share each batch.")
        self.workers.hide()
        self.measure = QPushButton("Estimate time and memory")
        self.measure.setToolTip("Runs a few steps; finds the largest setting that fits.")
        self.estimate = hint()
        self.button = PrimaryButton("Start distillation", self)
        self.jobs = JobsView(self, self._use_model)
        self._starting = False

        for name, known in METHODS.items():
            self.method.addItem(known.title, name)
        efforts = []
        for effort, words in EFFORTS.items():
            choice = QRadioButton(words.title)
            choice.setToolTip(f"{PRESETS[effort]['steps']:,} steps: {words.text}")
            choice.setProperty("effort", effort)
            self.effort.addButton(choice)
            efforts.append(choice)
        efforts[0].setChecked(True)

        rows = Rows()
        rows.add("Dataset", self.dataset)
        rows.add("", self.dataset.counts)
        rows.add("Teacher", self.teacher)
        rows.add("", self.teacher.about)
        rows.add(self.network_label, self.network)
        rows.add(self.method_label, self.method)
        rows.add("", self.method_text)
        rows.add("Effort", row(*efforts, stretch=-1))
        rows.add("", self.effort_text)
        self.column.addLayout(rows)
        self.column.addWidget(self.dataset.details)
        where = row(QLabel("Run on"), self.runner, stretch=1)
        self.advanced = folded(
            "Advanced", where, self.workers, *self.forms.values(), *self.method_forms.values()
        )
        self.column.addWidget(self.advanced)
        self.column.addWidget(folded("Copy as command", self.command))
        self.column.addLayout(row(self.measure, stretch=-1))
        self.column.addWidget(self.estimate)
        self.estimate.hide()
        self.column.addWidget(self.button)
        self.column.addWidget(self.status)
        self.column.addWidget(_rule())
        self.column.addWidget(self.jobs)
        self.column.addStretch(1)
        self.column.addWidget(hint(NOT_A_DEVICE))

        self.dataset.dataset_changed.connect(self._update)
        self.teacher.model_changed.connect(self._teacher_changed)
        self.method.currentIndexChanged.connect(self._update)
        self.effort.buttonClicked.connect(self._effort_changed)
        self.runner.currentIndexChanged.connect(self._runner_changed)
        self.command.clicked.connect(self._copy)
        self.measure.clicked.connect(self._measure)
        self.button.clicked.connect(self.start)
        self._effort_changed()
        self._teacher_changed()
        self._background = Background(self)
        self._closing = threading.Event()
        self._background.run(devices, self._offer_devices, lambda _: None)

    @property
    def kind(self) -> str:
        """``train`` while there is no teacher, otherwise ``distill``."""
        return "train" if self.teacher.folder() is None else "distill"

    def released(self) -> None:
        """Stop watching; the jobs go on."""
        super().released()
        self.jobs.stop()
        self.dataset.stop()
        self._closing.set()  # or leaving napari would wait for a measurement
        self._background.stop()

    def config(self) -> TrainingConfig:
        """What the window asks for now.

        Raises
        ------
        UserError
            If something is missing, or an entry is not allowed.
        """
        folder, card = self.dataset.folder(), self.teacher.card()
        if folder is None:
            raise UserError("There is no dataset yet.", "Choose the folder of a dataset.")
        asked = self.forms[self.kind].config()
        network = str(self.network.currentData())
        changes: dict[str, Any] = {"dataset": folder, "network": network}
        if card is None:
            changes["dims"] = self.dataset.dims()
            name = f"{network_title(network)} on {self.dataset.name()}"
        else:
            changes |= {
                "dims": card.dims,
                "teacher": self.teacher.folder(),
                "method": self.method_forms[self.method.currentData()].config(),
            }
            name = f"{network_title(network)} from {card.name}"
        changes["name"] = asked.name or name
        try:
            return type(asked).model_validate(dict(asked) | changes)
        except ValidationError as error:
            raise UserError(f"{first_problem(error)}.", "Change it under Advanced.") from None

    def start(self) -> None:
        """Start the job and show it in the list."""
        try:
            config = self.config()
            kind: Kind = "train" if self.kind == "train" else "distill"
            where, workers = self.runner.currentData(), self._workers()
        except UserError as error:
            self.fail(error)
            return
        self._starting = True  # a second click would start a second job
        self._update()
        self.status.say("Handing the job over …")
        # Drivers, the queue and clusters may take seconds to answer.
        begin = self.jobs.start if where == "local" else self._background.run
        begin(lambda: _submit(kind, config, where, workers), self._started, self._not_started)

    def _started(self, job: Job) -> None:
        self._starting = False
        self._update()
        self.status.done("Started. It goes on when napari is closed and is found again here.")
        self.jobs.choose(job)

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
        kind: Kind = "train" if self.kind == "train" else "distill"
        enabled(False, [self.measure])
        self.estimate.setText("Measuring a few steps …")
        self.estimate.show()
        closing = self._closing.is_set
        self._background.run(
            lambda: estimate(kind, config, cancelled=closing), self._measured, self._not_measured
        )

    def _measured(self, found: Estimate) -> None:
        enabled(True, [self.measure])
        self.estimate.setText(str(found))
        if not found.fits:
            smaller = asdict(found.setting)
            self.forms[self.kind].put_fields(**smaller)

    def _not_measured(self, error: Exception) -> None:
        enabled(True, [self.measure])
        self.estimate.hide()
        self.fail(error)

    def _offer_devices(self, found: list[Device]) -> None:
        choices = {f"auto: {found[0]}": "auto"} | {str(device): device.name for device in found}
        for form in self.forms.values():
            form.offer("device", choices)

    def _teacher_changed(self) -> None:
        training = self.kind == "train"
        self.network_label.setText("Network" if training else "Student")
        self.network_label.setToolTip(
            "The large network that is trained on the labelled cases."
            if training
            else "The small network that learns from the teacher."
        )
        card = self.teacher.card()
        dims = self.dataset.dims() if card is None else card.dims
        chosen = self.network.currentData()
        self.network.clear()
        for name in teachers() if training else students():
            size = PARAMETERS.get(name, {}).get(dims)
            self.network.addItem(
                f"{network_title(name)}   {count_text(size) if size else ''}".rstrip(), name
            )
        index = self.network.findData(chosen)
        if index >= 0 and self.network.property("kind") == self.kind:
            self.network.setCurrentIndex(index)
        self.network.setProperty("kind", self.kind)
        for widget in (self.method, self.method_label, self.method_text):
            widget.setVisible(not training)
        for kind, one in self.forms.items():
            one.setVisible(kind == self.kind)
        self.button.setText("Start training the teacher" if training else "Start distillation")
        self._update()

    def _workers(self) -> int:
        """How many processes of a cluster share each batch; of this computer, one."""
        return self.workers.value() if self.runner.currentData().startswith("ray") else 1

    def _runner_changed(self) -> None:
        self.workers.setVisible(self.runner.currentData().startswith("ray"))

    def _effort_changed(self) -> None:
        effort: Effort = self.effort.checkedButton().property("effort")
        preset = PRESETS[effort]
        for one in self.forms.values():
            one.put_fields(**preset)
        self.effort_text.setText(f"{preset['steps']:,} steps: {EFFORTS[effort].text}")

    def _update(self) -> None:
        self.jobs.show_dataset(self.dataset.folder())
        method = str(self.method.currentData())
        self.method_text.setText(METHODS[method].text)
        self.method_text.setToolTip(METHODS[method].tip)
        self.method.setToolTip(METHODS[method].tip)
        for name, form in self.method_forms.items():
            form.setVisible(self.kind == "distill" and name == method)
        ready = self.dataset.ready()
        self.button.setEnabled(ready and not self._starting)
        if self.dataset.folder() is None:
            self.status.say(
                "Choose a dataset first. The list holds a sample; “napari-graphflow datasets "
                "import” makes one of your own images and masks."
            )
        elif not ready:
            self.status.say(self.dataset.obstacle())
        else:
            self.status.say("")

    def _copy(self) -> None:
        try:
            where = self.runner.currentData()
            copy_text(job_command(self.config(), where, self._workers()))
        except UserError as error:
            self.fail(error)

    def _use_model(self, folder: Path) -> None:
        chosen = self.teacher.card() if self.teacher.choose(folder) else None
        if chosen is not None and chosen.role == "teacher":
            self.status.done("Chosen as the teacher. Now start the distillation.")
            return
        self.teacher.refresh()
        dock, segment = self.viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
        dock.show()
        dock.raise_()
        segment.model.choose(folder)


def _submit(kind: Kind, config: TrainingConfig, where: RunnerName, workers: int) -> Job:
    engine = runner(where, workers)  # before there is a job that could not run
    job = create(kind, config)
    engine.submit(job)
    return job


def _start(kind: type[Any]) -> Any:
    # The paths are asked for by the window; the form needs a whole configuration to begin with.
    teacher = {"teacher": Path()} if kind is DistillationConfig else {}
    return kind(dataset=Path(), **teacher)


def _shown_fields(kind: type[Any]) -> list[str]:
    # A student takes over the preprocessing of its teacher.
    given = ASKED | ({"preprocessing"} if kind is DistillationConfig else set())
    return [name for name in kind.model_fields if name not in given]


def _method_form(name: str) -> ConfigForm[Any]:
    options = METHODS[name].options()
    fields = [field for field in type(options).model_fields if field != "name"]
    return ConfigForm(options, fields, f"Options of {METHODS[name].title}.")


def _rule() -> QWidget:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setStyleSheet("color: #555555;")
    return line


class Words(NamedTuple):
    """A name for the window, and a line below it."""

    title: str
    text: str


EFFORTS: dict[Effort, Words] = {
    "quick": Words("quick", "to see whether it works"),
    "overnight": Words("overnight", "a student worth using"),
    "best": Words("best", "until nothing is gained"),
}
