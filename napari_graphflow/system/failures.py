"""What went wrong, in words: from an exception, or from the way in which a process ended."""

import errno
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from napari_graphflow.errors import UserError

#: Exit codes of a job and of the command line. What the user can mend by another input is 2.
EXIT_CODES = {
    "unexpected": 1,
    "user": 2,
    "missing_file": 2,
    "no_permission": 2,
    "not_installed": 2,
    "out_of_memory": 3,
    "out_of_gpu_memory": 3,
    "disk_full": 4,
    "not_a_number": 5,
    "drive_gone": 6,
    "gpu": 7,
    "cancelled": 130,
}


LIGHTER = "a smaller patch size or batch size"


_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


_MISSING = {errno.ENOENT, errno.ENOTDIR}


_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


_DRIVE_GONE = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENODEV")
    if hasattr(errno, name)
}


#: "Unexpected network error", "the network name is no longer available", "timeout", ...
_DRIVE_GONE_WINDOWS = {53, 59, 64, 67, 121}


# Native libraries say these in the text of a plain RuntimeError.
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


#: How `faulthandler` calls what is ending the process, and our word for it.
_DYING = re.compile(r"(?m)^(?:Fatal Python error|Windows fatal exception): (?!code )(.+)")


_CRASHES = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
    "access violation": "0xC0000005",
}


#: Bytes at the end of a log that are searched for it: the traces of some hundred threads.
_TAIL = 1 << 17


_PYTORCH = {"torch", "monai", "lightning_fabric", "safetensors"}


