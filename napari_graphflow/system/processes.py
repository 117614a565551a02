"""What operating systems do each in their own way: processes, locks, replacing a file."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: For child processes of a window without a console, which Windows would open for them.
NO_CONSOLE: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def child_environment() -> dict[str, str]:
    """The environment of our processes.

    Threads sleep while they wait, a crash leaves a trace, and no ``random.py`` that happens to lie
    in the working directory is imported.
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
    """Start a process that outlives ours and the terminal.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Its working directory, so that no file lying in ours is imported by mistake.
    log
        Receives what it prints.
    """
    # glibc gives large blocks back and asks for them anew at each step, and the kernel clears every
    # page of them each time. Up to a gigabyte is kept instead, which other systems ignore.
    keep = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
    apart: dict[str, Any]
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        apart = {"creationflags": flags}
    else:
        apart = {"start_new_session": True}
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(argument) for argument in command],
            cwd=folder,
            env=keep | child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **apart,
        )


def process_start(pid: int | None) -> str:
    """Tell a process from a later one with the same number; empty if there is none.

    On Linux by ticks since booting, which setting the clock does not move.
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


def end_process_tree(pid: int, *, kill: bool) -> None:
    """Ask a process to end, or kill it with all its descendants."""
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
