"""What the list of jobs shows and which buttons it offers, decided without a window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import State, Status
from napari_graphflow.plugin.widgets.words import Message, progress_text
from napari_graphflow.system.failures import Failure
from napari_graphflow.system.words import duration

NO_JOBS = "No jobs yet. A job goes on when napari is closed and is found here again."


NONE_HERE = "No jobs of this dataset yet."


#: How the end of a job is called; who paused or cancelled it knows.
ENDINGS = {"done": "is done", "failed": "failed", "lost": "ended too early"}


MOST_NAMED = 4


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    texts
        Of the columns Job, State, Left, On and Dice.
    tips
        The tooltip of each.
    state
        Decides the colour.
    share
        How much of the present phase is done, from 0 to 1; None where that is not known.
    """

    texts: tuple[str, str, str, str, str]
    tips: tuple[str, str, str, str, str]
    state: State
    share: float | None


@dataclass(frozen=True)
class Buttons:
    """Which buttons of a job are on, and which are shown at all.

    Attributes
    ----------
    resume
        Whether the first button reads *Resume* instead of *Pause*.
    pause, cancel, move, log
        Whether these are on.
    shows_checkpoint, shows_move, shows_use
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


@dataclass(frozen=True)
class Progress:
    """The bar: `text` while the number of steps is not known, otherwise the steps."""

    text: str = ""
    step: int = 0
    total: int = 0
    eta_s: float | None = None


@dataclass(frozen=True)
class Details:
    """What is shown of the chosen job; no bar where `progress` is None."""

    message: Message
    buttons: Buttons
    progress: Progress | None


@dataclass(frozen=True)
class Listing:
    """The jobs that are listed, and the sentence that stands there where there are none."""

    jobs: list[Job]
    empty: str


def listing(jobs: Sequence[Job], dataset: Path | None) -> Listing:
    """List the jobs of a dataset, or all of them.

    They share the devices, so that a job may wait for one of another dataset, and nobody should
    miss a job that was left running; therefore all are listed unless the user asks otherwise.
    """
    listed = [job for job in jobs if dataset is None or dataset_of(job) == dataset]
    return Listing(listed, NONE_HERE if jobs else NO_JOBS)


def table_row(job: Job, status: Status) -> Row:
    """Describe a job in one row."""
    running = status.state == "running"
    known = running and bool(status.run.total)
    state = progress_text(status.run.step, status.run.total, None) if known else status.state
    left = ""
    if running and status.run.eta_s is not None:
        left = duration(status.run.eta_s, narrow=True)
    where = status.process.device or status.process.runner
    best = "" if status.run.best is None else f"{status.run.best:.3f}"
    about = f"{job.title}\n{job.created.astimezone():%d %b %Y %H:%M}\n{job.folder}"
    doing = _joined(status.run.phase, status.notice, status.failure) or state
    return Row(
        texts=(job.title, state, left, where, best),
        tips=(about, doing, left, where, best),
        state=status.state,
        share=status.run.step / status.run.total if known else None,
    )


def details(
    job: Job, statuses: Mapping[Job, Status], *, pending: str = "", log: bool = True
) -> Details:
    """Decide what is shown of a job.

    Parameters
    ----------
    job, statuses
        The job, and the states of all jobs, among them its own.
    pending
        What was requested of it and is not answered yet, such as ``Cancelling …``.
    log
        Whether it has a log.
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
    )
    message = Message(pending) if pending else _message(job, statuses)
    return Details(message, buttons, _progress(status))


def notification(ended: Sequence[Job], statuses: Mapping[Job, Status]) -> Message | None:
    """Announce in one message how jobs have ended; None if there are none."""
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
    well = all(statuses[job].state == "done" for job in ended)
    return Message(text, "done" if well else "warn")


def dataset_of(job: Job) -> Path | None:
    """The dataset of a job, read from its folder, which another version may have written."""
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
    if status.state in ("failed", "lost"):
        return Message(_joined(status.failure), "fail")
    if status.state == "done":
        return Message(_joined("Done.", best), "done")
    if status.waiting:
        return Message(f"Waiting until its device is free. {_place(job, statuses)}")
    if status.active:
        phase = status.run.phase or "starting"
        where = f"On {status.process.device}." if status.process.device else ""
        return Message(_joined(f"{phase[:1].upper()}{phase[1:]}.", where, best, status.notice))
    return Message(_joined(f"{status.state.capitalize()}.", best))


def _place(job: Job, statuses: Mapping[Job, Status]) -> str:
    """Where a job stands among those that wait."""
    ranks = sorted(status.process.rank for status in statuses.values() if status.waiting)
    place = ranks.index(statuses[job].process.rank) + 1
    return "It is the next." if place == 1 else f"It is number {place} of {len(ranks)}."


def _joined(*parts: str | Failure | None) -> str:
    return " ".join(str(part) for part in parts if part)