class Failure(BaseModel):
    """What went wrong, in words and for programs; between processes it travels as JSON.

    Attributes
    ----------
    code
        One of the keys of `EXIT_CODES`, or ``killed``, ``crashed``, ``ended`` for a process.
    text
        The cause, as one sentence.
    remedy
        What to do about it, as one sentence; empty if nothing is known.
    exit_code
        What the process that failed returns to its caller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    text: str
    remedy: str = ""
    exit_code: int = 1

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".strip()

    def as_error(self) -> UserError:
        """The exception that shows it to the user."""
        return UserError(self.text, self.remedy)


def explain(error: BaseException, log: Path | None = None, lighter: str = LIGHTER) -> Failure:
    """Say in words what an exception means.

    The first cause counts, not the last: a full disk stays a full disk even if cleaning up after
    it failed as well.

    Parameters
    ----------
    error
        The exception as it was caught.
    log
        File that holds the traceback.
    lighter
        What asks for less memory, in words that follow "Choose".
    """
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, UserError):
            return _failure("user", cause.text, cause.remedy)
    for link in reversed(_chain(error)):
        known = _recognise(link, lighter)
        if known is not None:
            return known
    first = causes[-1]
    message = (str(first).strip().splitlines() or ["no message"])[0]
    details = f"The details are in {log}." if log else "Please report it."
    return _failure(
        "unexpected", f"An unexpected error: {type(first).__name__}: {message[:200]}.", details
    )


def explain_exit(
    returncode: int | None,
    log: Path | None = None,
    what: str = "The job",
    lighter: str = LIGHTER,
    log_from: int = 0,
) -> Failure:
    """Say in words how a process ended that could not say so itself.

    Parameters
    ----------
    returncode
        As `subprocess` gives it: minus the signal's number, or the number that Windows returns;
        128 plus the signal's number, as shells and containers have it, is understood too.
        None if nobody knows; the log may.
    log
        File that holds what the process wrote.
    what
        The process, as the subject of the sentence.
    lighter
        What asks for less memory, in words that follow "Choose".
    log_from
        Where in the log the words of this process begin.
    """
    look = f"Look at the end of {log}." if log else "Try again."
    code = "ended"
    if returncode is None:
        crash = _crash(log, log_from)
        code = "crashed" if crash else "ended"
        text = _crashed(what, crash) if crash else f"{what} ended without saying why."
    elif _signal(returncode) == 9:
        code = "killed"
        text = f"{what} was ended by the system, most likely because memory ran out."
        look = f"Choose {lighter}, or close other programs, and try again."
    elif _signal(returncode) in (2, 15) or returncode == 0xC000013A:
        text = f"{what} was ended by another program, or because the computer was shut down."
        look = "Start it again."
    elif _signal(returncode) or returncode > 0xC0000000:
        code = "crashed"
        text = _crashed(what, _name(returncode))
    else:
        text = f"{what} ended with the code {returncode} before it could say why."
    return Failure(code=code, text=text, remedy=look)


def _crashed(what: str, name: str) -> str:
    return f"{what} crashed inside a native library ({name})."


def _crash(log: Path | None, log_from: int) -> str:
    """What a log says of the crash that ended it; empty if nothing."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            file.seek(max(log_from, file.seek(0, os.SEEK_END) - _TAIL))
            said = _DYING.findall(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""
    return _CRASHES.get(said[-1].strip(), said[-1].strip()) if said else ""


@contextmanager
def in_words() -> Iterator[None]:
    """Turn trouble with files into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise explain(error).as_error() from error


def _failure(code: str, text: str, remedy: str) -> Failure:
    return Failure(code=code, text=text, remedy=remedy, exit_code=EXIT_CODES[code])


def _causes(error: BaseException) -> list[BaseException]:
    """Follow what was stated with ``raise ... from ...``, the error itself first."""
    causes = [error]
    while causes[-1].__cause__ is not None and causes[-1].__cause__ not in causes:
        causes.append(causes[-1].__cause__)
    return causes


def _chain(error: BaseException) -> list[BaseException]:
    """The error and all that led to it, the last first, members of groups included."""
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


def _recognise(error: BaseException, lighter: str) -> Failure | None:
    said = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    # oneDNN, where it finds no room for its code; of what it cannot compute it says more.
    memory = memory or said.endswith("could not create a primitive")
    if memory or any(words in said for words in _SAYS_NO_MEMORY):
        return _out_of_memory(type(error).__name__, said, lighter)
    # numpy gives no number where only a part of an array could be written.
    partly = re.fullmatch(r"\d+ requested and \d+ written", said)
    if partly or number in _DISK_FULL or any(words in said for words in _SAYS_DISK_FULL):
        return _failure(
            "disk_full", "The disk is full.", "Make room on it, then go on from the checkpoint."
        )
    if isinstance(error, OSError):
        return _recognise_file(error)
    if isinstance(error, FloatingPointError):
        return _failure(
            "not_a_number",
            str(error) or "The loss became infinite or NaN.",
            "Start again with a lower learning rate, or with the precision 32-true.",
        )
    if isinstance(error, ModuleNotFoundError):
        return _not_installed((error.name or "").partition(".")[0])
    if any(words in said for words in _SAYS_GPU):
        return _failure(
            "gpu",
            "The graphics card reported an error.",
            "Choose the CPU as device, or update the driver of the card.",
        )
    return None


def _not_installed(package: str) -> Failure | None:
    if package in _PYTORCH:
        return _failure(
            "not_installed",
            "PyTorch and what belongs to it are not installed here.",
            'Run: pip install "napari-graphflow[train]"',
        )
    if package == "napari_graphflow":
        return None
    return _failure("not_installed", f"The package {package} is not installed.", "Install it.")


def _out_of_memory(kind: str, said: str, lighter: str) -> Failure:
    if kind == "OutOfMemoryError" or any(word in said for word in ("cuda", "hip", "mps", "gpu")):
        return _failure(
            "out_of_gpu_memory",
            "The graphics card ran out of memory.",
            f"Choose {lighter}, or the CPU as device.",
        )
    return _failure(
        "out_of_memory",
        "The computer ran out of memory.",
        f"Choose {lighter}, or close other programs.",
    )


def _recognise_file(error: OSError) -> Failure | None:
    name = error.filename if error.filename is not None else "a file"
    if error.errno in _MISSING:
        return _failure(
            "missing_file", f"{_capital(name)} is missing.", "Put it back, or check the path."
        )
    if error.errno in _DENIED:
        return _failure(
            "no_permission",
            f"{_capital(name)} may not be read or written.",
            "Change its permissions, or choose another folder.",
        )
    if error.errno in _DRIVE_GONE or getattr(error, "winerror", None) in _DRIVE_GONE_WINDOWS:
        return _failure(
            "drive_gone",
            f"The drive with {name} does not answer any more.",
            "Connect it again, then go on from the checkpoint.",
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
