"""Presenter of *Distil*: what is shown, enabled and started for the user's choices; without Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from napari_graphflow.config.methods import METHODS, GraphFlowOptions, LogitsOptions, MethodName
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import (
    PARAMETERS,
    network_title,
    students,
    teachers,
    usual_role,
)
from napari_graphflow.config.recommended import (
    REACHED,
    RECOMMENDED,
    Task,
    recommended_for,
    warmup_for,
)
from napari_graphflow.config.run import PRESETS, DistillationConfig, Effort, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.dataset.compatibility import (
    reason_not_to_fit_dataset,
    reason_not_to_pair,
    tap_pairs_of,
)
from napari_graphflow.dataset.findings import counted, listed
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.plugin.distil.dataset_check import CheckedDataset
from napari_graphflow.plugin.widgets.command_line import job_command
from napari_graphflow.plugin.widgets.words import Message, count_text
from napari_graphflow.runners import RunnerName

if TYPE_CHECKING:
    from napari_graphflow.jobs.estimate import Estimate

RUNNERS: dict[RunnerName, str] = {
    "local": "this computer",
    "ray": "Ray cluster",
    "ray-packed": "Ray cluster (upload data)",
    "slurm": "Slurm cluster",
}

CHOOSE_DATASET = Message(
    "Choose a dataset. The list includes a sample; make one of your own images and masks in the "
    "dock Dataset, with “New …”."
)
STARTING = Message("Submitting the job …")
STARTED = Message(
    "Job started. It continues after napari is closed and stays listed under Jobs.", level="done"
)
SET_AS_TEACHER = Message("Set as teacher. Start the distillation when ready.", "done")
MEASURING = "Running a few training steps …"


@dataclass(frozen=True)
class Choices:
    """What the user has chosen so far.

    Attributes
    ----------
    folder, dataset
        Folder of the dataset, and the dataset itself once it is open.
    teacher, card
        Folder and card of the teacher; None while one is to be trained first.
    network, method, taps
        Names of the network to train, of the method, and of the feature maps of teacher and student
        that its options name.
    also_alone
        Whether the student is also trained without its teacher, for comparison.
    sources
        Sites to learn from; empty for all.
    runner, workers
        Where the job runs, and the number of worker processes requested from a cluster.
    starting, measuring
        Whether a job is being started, or its time and memory estimated.
    task
        What is segmented; None for the user's own choice of a method.
    effort
        Number of steps, by name.
    """

    folder: Path | None = None
    dataset: CheckedDataset | None = None
    teacher: Path | None = None
    card: ModelCard | None = None
    network: str = ""
    method: MethodName = "graph_flow"
    taps: tuple[str, str] = ("none", "none")
    also_alone: bool = False
    sources: tuple[str, ...] = ()
    runner: RunnerName = "local"
    workers: int = 1
    starting: bool = False
    measuring: bool = False
    task: Task | None = None
    effort: Effort = "quick"

    @property
    def kind(self) -> RunKind:
        """``train`` while there is no teacher, otherwise ``distill``."""
        return "train" if self.card is None else "distill"

    @property
    def misfit(self) -> str | None:
        """Why the teacher cannot be distilled with these choices, as a clause; None if it can."""
        if self.card is None or self.dataset is None:
            return None
        return reason_not_to_fit_dataset(self.card, self.dataset.dataset) or reason_not_to_pair(
            self.method, self.card, self.network, *self.taps
        )

    @property
    def dims(self) -> int:
        """Spatial dimensions of the network: those of the teacher, otherwise of the dataset."""
        if self.card is not None:
            return self.card.dims
        return self.dataset.dims if self.dataset is not None else 3

    @property
    def processes(self) -> int:
        """Number of processes that share each batch; 1 on this computer."""
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
        Label of the list of networks and its tooltip.
    networks
        Title and name of each available network.
    shows_method, shows_workers, shows_sites
        Whether these are shown.
    sites_title, sites_text
        The sites to learn from, and what becomes of the others.
    task_text, effort_text
        Why the method is recommended, empty without a recommendation, and the steps.
    method_text, method_tip
        Description of the method and its tooltip.
    start_text
        Text of the start button.
    start, measure
        Whether these buttons are enabled.
    message
        The status line.
    """

    network_label: str
    network_tip: str
    networks: tuple[tuple[str, str], ...]
    shows_method: bool
    shows_workers: bool
    shows_sites: bool
    sites_title: str
    sites_text: str
    task_text: str
    effort_text: str
    method_text: str
    method_tip: str
    start_text: str
    start: bool
    measure: bool
    message: Message


def present(choices: Choices) -> Shown:
    """Return what the window shows for the user's choices."""
    training = choices.kind == "train"
    method = METHODS[choices.method]
    names = teachers() if training else students()
    alone = training and usual_role(choices.network) == "student"
    sites = {} if choices.dataset is None else choices.dataset.sites
    return Shown(
        network_label="Network" if training else "Student",
        network_tip=(
            "Network to train on the labelled cases: a large one later becomes the teacher, a "
            "small one a student trained alone, for comparison."
            if training
            else "Small network that is trained to match the teacher."
        ),
        networks=tuple((_sized(name, choices.dims), name) for name in names),
        shows_method=not training,
        shows_workers=choices.shares_batches,
        shows_sites=len(sites) > 1,
        sites_title=_sites_title(sites, choices.sources),
        sites_text=_about_sites(choices),
        task_text=why_recommended(choices),
        effort_text=_about_effort(choices),
        method_text=method.text,
        method_tip=method.tip,
        start_text=(
            f"Start training the {'student alone' if alone else 'teacher'}"
            if training
            else "Start distillation"
        ),
        start=_ready(choices) and not choices.starting,
        measure=not choices.measuring,
        message=_message(choices),
    )


