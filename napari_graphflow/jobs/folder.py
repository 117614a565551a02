"""Read and write the files of a job."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.labelling import ProposalConfig, RoundConfig
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.paths import JobPaths, Request
from napari_graphflow.jobs.status import Status
from napari_graphflow.system.events import Event
from napari_graphflow.system.failures import Failure, explain_job, in_words
from napari_graphflow.system.files import locked, parse_json, replace_file
from napari_graphflow.system.regular_file import read_regular

#: Jobs that train one network, and all jobs.
RunKind = Literal["train", "distill"]
Kind = Literal["train", "distill", "propose", "round", "compare"]
JobConfig = TrainingConfig | ProposalConfig | RoundConfig | ComparisonConfig
_CONFIGS: dict[Kind, type[JobConfig]] = {
    "train": TrainingConfig,
    "distill": DistillationConfig,
    "propose": ProposalConfig,
    "round": RoundConfig,
    "compare": ComparisonConfig,
}
#: Format of the time with which the name of a job's folder begins.
STAMP = "%Y%m%dT%H%M%SZ"
#: Characters of a title.
MAX_TITLE = 120
#: Seconds to wait for the write lock.
LOCK_TIMEOUT = 2.0


class JobFolder(JobPaths):
    """The files of one job.

    Parameters
    ----------
    folder
        Folder of the job.

    Raises
    ------
    UserError
        If the folder is not a job.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(folder).absolute())
        try:
            self.spec: dict[str, Any] = parse_json(read_regular(self.spec_file))
            self.kind: Kind = self.spec["kind"]
            self.created = datetime.fromisoformat(self.spec["created"]).astimezone(UTC)
            _CONFIGS[self.kind]
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            raise UserError(
                f"{folder} is not a job: {self.spec_file.name} is missing or invalid.",
                "Choose a folder from the list of jobs.",
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

    @property
    def stamp(self) -> str:
        """The time of its creation, with which the name of its folder begins."""
        return f"{self.created:{STAMP}}"

    @cached_property
    def config(self) -> JobConfig:
        """Settings of the job, of the class that its kind has."""
        try:
            return _CONFIGS[self.kind].model_validate(self.spec["config"])
        except (ValidationError, KeyError) as error:
            raise UserError(
                f"The settings of the job {self.name} cannot be read: {first_problem(error)}.",
                "It was created by another version; start a new job.",
            ) from None

    @property
    def title(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            if renamed := read_regular(self.title_file).decode("utf-8").strip():
                return renamed
        return str(self.spec.get("title") or self.name)

    def rename(self, title: str) -> None:
        """Give the job another title; its folder and its settings stay as they are."""
        replace_file(self.title_file, " ".join(title.split())[:MAX_TITLE].encode())

    def events(self, offset: int = 0) -> tuple[list[Event], int]:
        """Read the events written since the last call.

        Parameters
        ----------
        offset
            Byte offset returned by the last call; 0 at first.

        Returns
        -------
        events, offset
            At most about a thousand events: call again while the offset grows. An incomplete last
            line is left for the next call; invalid lines are skipped.
        """
        events, offset = read_events(self.events_file, offset)
        return list(events), offset

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock of the folder; `UserError` if another process holds it.

        Waits briefly, because a process releases the lock only after its final status.
        """
        with in_words(), locked(self.lock_file, LOCK_TIMEOUT) as free:
            if not free:
                raise UserError(
                    f"The job {self.title} is being run by another process.",
                    "Wait until it ends, or cancel it.",
                )
            yield

    @contextmanager
    def locked_by_nobody(self) -> Iterator[bool]:
        """Yield whether no process holds the write lock, and hold it meanwhile if so."""
        with in_words(), locked(self.lock_file) as free:
            yield free

    def gone(self) -> OSError:
        """Return the error for a disconnected drive."""
        return OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(self.folder))

    def write_status(self, status: Status) -> None:
        """Replace ``status.json``; only within `writing`."""
        replace_file(self.status_file, status.model_dump_json(indent=1).encode())

    def requests(self) -> set[Request]:
        """Return the pending requests in ``control``."""
        try:
            names = {path.name for path in self.control.iterdir() if path.is_file()}
        except OSError:  # not created, or on a disconnected drive
            return set()
        return {request for request in get_args(Request) if request in names}

    def clear_requests(self) -> None:
        """Remove all requests; only within `writing`."""
        for request in self.requests():
            self.request_file(request).unlink(missing_ok=True)

    def request(self, request: Request) -> None:
        """Create the file of a request."""
        with in_words():
            self.control.mkdir(exist_ok=True)
            self.request_file(request).touch()
            if self.request_file(request).is_dir():
                raise UserError(
                    f"The request “{request}” cannot be made: {self.request_file(request)} is a "
                    "folder.",
                    "Delete that folder.",
                )

    def saved_status(self) -> Status:
        """Read ``status.json``, without checking whether the process is alive."""
        for _ in range(20):
            try:
                return Status.model_validate_json(read_regular(self.status_file))
            except PermissionError:  # Windows, while the file is being replaced
                time.sleep(0.01)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and self.folder.is_dir():
                    return Status()
                if error.errno == errno.EINVAL:  # a pipe in its place
                    break
                return Status(state="lost", failure=explain_job(self.gone()))
            except ValidationError:
                break
        text = f"{self.status_file} cannot be read."
        return Status(state="lost", failure=Failure(code="unexpected", text=text))


def choose_case(folder: Path, name: str) -> None:
    """Select the validation case of the preview, from the next validation on."""
    replace_file(JobPaths(folder).preview_case, name.encode())


def chosen_case(folder: Path, names: Sequence[str]) -> str | None:
    """Return the case selected for the preview, or the first one; None without cases."""
    with suppress(OSError, UnicodeDecodeError):
        selected = read_regular(JobPaths(folder).preview_case).decode("utf-8").strip()
        if selected in names:
            return selected
    return names[0] if names else None
