"""What *Distil* shows, allows and starts for what the user has chosen, without a window."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import PARAMETERS, network_title, students, teachers
from napari_graphflow.config.run import PRESETS, Effort, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import Estimate
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.plugin.distil.dataset_check import CheckedDataset
from napari_graphflow.plugin.widgets.command_line import job_command
from napari_graphflow.plugin.widgets.words import Message, count_text
from napari_graphflow.runners import RunnerName

RUNNERS: dict[RunnerName, str] = {
    "local": "this computer",
    "ray": "Ray cluster",
    "ray-packed": "Ray, data sent along",
    "slurm": "Slurm cluster",
}


CHOOSE_DATASET = Message(
    "Choose a dataset first. The list holds a sample; “napari-graphflow datasets "
    "import” makes one of your own images and masks."
)


STARTING = Message("Handing the job over …")


STARTED = Message(
    "Started. It goes on when napari is closed and is found again here.", level="done"
)


MEASURING = "Measuring a few steps …"


@dataclass(frozen=True)
class Choices:
    """What the user has chosen so far.

    Attributes
    ----------
    folder, dataset
        Folder of the dataset, and the dataset itself once it is opened.
    teacher, card
        Folder and card of the teacher; None while one is to be trained first.
    network, method
        Names of the network to train and of the method.
    runner, workers
        Where the job runs, and the number of processes asked for in case of a cluster.
    starting, measuring
        Whether a job is being started or measured.
    """

    folder: Path | None = None
    dataset: CheckedDataset | None = None
    teacher: Path | None = None
    card: ModelCard | None = None
    network: str = ""
    method: str = next(iter(METHODS))
    runner: RunnerName = "local"
    workers: int = 1
    starting: bool = False
    measuring: bool = False

    @property
    def kind(self) -> Kind:
        """``train`` while there is no teacher, otherwise ``distill``."""
        return "train" if self.card is None else "distill"

    @property
    def dims(self) -> int:
        """Spatial dimensions of the network: those of the teacher, or else of the dataset."""
        if self.card is not None:
            return self.card.dims
        return self.dataset.dims if self.dataset is not None else 3

    @property
    def processes(self) -> int:
        """How many processes share each batch; on this computer, one."""
        return self.workers if self.shares_batches else 1

    @property
    def shares_batches(self) -> bool:
        """Whether the runner shares each batch among several processes."""
        return self.runner.startswith("ray")


@dataclass(frozen=True)
class Shown:
    """What the window shows.

    Attributes
    ----------
    network_label, network_tip
        Words before the list of networks.
    networks
        Title and name of each network that can be chosen.
    shows_method, shows_workers
        Whether these are shown.
    method_text, method_tip
        Words about the method.
    start_text
        What the button reads that starts the job.
    start, measure
        Whether these buttons are on.
    message
        The sentence in the status line.
    """

    network_label: str
    network_tip: str
    networks: tuple[tuple[str, str], ...]
    shows_method: bool
    shows_workers: bool
    method_text: str
    method_tip: str
    start_text: str
    start: bool
    measure: bool
    message: Message


def present(choices: Choices) -> Shown:
    """Decide what the window shows."""
    training = choices.kind == "train"
    method = METHODS[choices.method]
    names = teachers() if training else students()
    return Shown(
        network_label="Network" if training else "Student",
        network_tip=(
            "The large network that is trained on the labelled cases."
            if training
            else "The small network that learns from the teacher."
        ),
        networks=tuple((_sized(name, choices.dims), name) for name in names),
        shows_method=not training,
        shows_workers=choices.shares_batches,
        method_text=method.text,
        method_tip=method.tip,
        start_text="Start training the teacher" if training else "Start distillation",
        start=_ready(choices) and not choices.starting,
        measure=not choices.measuring,
        message=_message(choices),
    )


def config(choices: Choices, entered: TrainingConfig) -> TrainingConfig:
    """What the window asks for.

    Parameters
    ----------
    choices
        The choices above the form.
    entered
        The forms under *Advanced*, with the options of the method; a name entered there is kept.

    Raises
    ------
    UserError
        If there is no dataset, or an entry is not allowed.
    """
    if choices.folder is None:
        raise UserError("There is no dataset yet.", "Choose the folder of a dataset.")
    network, card = choices.network, choices.card
    changes: dict[str, Any] = {
        "dataset": choices.folder,
        "network": network,
        "dims": choices.dims,
    }
    if card is None:
        dataset = choices.dataset.dataset.name if choices.dataset else ""
        name = f"{network_title(network)} on {dataset}"
    else:
        changes["teacher"] = choices.teacher
        name = f"{network_title(network)} from {card.name}"
    changes["name"] = entered.name or name
    try:
        return type(entered).model_validate(dict(entered) | changes)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.", "Change it under Advanced.") from None


def command(choices: Choices, entered: TrainingConfig) -> str:
    """The command line that starts the same job.

    Raises
    ------
    UserError
        As `config` does.
    """
    return job_command(config(choices, entered), choices.runner, choices.processes)


class EffortWords(NamedTuple):
    """An effort in the window: its title, a line below it, and what it puts into the form."""

    title: str
    text: str
    entries: dict[str, int]


def efforts() -> dict[Effort, EffortWords]:
    """The efforts that are offered."""
    aims: dict[Effort, str] = {
        "quick": "to see whether it works",
        "overnight": "a student worth using",
        "best": "until nothing is gained",
    }
    return {
        effort: EffortWords(effort, f"{PRESETS[effort]['steps']:,} steps: {aim}", PRESETS[effort])
        for effort, aim in aims.items()
    }


def estimated(found: Estimate) -> tuple[str, dict[str, Any]]:
    """The sentence about an estimate, and what to put into the form so that the run fits."""
    return str(found), {} if found.fits else asdict(found.setting)


def chosen_as_teacher(card: ModelCard | None) -> Message | None:
    """What to say of a finished model that is to be used; None if it is used to segment."""
    if card is None or card.role != "teacher":
        return None
    return Message("Chosen as the teacher. Now start the distillation.", "done")


def _ready(choices: Choices) -> bool:
    return choices.dataset is not None and choices.dataset.ready


def _message(choices: Choices) -> Message:
    if choices.folder is None:
        return CHOOSE_DATASET
    return Message(choices.dataset.obstacle if choices.dataset is not None else "")


def _sized(name: str, dims: int) -> str:
    size = PARAMETERS.get(name, {}).get(dims)
    return f"{network_title(name)}   {count_text(size)}" if size else network_title(name)
