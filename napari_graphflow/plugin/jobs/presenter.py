"""Presenter of the job list: rows, buttons and messages; without Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.config.methods import METHODS
from napari_graphflow.dataset.findings import counted
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import State, Status
from napari_graphflow.plugin.widgets.words import Message, Progress, in_words, progress_text
from napari_graphflow.system.failures import Failure
from napari_graphflow.system.words import duration

NO_JOBS = "No jobs yet. Jobs continue after napari is closed and stay listed here."
NONE_HERE = "No jobs for this dataset yet."
#: Ends that are announced; the user paused or cancelled the other jobs.
ENDINGS = {"done": "is done", "failed": "failed", "lost": "stopped unexpectedly"}
MOST_NAMED = 4
PAUSING = "Pausing: saving a checkpoint …"
STATES: dict[State, str] = {
    "created": "not started",
    "queued": "waiting",
    "running": "running",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "lost": "stopped unexpectedly",
}
KINDS: dict[Kind, str] = {
    "train": "Training",
    "distill": "Distillation",
    "propose": "Proposed masks",
    "round": "Round",
    "compare": "Comparison",
}
#: Terms of the loss in words.
LOSSES = {
    "total": "total loss",
    "supervised": "reference masks",
    "logits": "teacher's probabilities",
    "vertices": "features (vertices)",
    "edges": "changes between layers (edges)",
    "adversarial": "adversarial",
    "prediction_maps": "teacher's probabilities",
    "importance_maps": "where the teacher looks",
    "region_affinity": "likeness of regions",
    "attention": "where the networks look",
    "dist": "relations between classes",
    "channels": "brightest places of each class",
    "tap": "features",
    "intra": "likeness of classes in one image",
    "inter": "likeness of classes between images",
    "cross": "masks coded by the other network",
    "augmented": "altered images",
    "pseudo_labels": "teacher's masks",
}
#: Settings that two runs share if their students may be compared.
SCHEDULE = (
    "dataset", "network", "dims", "width", "steps", "batch_size", "patch_size", "learning_rate",
    "seed",
)  # fmt: skip
IS_DEFAULT = (
    "Its model is the default of the dataset; the model of an earlier round takes its place."
)


@dataclass(frozen=True)
class Row:
    """One row of the list, two lines high.

    Attributes
    ----------
    title, dice
        The upper line: name, and best mean Dice on the validation cases.
    about, left
        The lower line: method and state, and the time left.
    tip
        The tooltip.
    state
        Determines the colour.
    share
        Completed fraction of the current phase, from 0 to 1; None if unknown.
    """

    title: str
    dice: str
    about: str
    left: str
    tip: str
    state: State
    share: float | None

    @property
    def text(self) -> str:
        """All of it, for screen readers and the search by typing."""
        return ", ".join(part for part in (self.title, self.about, self.left, self.dice) if part)


@dataclass(frozen=True)
class Buttons:
    """Which buttons of a job are enabled, and which are shown.

    Attributes
    ----------
    resume
        Whether the first button reads *Resume* instead of *Pause*.
    pause, cancel, move, log
        Whether these are enabled.
    shows_checkpoint, shows_move, shows_use
        Whether these are shown.
    remove
        Whether the job can be removed.
    """

    resume: bool = False
    pause: bool = False
    cancel: bool = False
    move: bool = False
    log: bool = False
    shows_checkpoint: bool = False
    shows_move: bool = False
    shows_use: bool = False
    remove: bool = False


@dataclass(frozen=True)
class Details:
    """What is shown of the selected job; no progress bar if `progress` is None."""

    message: Message
    buttons: Buttons
    progress: Progress | None


@dataclass(frozen=True)
class Level:
    """A horizontal line over the curves of a job, such as the Dice of its teacher."""

    text: str
    dice: float


@dataclass(frozen=True)
class Listing:
    """The listed jobs, and the text above them: that there are none, or which cannot be read."""

    jobs: list[Job]
    note: str


def listing(jobs: Sequence[Job], dataset: Path | None, unreadable: Sequence[Path] = ()) -> Listing:
    """List the jobs of a dataset, or all of them.

    All are listed by default: jobs of all datasets share the devices and may wait for each other.
    """
    listed = [job for job in jobs if dataset is None or dataset_of(job) == dataset]
    empty = "" if listed else NONE_HERE if jobs else NO_JOBS
    return Listing(listed, _joined(empty, _unreadable(unreadable)))


def _unreadable(folders: Sequence[Path]) -> str:
    if not folders:
        return ""
    names = ", ".join(folder.name for folder in folders[:MOST_NAMED])
    more = ", ..." if len(folders) > MOST_NAMED else ""
    return f"Jobs that cannot be read: {names}{more}."


def datasets_of(jobs: Sequence[Job]) -> list[Path]:
    """Return the datasets of some jobs, by name."""
    found = {folder for job in jobs if (folder := dataset_of(job)) is not None}
    return sorted(found, key=lambda folder: (folder.name.lower(), folder))


def table_row(job: Job, status: Status) -> Row:
    """Return the row of a job."""
    running = status.state == "running"
    known = running and bool(status.run.total)
    state = STATES[status.state]
    if known:
        state = progress_text(status.run.step, status.run.total, None)
    left = ""
    if running and status.run.eta_s is not None:
        left = f"{duration(status.run.eta_s, narrow=True)} left"
    where = status.process.device or status.process.runner
    best = "" if status.run.best is None else f"Dice {status.run.best:.3f}"
    activity = _joined(status.run.phase if running else "", status.notice, status.failure)
    created = f"{job.created.astimezone():%d %b %Y %H:%M}"
    on = where and f"On {where}"
    return Row(
        title=job.title,
        dice=best,
        about=f"{kind_text(job)} · {state}",
        left=left,
        tip="\n".join(part for part in (job.title, created, on, activity, str(job.folder)) if part),
        state=status.state,
        share=status.run.step / status.run.total if known else None,
    )


def kind_text(job: Job) -> str:
    """Return what a job does: the title of its method, or the kind of work."""
    if job.kind == "distill":
        try:
            return METHODS[job.spec["config"]["method"]["name"]].title
        except (KeyError, TypeError):
            return "distillation"
    return KINDS[job.kind]


def levels(job: Job, statuses: Mapping[Job, Status]) -> tuple[Level, ...]:
    """Return the Dice of the teacher, and of the same student trained alone, where known.

    A student counts as the same if its network, dataset and training schedule are the same.
    """
    found = []
    scored = statuses[job].run.teacher
    if scored is not None and scored.mean is not None:
        found.append(Level("teacher", scored.mean))
    if job.kind == "distill":
        for other, status in statuses.items():
            alone = other.kind == "train" and status.state == "done"
            if alone and status.run.best is not None and _schedule(other) == _schedule(job):
                found.append(Level("same student without distillation", status.run.best))
                break
    return tuple(found)


def curve_title(metric: str) -> str:
    """Return a metric in words, as in the legend of its curve."""
    kind, _, name = metric.partition("/")
    if kind == "dice":
        return name.replace("_", " ") if name else "mean Dice"
    return LOSSES.get(name, name.replace("_", " "))


def _schedule(job: Job) -> object:
    config = job.spec.get("config")
    if not isinstance(config, dict):
        return job  # equal to no other
    return {name: config.get(name) for name in SCHEDULE}


def details(
    job: Job,
    statuses: Mapping[Job, Status],
    *,
    pending: str = "",
    log: bool = True,
    kept: bool = True,
) -> Details:
    """Return what is shown of a job.

    Parameters
    ----------
    job, statuses
        The job, and the states of all jobs including this one.
    pending
        The pending request, such as ``Cancelling …``.
    log
        Whether the job has a log.
    kept
        Whether the job has a checkpoint.
    """
    status = statuses[job]
    # What was refused before the first step, such as a poor teacher, would be refused again.
    refused = not kept and status.failure is not None and status.failure.code == "user"
    resumable = status.resumable and not refused
    buttons = Buttons(
        resume=resumable and not status.active,
        pause=not pending and (status.state == "running" or resumable),
        cancel=status.active and pending in ("", PAUSING),
        move=not pending,
        log=log,
        shows_checkpoint=status.state == "running",
        shows_move=status.waiting,
        shows_use=bool(status.run.model),
        remove=not pending and not status.active and status.state != "created",
    )
    message = Message(pending) if pending else _message(job, statuses)
    return Details(message, buttons, _progress(status))


def notification(ended: Sequence[Job], statuses: Mapping[Job, Status]) -> Message | None:
    """Return one notification about all ended jobs; None if there are none."""
    if not ended:
        return None
    first = statuses[ended[0]]
    if len(ended) == 1 and first.state != "done":
        return Message(_joined(f"{ended[0].title}:", first.failure), "fail")
    parts = [_ending(job, statuses[job]) for job in ended[:MOST_NAMED]]
    if len(ended) > MOST_NAMED:
        parts.append(f"{len(ended) - MOST_NAMED} more have ended")
    *others, last = parts
    text = f"{', '.join(others)} and {last}." if others else f"{last}."
    succeeded = all(
        statuses[job].state == "done" and not statuses[job].run.failed_cases for job in ended
    )
    return Message(text, "done" if succeeded else "warn")


def _ending(job: Job, status: Status) -> str:
    but = f", but {_failed(status)}" if status.run.failed_cases else ""
    return f"{job.title} {ENDINGS[status.state]}{but}"


def _failed(status: Status) -> str:
    return f"{counted(status.run.failed_cases, 'case')} failed"


def dataset_of(job: Job) -> Path | None:
    """Return the dataset of a job; None if another version wrote a different specification."""
    try:
        return Path(job.spec["config"]["dataset"])
    except (KeyError, TypeError):
        return None


def _progress(status: Status) -> Progress | None:
    if not status.active or status.waiting:
        return None
    if status.run.total:
        run = status.run
        return Progress(run.phase, run.step, run.total, run.eta_s)
    return Progress(text=status.run.phase or "starting")


def _message(job: Job, statuses: Mapping[Job, Status]) -> Message:
    status = statuses[job]
    best = "" if status.run.best is None else f"Best Dice {status.run.best:.3f}."
    best = _joined(best, in_words(str(status.run.teacher or "")))
    if status.state in ("failed", "lost"):
        return Message(_joined(status.failure), "fail")
    if status.state == "done" and status.run.failed_cases:
        return Message(f"Done, but {_failed(status)}. See the log.", "warn")
    if status.state == "done":
        return Message(_joined("Done.", best), "done")
    if status.waiting:
        return Message(f"Queued {_awaited(job)} ({_position(job, statuses)}).")
    if status.active:
        phase = status.run.phase or "starting"
        device = {"cpu": "the CPU"}.get(status.process.device, status.process.device)
        where = f"On {device}." if device else ""
        return Message(_joined(f"{phase[:1].upper()}{phase[1:]}.", where, best, status.notice))
    if status.state == "cancelled" and status.failure:  # a cluster has not confirmed it
        return Message(_joined(status.failure), "warn")
    return Message(_joined(f"{status.state.capitalize()}.", best))


def _awaited(job: Job) -> str:
    """Return the device that a queued job waits for, as the end of a sentence."""
    try:
        device = str(job.spec["config"]["device"])
    except (KeyError, TypeError):
        device = "auto"
    if device == "auto":
        return "until a device is free"
    return {"cpu": "for the CPU", "cuda": "for a GPU"}.get(device, f"for {device}")


def _position(job: Job, statuses: Mapping[Job, Status]) -> str:
    """Return the position of a job in the queue, such as ``2 of 3``."""
    ranks = sorted(status.process.rank for status in statuses.values() if status.waiting)
    return f"{ranks.index(statuses[job].process.rank) + 1} of {len(ranks)}"


def _joined(*parts: str | Failure | None) -> str:
    return " ".join(str(part) for part in parts if part)


def removal_question(title: str, model: bool, default: bool = False) -> str:
    """Return the question before a job is removed; `default` if its model is that of a dataset."""
    held = "its model, log and checkpoints" if model else "its log and checkpoints"
    text = f"Remove the job “{title}”? Its folder with {held} is deleted."
    return f"{text} {IS_DEFAULT}" if default else text
