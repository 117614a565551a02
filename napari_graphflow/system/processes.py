"""Start, identify and end processes on all operating systems."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: Prevents Windows from opening a console for child processes of a program without one.
NO_CONSOLE: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)

#: Priority of background processes; 0 is that of other programs, 19 the lowest.
NICE = 10


def child_environment() -> dict[str, str]:
    """Return the environment for child processes.

    Idle threads sleep, a crash leaves a traceback, and modules in the working directory such as a
    ``random.py`` are not imported.
    """
    return {
        **os.environ,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi numbers them
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
    }


def start_detached(
    command: Sequence[str | Path], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and the terminal, and gives way to other programs.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Working directory of the process.
    log
        File to which its output is appended.
    """
    # By default glibc returns large blocks after each step, and the kernel clears their pages when
    # they are allocated again. Keep up to 1 GiB instead; other systems ignore these variables.
    keep = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
    apart: dict[str, Any]
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        apart = {"creationflags": flags}
    else:
        apart = {"start_new_session": True}
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(argument) for argument in command],
            cwd=folder,
            env=keep | child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **apart,
        )
    give_way(child.pid)
    return child


def give_way(pid: int) -> None:
    """Lower the priority of a process, so that it computes with what others leave it."""
    with suppress(psutil.Error, OSError):
        below = psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else NICE
        psutil.Process(pid).nice(below)
    if sys.platform == "linux":
        # On a desktop, Linux shares the processor between sessions, and this process has its own.
        with suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(NICE))


def process_start(pid: int | None) -> str:
    """Return when a process started, to identify it if its number is reused; empty if none.

    On Linux in clock ticks since boot, which do not depend on the system time.
    """
    if not pid:
        return ""
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else f"{_boot()}/{fields[19]}"
        else:  # noqa: RET505, so that mypy reads one branch on each system
            process = psutil.Process(pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return "" if ended else repr(process.create_time())
    except (OSError, psutil.Error):
        return ""


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def was_started_with(pid: int, path: Path) -> bool:
    """Whether a process of this user was started with a path as an argument.

    Never true of the system's first process, of this process, and of those that started it.
    """
    try:
        process = psutil.Process(pid)
        family = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        if pid <= 1 or pid in family or process.username() != psutil.Process().username():
            return False
        path, folder = path.resolve(), process.cwd()
        return any(Path(folder, argument).resolve() == path for argument in process.cmdline()[1:])
    except (psutil.Error, OSError, ValueError):
        return False


def end_process_tree(pid: int, *, kill: bool) -> None:
    """Terminate a process, or kill it with all its descendants."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if kill else [process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            if kill:
                member.kill()
            else:
                member.terminate()
        except psutil.NoSuchProcess:
            continue


def peak_memory_of_process() -> int:
    """Return the peak memory of this process in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
