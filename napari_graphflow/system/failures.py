"""Describe failures to the user, from an exception or from how a process ended."""

import errno
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from napari_graphflow.errors import UserError
from napari_graphflow.system.install import install_hint
from napari_graphflow.system.regular_file import open_regular

#: Exit codes of jobs and of the command line; 2 is invalid input. The four last of these are what a
#: window can ask: which images a network is for, other names of its classes, whether to open a
#: program, whether to keep a poor model.
EXIT_CODES = {
    "unexpected": 1,
    "user": 2,
    "missing_file": 2,
    "no_permission": 2,
    "bad_path": 2,
    "not_installed": 2,
    "undescribed": 2,
    "unknown_class": 2,
    "untrusted": 2,
    "poor_model": 2,
    "out_of_memory": 3,
    "out_of_gpu_memory": 3,
    "disk_full": 4,
    "not_a_number": 5,
    "drive_gone": 6,
    "gpu": 7,
    "cancelled": 130,
}

#: Options that need less memory: of a run, and of a segmentation.
SMALLER = "a smaller patch size or batch size"
SMALLER_SEGMENTATION = "a smaller model, or a part of the image"
#: Error numbers of a full disk, of what may not be written, and of a drive that was disconnected.
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
DRIVE_GONE = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENODEV")
    if hasattr(errno, name)
}
#: "Unexpected network error", "the network name is no longer available", "timeout", ...
_DRIVE_GONE_WINDOWS = {53, 59, 64, 67, 121}

# Native libraries report these only in the message of a RuntimeError.
_SAYS_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "is killed by signal: killed",
    "out of shared memory",
)
_SAYS_DISK_FULL = (
    "no space left on device",
    "os error 28",
    "disk quota exceeded",
    "file write failed",
    "inline_container.cc",  # torch.save on a full disk: "unexpected pos 704 vs 598"
)
_SAYS_GPU = ("cuda error", "cudnn error", "cuda driver", "no kernel image", "hip error")
#: The line that `faulthandler` writes on a crash, and its translation.
_DYING = re.compile(r"(?m)^(?:Fatal Python error|Windows fatal exception): (?!code )(.+)")
_CRASHES = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
    "access violation": "0xC0000005",
}
#: Bytes at the end of a log to search for this line: tracebacks of several hundred threads.
_TAIL = 1 << 17
_PYTORCH = {"torch", "monai", "lightning_fabric", "safetensors"}


