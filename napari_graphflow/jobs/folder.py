"""The files of a job, and how they are read and written."""

import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.paths import JobPaths, Request
from napari_graphflow.jobs.status import Status
from napari_graphflow.system.events import Event
from napari_graphflow.system.failures import Failure, explain, in_words
from napari_graphflow.system.files import locked, replace_file

Kind = Literal["train", "distill"]


_CONFIGS: dict[Kind, type[TrainingConfig]] = {
    "train": TrainingConfig,
    "distill": DistillationConfig,
}


#: Seconds to wait for the right to write.
PATIENCE = 2.0


class JobFolder(JobPaths):
    """The files of one job.

    Parameters
    ----------
    folder
        Folder of the job.

    Raises
    ------
    UserError
        If the folder is no job.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(folder).absolute())
        try:
            self.spec: dict[str, Any] = json.loads(self.spec_file.read_text("utf-8"))
            self.kind: Kind = self.spec["kind"]
            self.created = datetime.fromisoformat(self.spec["created"]).astimezone(UTC)
            _CONFIGS[self.kind]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{folder} is not a job: it has no readable {self.spec_file.name}.",
                "List the jobs to find the right folder.",
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobFolder) and self.folder == other.folder

    def __lt__(self, other: "JobFolder") -> bool:
        return self.folder < other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __repr__(self) -> str:
        return f"Job({str(self.folder)!r})"

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def config(self) -> TrainingConfig:
        """What was asked for: a `TrainingConfig`, for a distillation a `DistillationConfig`."""
        try:
            return _CONFIGS[self.kind].model_validate(self.spec["config"])
        except (ValidationError, KeyError) as error:
            raise UserError(
                f"The settings of the job {self.name} cannot be read: {first_problem(error)}.",
                "It was made by another version; start a new job.",
            ) from None

    @property
    def title(self) -> str:
        return str(self.spec.get("title") or self.name)

    def events(self, offset: int = 0) -> tuple[list[Event], int]:
        """Read the events written since the last look.

        Parameters
        ----------
        offset
            Byte offset that the last call returned; 0 at first.

        Returns
        -------
        events, offset
            About a thousand events at most: call again while the offset grows. A last line that
            is still being written is left for the next call, a broken one is passed over.
        """
        events, offset = read_events(self.events_file, offset)
        return list(events), offset

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write into the folder; `UserError` if somebody else has it.

        Waits a little, because a process lets go only after its last word.
        """
        with in_words(), locked(self.lock_file, PATIENCE) as free:
            if not free:
                raise UserError(
                    f"The job {self.title} is being run by another process.",
                    "Wait for it, or cancel it.",
                )
            yield

    def gone(self) -> OSError:
        """The error that says that the drive with the folder went away."""
        return OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(self.folder))

    def write_status(self, status: Status) -> None:
        """Replace ``status.json``; only within `writing`."""
        replace_file(self.status_file, status.model_dump_json(indent=1).encode())

    def requests(self) -> set[Request]:
        """What the files in ``control`` ask for."""
        try:
            there = {path.name for path in self.control.iterdir()}
        except OSError:  # never made, or on a drive that went away
            return set()
        return {request for request in get_args(Request) if request in there}

    def clear_requests(self) -> None:
        """Remove all requests; only within `writing`."""
        for request in self.requests():
            self.request_file(request).unlink(missing_ok=True)

    def request(self, request: Request) -> None:
        """Make a request, as anybody may by creating the file."""
        with in_words():
            self.control.mkdir(exist_ok=True)
            self.request_file(request).touch()

    def saved_status(self) -> Status:
        """What ``status.json`` says, whether or not its process still lives."""
        for _ in range(20):
            try:
                return Status.model_validate_json(self.status_file.read_bytes())
            except PermissionError:  # Windows, while the file is being replaced
                time.sleep(0.01)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and self.folder.is_dir():
                    return Status()
                return Status(state="lost", failure=explain(self.gone()))
            except ValidationError:
                break
        text = f"{self.status_file} cannot be read."
        return Status(state="lost", failure=Failure(code="unexpected", text=text))


def choose_case(folder: Path, name: str) -> None:
    """Ask the job in a folder to show another validation case from its next validation on."""
    replace_file(JobPaths(folder).preview_case, name.encode())


def chosen_case(folder: Path, names: Sequence[str]) -> str | None:
    """The case that was asked for, or the first; None if there is none."""
    with suppress(OSError, UnicodeDecodeError):
        wanted = JobPaths(folder).preview_case.read_text("utf-8").strip()
        if wanted in names:
            return wanted
    return names[0] if names else None