def config(choices: Choices, entered: TrainingConfig) -> TrainingConfig:
    """Return the configuration of the job.

    Parameters
    ----------
    choices
        The choices above the form.
    entered
        The values under *Advanced*, with the options of the method; a name entered there is kept.

    Raises
    ------
    UserError
        If no dataset is chosen, or a value is not allowed.
    """
    if choices.folder is None:
        raise UserError("No dataset is chosen.", "Choose a dataset folder.")
    network, card = choices.network, choices.card
    changes: dict[str, Any] = {
        "dataset": choices.folder,
        "network": network,
        "dims": choices.dims,
        "sources": choices.sources,
    }
    if card is None:
        dataset = choices.dataset.dataset.name if choices.dataset else ""
        name = f"{network_title(network)} on {dataset}"
    else:
        changes |= {"teacher": choices.teacher, "also_alone": choices.also_alone}
        name = f"{network_title(network)} from {card.name}"
    changes["name"] = entered.name or name
    if choices.task is not None and isinstance(entered, DistillationConfig) and not entered.warmup:
        changes["warmup"] = warmup_for(entered.steps)
    try:
        return type(entered).model_validate(dict(entered) | changes)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.", "Change it under Advanced.") from None


def command(choices: Choices, entered: TrainingConfig) -> str:
    """Return the command line that starts the same job.

    Raises
    ------
    UserError
        As `config` does.
    """
    return job_command(config(choices, entered), choices.runner, choices.processes)


def recommended(choices: Choices) -> GraphFlowOptions | LogitsOptions | None:
    """Return the options that the benchmarks support for what is segmented; None without a task."""
    if choices.task is None or choices.card is None:
        return None
    return recommended_for(choices.task, tap_pairs_of(choices.card, choices.network))


def why_recommended(choices: Choices) -> str:
    """Return the evidence for the method, or why it is another one for these networks."""
    found = recommended(choices)
    if choices.task is None or found is None or choices.method != found.name:
        return ""
    if found.name == recommended_for(choices.task).name:
        return RECOMMENDED[choices.task].text
    return "Graph Flow needs feature maps that one of these networks does not give."


class EffortChoice(NamedTuple):
    """An effort in the window: its title, a description, and the form values it sets."""

    title: str
    text: str
    entries: dict[str, int]


def efforts() -> dict[Effort, EffortChoice]:
    """Return the efforts that can be chosen."""
    return {
        effort: EffortChoice(effort, f"{effort.capitalize()}: {preset['steps']:,} steps", preset)
        for effort, preset in PRESETS.items()
    }


def _about_effort(choices: Choices) -> str:
    """Return the steps, and what they reached where it was measured."""
    steps = efforts()[choices.effort].text
    measured = choices.kind == "distill" and choices.task == "organs"
    reached = REACHED.get(choices.effort) if measured else None
    return f"{steps}. {reached}" if reached else steps


def estimated(found: "Estimate") -> tuple[str, dict[str, Any]]:
    """Describe an estimate; return also the form values with which the run fits into memory."""
    return str(found), {} if found.fits else asdict(found.setting)


def _sites_title(sites: Mapping[str, int], sources: Sequence[str]) -> str:
    if not sources:
        return "all sites"
    return listed(sources) if len(sources) < 3 else f"{len(sources)} of {len(sites)} sites"


def _about_sites(choices: Choices) -> str:
    """Say what is learnt from, and what becomes of the images of the other sites."""
    if choices.dataset is None or not choices.sources:
        return ""
    labelled, unlabelled = choices.dataset.cases_of(choices.sources)
    sites = choices.dataset.sites
    others = [site for site in sites if site not in choices.sources]
    images = counted(sum(sites[site] for site in others), "image")
    return (
        f"{labelled} labelled · {unlabelled} unlabelled there. {images} of {listed(others)}: "
        "never used for training, only scored."
    )


def _ready(choices: Choices) -> bool:
    dataset = choices.dataset
    return dataset is not None and dataset.ready and not _lacking(choices) and not choices.misfit


def _lacking(choices: Choices) -> str:
    """Say that the sites to learn from have no mask; empty if they have one."""
    if (
        choices.dataset is None
        or not choices.sources
        or choices.dataset.cases_of(choices.sources)[0]
    ):
        return ""
    return f"{listed(choices.sources)} has no labelled training case. Learn from another site, too."


def _message(choices: Choices) -> Message:
    if choices.folder is None:
        return CHOOSE_DATASET
    if choices.card is not None and choices.misfit:
        text = f"The teacher {choices.card.name} does not fit: {choices.misfit}."
        return Message(text, "warn")
    lacking = _lacking(choices)
    if choices.dataset is None or choices.dataset.obstacle or not lacking:
        return Message(choices.dataset.obstacle if choices.dataset is not None else "")
    return Message(lacking, "warn")


def _sized(name: str, dims: int) -> str:
    size = PARAMETERS.get(name, {}).get(dims)
    return f"{network_title(name)}   {count_text(size)}" if size else network_title(name)
