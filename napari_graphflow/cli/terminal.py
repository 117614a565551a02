"""Terminal output of all commands: messages, progress, JSON, exit codes."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, cast

from cyclopts import CycloptsError
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from napari_graphflow.config.settings import first_problem
from napari_graphflow.jobs.job import Job
from napari_graphflow.system import events
from napari_graphflow.system.failures import EXIT_CODES, Failure, explain
from napari_graphflow.system.folders import jobs_root

#: Control characters, with which text from a file could change the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Terminal(Console):
    """A console that shows text from files as text."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to the command, where rich would end the process as failed."""
        raise  # noqa: PLE0704, within the handler of rich


class _StandardError:
    """Standard error, which may be closed, full or gone: that loses messages, but no results."""

    @property
    def _stream(self) -> Any:
        # While a progress bar is shown, rich puts a stream that prints to the console in its place.
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:
        return str(self._stream.encoding or "utf-8")

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())


#: Messages and progress go to stderr, so that ``--json`` can be piped.
#: Without markup, because names and paths may contain square brackets.
console = Terminal(file=cast("IO[str]", _StandardError()), highlight=False, markup=False)
output = Terminal(highlight=False, markup=False)


def follow(job: Job, *, cancels: bool = True) -> int:
    """Show the progress of a job until it ends.

    Parameters
    ----------
    cancels
        Whether an interrupt cancels the job; otherwise the job goes on.

    Returns
    -------
    exit_code
        0 when done or paused, otherwise that of the failure.
    """
    with progress_bar() as bar:
        queued = job.status().waiting
        task = bar.add_task("queued for its device" if queued else "starting", total=None)
        try:
            for event in job.follow():
                _show(bar, task, event)
        except KeyboardInterrupt:
            if cancels:
                job.cancel()
                raise
            console.print("No longer followed; the job goes on.")
            return EXIT_CODES["cancelled"]
    status = job.status()
    if status.state == "done":
        return 0
    if status.state == "paused":
        name = job.name if job.folder.parent == jobs_root() else job.folder
        console.print(f"Paused. Resume with: napari-graphflow jobs resume {name}", soft_wrap=True)
        return 0
    text = f"{status.state}: {status.failure or ''}".rstrip()
    console.print(text, style="red", soft_wrap=True)
    return status.exit_code


def _show(bar: Progress, task: TaskID, event: events.Event) -> None:
    match event:
        case events.Phase():
            bar.reset(task, description=event.name, total=None)
        case events.Progress():
            bar.update(task, completed=event.step, total=event.total)
        case events.Metric(name="dice", value=float(value)):
            bar.console.print(f"step {event.step}: Dice {value:.4f}")
        case events.TeacherScored():
            bar.console.print(str(event), soft_wrap=True)
        case events.Warned():
            bar.console.print(event.text, style="yellow")


def open_closed_streams() -> None:
    """Open standard streams that the caller closed, to nowhere.

    Otherwise the next file that is opened gets the number of standard output, and whatever a
    library prints is written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def discard_output() -> None:
    """Drop what standard output does not take, which Python would try again at its end."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress_bar() -> Progress:
    """Return a progress bar with the remaining time."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def print_json(value: Any) -> None:
    """Print a value as JSON, paths as text."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


@contextmanager
def failure_as_json() -> Iterator[None]:
    """Also print the failure of a command as one line of JSON, for programs; raise it again."""
    try:
        yield
    except Exception as error:
        sys.stdout.write(json.dumps({"failure": explain_command(error).model_dump()}) + "\n")
        raise


def explain_command(error: Exception) -> Failure:
    """Describe the failure of a command; invalid arguments count as a mistake of the user."""
    if not isinstance(error, CycloptsError):
        return explain(error)
    return Failure(code="user", text=_usage_error(error), exit_code=EXIT_CODES["user"])


def fail(failure: Failure) -> NoReturn:
    """Print a failure and end the process with its exit code."""
    console.print(f"error: {failure}", style="red", soft_wrap=True)
    sys.exit(failure.exit_code)


def _usage_error(error: CycloptsError) -> str:
    """Describe invalid arguments in one sentence."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    where = ".".join(str(part) for part in cause.errors()[0]["loc"])
    text = first_problem(cause).removeprefix(f"{where}: ")
    option = f"--{where.replace('_', '-')}: " if where else ""
    return f"{option}{text}."