class Failure(BaseModel):
    """Description of a failure for users and programs; passed between processes as JSON.

    Attributes
    ----------
    code
        One of the keys of `EXIT_CODES`, or ``killed``, ``crashed``, ``ended`` for a process.
    text
        The cause, as one sentence.
    remedy
        How to correct it, as one sentence; empty if unknown.
    exit_code
        Exit code of the failed process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    code: str
    text: str
    remedy: str = ""
    exit_code: int = 1

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".strip()

    def as_error(self) -> UserError:
        """Return the failure as an exception for the user."""
        return UserError(self.text, self.remedy, self.code)


def explain(error: BaseException, log: Path | None = None, smaller: str = SMALLER) -> Failure:
    """Describe an exception to the user.

    The first cause is reported, not the last: a full disk, even if cleaning up then also failed.

    Parameters
    ----------
    error
        The exception that was caught.
    log
        File with the traceback.
    smaller
        Options that need less memory, as the object of "Choose".
    """
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, UserError):
            return _failure(cause.code, cause.text, cause.remedy)
    for link in reversed(_chain(error)):
        known = _recognise(link, smaller)
        if known is not None:
            return known
    first = causes[-1]
    message = (str(first).strip().splitlines() or ["no message"])[0]
    details = f"See {log} for details." if log else "Please report this error."
    return _failure(
        "unexpected", f"Unexpected error: {type(first).__name__}: {message[:200]}.", details
    )


def explain_job(error: BaseException, log: Path | None = None) -> Failure:
    """Describe an exception that ended a job, which can be resumed."""
    found = explain(error, log)
    known = _BY_EXIT_CODE.get(found.exit_code)
    return found if known is None else found.model_copy(update={"remedy": known.remedy})


def explain_exit(
    returncode: int | None,
    log: Path | None = None,
    what: str = "The job",
    smaller: str = SMALLER,
    log_from: int = 0,
) -> Failure:
    """Describe to the user how a process ended that left no error message.

    Parameters
    ----------
    returncode
        Return code as of `subprocess`: the negative signal number, or the code of Windows; also
        128 plus the signal number, as of shells and containers. None if unknown, in which case
        the log is searched.
    log
        File with the output of the process.
    what
        Name of the process, as the subject of the sentence.
    smaller
        Options that need less memory, as the object of "Choose".
    log_from
        Offset in bytes at which the output of this process begins in the log.
    """
    remedy = f"See the end of {log} for details." if log else "Try again."
    code = "ended"
    if returncode is None:
        crash = _crash(log, log_from)
        code = "crashed" if crash else "ended"
        text = (
            _crashed(what, crash)
            if crash
            else f"{what} stopped unexpectedly and left no error message."
        )
    elif returncode in _BY_EXIT_CODE:  # a process that could not write its status
        return _BY_EXIT_CODE[returncode]
    elif _signal(returncode) == 9:
        code = "killed"
        text = f"{what} was killed by the system, most likely because memory ran out."
        remedy = f"Choose {smaller}, or close other programs, and try again."
    elif _signal(returncode) in (2, 15) or returncode == 0xC000013A:
        text = f"{what} was terminated by another program, or because the computer was shut down."
        remedy = "Start it again."
    elif _signal(returncode) or returncode > 0xC0000000:
        code = "crashed"
        text = _crashed(what, _name(returncode))
    else:
        text = f"{what} stopped unexpectedly with exit code {returncode} and left no error message."
    return Failure(code=code, text=text, remedy=remedy)


def _crashed(what: str, name: str) -> str:
    return f"{what} crashed inside a native library ({name})."


def _crash(log: Path | None, log_from: int) -> str:
    """Return the name of the crash recorded in a log; empty if there is none."""
    if log is None:
        return ""
    try:
        with open_regular(log) as file:
            file.seek(max(log_from, file.seek(0, os.SEEK_END) - _TAIL))
            crashes = _DYING.findall(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""
    return _CRASHES.get(crashes[-1].strip(), crashes[-1].strip()) if crashes else ""


@contextmanager
def in_words() -> Iterator[None]:
    """Convert an `OSError` to a `UserError`."""
    try:
        yield
    except OSError as error:
        raise explain(error).as_error() from error


def _failure(code: str, text: str, remedy: str) -> Failure:
    return Failure(code=code, text=text, remedy=remedy, exit_code=EXIT_CODES[code])


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its explicit causes (``raise ... from ...``), the error first."""
    causes = [error]
    while causes[-1].__cause__ is not None and causes[-1].__cause__ not in causes:
        causes.append(causes[-1].__cause__)
    return causes


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and all errors that led to it, latest first, including members of groups."""
    chain: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        link = waiting.pop()
        if link in chain:
            continue
        chain.append(link)
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        if link.__cause__ is not None:
            waiting.append(link.__cause__)
        elif link.__context__ is not None and not link.__suppress_context__:
            waiting.append(link.__context__)
    return chain


#: Failures of a process whose exit code is all that it could leave.
_BY_EXIT_CODE = {
    EXIT_CODES["disk_full"]: _failure(
        "disk_full", "The disk is full.", "Free some space, then resume from the last checkpoint."
    ),
    EXIT_CODES["drive_gone"]: _failure(
        "drive_gone",
        "The drive with the folder of the job is not responding.",
        "Reconnect it, then resume from the last checkpoint.",
    ),
}


def _recognise(error: BaseException, smaller: str) -> Failure | None:
    message = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    # oneDNN out of memory for generated code; unsupported operations have longer messages.
    memory = memory or message.endswith("could not create a primitive")
    if memory or any(words in message for words in _SAYS_NO_MEMORY):
        return _out_of_memory(type(error).__name__, message, smaller)
    # numpy sets no errno if an array was written only partly.
    partly = re.fullmatch(r"\d+ requested and \d+ written", message)
    if partly or number in DISK_FULL or any(words in message for words in _SAYS_DISK_FULL):
        return _failure(
            "disk_full",
            "The disk is full.",
            "Free some space, and try again.",
        )
    if isinstance(error, OSError):
        return _recognise_file(error)
    if isinstance(error, FloatingPointError):
        return _failure(
            "not_a_number",
            str(error) or "The loss became infinite or NaN.",
            "Start a new job with a lower learning rate, or with precision 32-true.",
        )
    if isinstance(error, ModuleNotFoundError):
        return _not_installed((error.name or "").partition(".")[0])
    if any(words in message for words in _SAYS_GPU):
        return _failure(
            "gpu",
            "The GPU reported an error.",
            "Choose the CPU as device, or update the GPU driver.",
        )
    return None


def _not_installed(package: str) -> Failure | None:
    if package in _PYTORCH:
        return _failure(
            "not_installed",
            "PyTorch and its companion packages are not installed.",
            install_hint("train"),
        )
    if package == "napari_graphflow":
        return None
    return _failure("not_installed", f"The package {package} is not installed.", "Install it.")


def _out_of_memory(kind: str, message: str, smaller: str) -> Failure:
    if kind == "OutOfMemoryError" or any(word in message for word in ("cuda", "hip", "mps", "gpu")):
        return _failure(
            "out_of_gpu_memory",
            "The GPU ran out of memory.",
            f"Choose {smaller}, or the CPU as device.",
        )
    return _failure(
        "out_of_memory",
        "The computer ran out of memory.",
        f"Choose {smaller}, or close other programs.",
    )


def _recognise_file(error: OSError) -> Failure | None:
    name = error.filename if error.filename is not None else "a file"
    if error.errno == errno.ENOENT:
        return _failure(
            "missing_file", f"{_capital(name)} is missing.", "Restore it, or check the path."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        text = f"{_capital(name)} cannot be used: a part of its path is a file, not a folder."
        return _failure("bad_path", text, "Check the path, or choose another folder.")
    if error.errno == errno.ENAMETOOLONG:
        return _failure(
            "bad_path", f"The name {str(name)[:80]} is too long.", "Choose a shorter one."
        )
    if error.errno in DENIED:
        return _failure(
            "no_permission",
            f"No permission to read or write {name}.",
            "Change its permissions, or choose another folder.",
        )
    if error.errno in DRIVE_GONE or getattr(error, "winerror", None) in _DRIVE_GONE_WINDOWS:
        return _failure(
            "drive_gone",
            f"The drive with {name} is not responding.",
            "Reconnect it, and try again.",
        )
    return None


def _capital(name: object) -> str:
    return "A file" if name == "a file" else str(name)


def _signal(returncode: int) -> int:
    if returncode < 0:
        return -returncode
    return returncode - 128 if 128 < returncode < 128 + 65 else 0


def _name(returncode: int) -> str:
    number = _signal(returncode)
    if not number:
        return f"0x{returncode:08X}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
