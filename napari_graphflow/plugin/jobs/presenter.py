"""Presenter of the job list: rows, buttons and messages; without Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import State, Status
from napari_graphflow.plugin.widgets.words import Message, progress_text
from napari_graphflow.system.failures import Failure
from napari_graphflow.system.words import duration

NO_JOBS = "No jobs yet. Jobs continue after napari is closed and stay listed here."
NONE_HERE = "No jobs for this dataset yet."
#: Ends that are announced; the user paused or cancelled the other jobs.
ENDINGS = {"done": "is done", "failed": "failed", "lost": "stopped unexpectedly"}
MOST_NAMED = 4


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    texts
        Texts of the columns Job, State, Left, On and Dice.
    tips
        The tooltips of these columns.
    state
        Determines the colour.
    share
        Completed fraction of the current phase, from 0 to 1; None if unknown.
    """

    texts: tuple[str, str, str, str, str]
    tips: tuple[str, str, str, str, str]
    state: State
    share: float | None


@dataclass(frozen=True)
class Buttons:
    """Which buttons of a job are enabled, and which are shown.

    Attributes
    ----------
    resume
        Whether the first button reads *Resume* instead of *Pause*.
    pause, cancel, move, log
        Whether these are enabled.
    shows_checkpoint, shows_move, shows_use, shows_remove
        Whether these are shown.
    """

    resume: bool = False
    pause: bool = False
    cancel: bool = False
    move: bool = False
    log: bool = False
    shows_checkpoint: bool = False
    shows_move: bool = False
    shows_use: bool = False
    shows_remove: bool = False


@dataclass(frozen=True)
class Progress:
    """The progress bar: `text` while the number of steps is unknown, otherwise the steps."""

    text: str = ""
    step: int = 0
    total: int = 0
    eta_s: float | None = None


@dataclass(frozen=True)
class Details:
    """What is shown of the selected job; no progress bar if `progress` is None."""

    message: Message
    buttons: Buttons
    progress: Progress | None


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


def table_row(job: Job, status: Status) -> Row:
    """Return the row of a job."""
    running = status.state == "running"
    known = running and bool(status.run.total)
    state = progress_text(status.run.step, status.run.total, None) if known else status.state
    left = ""
    if running and status.run.eta_s is not None:
        left = duration(status.run.eta_s, narrow=True)
    where = status.process.device or status.process.runner
    best = "" if status.run.best is None else f"{status.run.best:.3f}"
    about = f"{job.title}\n{job.created.astimezone():%d %b %Y %H:%M}\n{job.folder}"
    activity = _joined(status.run.phase, status.notice, status.failure) or state
    return Row(
        texts=(job.title, state, left, where, best),
        tips=(about, activity, left, where, best),
        state=status.state,
        share=status.run.step / status.run.total if known else None,
    )


def details(
    job: Job, statuses: Mapping[Job, Status], *, pending: str = "", log: bool = True
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
    """
    status = statuses[job]
    buttons = Buttons(
        resume=status.resumable and not status.active,
        pause=not pending and (status.state == "running" or status.resumable),
        cancel=not pending and status.active,
        move=not pending,
        log=log,
        shows_checkpoint=status.state == "running",
        shows_move=status.waiting,
        shows_use=bool(status.run.model),
        shows_remove=not pending and not status.active and status.state != "created",
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
    parts = [f"{job.title} {ENDINGS[statuses[job].state]}" for job in ended[:MOST_NAMED]]
    if len(ended) > MOST_NAMED:
        parts.append(f"{len(ended) - MOST_NAMED} more have ended")
    *others, last = parts
    text = f"{', '.join(others)} and {last}." if others else f"{last}."
    succeeded = all(statuses[job].state == "done" for job in ended)
    return Message(text, "done" if succeeded else "warn")


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
        return Progress(step=status.run.step, total=status.run.total, eta_s=status.run.eta_s)
    return Progress(text=status.run.phase or "starting")


def _message(job: Job, statuses: Mapping[Job, Status]) -> Message:
    status = statuses[job]
    best = "" if status.run.best is None else f"Best Dice {status.run.best:.3f}."
    best = _joined(best, str(status.run.teacher or ""))
    if status.state in ("failed", "lost"):
        return Message(_joined(status.failure), "fail")
    if status.state == "done":
        return Message(_joined("Done.", best), "done")
    if status.waiting:
        return Message(f"Queued {_awaited(job)} ({_position(job, statuses)}).")
    if status.active:
        phase = status.run.phase or "starting"
        where = f"On {status.process.device}." if status.process.device else ""
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


def removal_question(title: str, model: bool) -> str:
    """Return the question before a job is removed."""
    held = "its model, log and checkpoints" if model else "its log and checkpoints"
    return f"Remove the job “{title}”? Its folder with {held} is deleted."
