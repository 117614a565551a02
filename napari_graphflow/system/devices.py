"""The devices of this computer, by name and free memory, without loading torch."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

import psutil

from napari_graphflow.system.processes import NO_CONSOLE

QUERY = "--query-gpu=index,uuid,name,memory.total,memory.free"


PATIENCE = 10.0


MIB = 1 << 20


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes
    ----------
    name
        As torch calls it: ``cpu``, ``mps``, ``cuda:0``, ...
    title
        As its maker calls it.
    total_bytes, free_bytes
        Its memory, and what of it is free now.
    """

    name: str
    title: str
    total_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        free, total = self.free_bytes / 2**30, self.total_bytes / 2**30
        return f"{self.title}, {free:.1f} of {total:.1f} GB free"


def devices() -> list[Device]:
    """All devices, the GPU with most free memory first and the processor last."""
    gpus = sorted(_nvidia(), key=lambda gpu: gpu.free_bytes, reverse=True)
    memory = psutil.virtual_memory()
    own = [Device("cpu", f"CPU, {os.cpu_count()} threads", memory.total, memory.available)]
    if sys.platform == "darwin" and platform.machine() == "arm64":
        own.insert(0, Device("mps", "Apple GPU", memory.total, memory.available))
    return [*gpus, *own]


def place(wanted: str, there: list[Device], busy: set[str]) -> str | None:
    """Choose a free device for a job.

    Parameters
    ----------
    wanted
        ``auto`` takes the first kind that there is, ``cuda`` any GPU.
    there
        All devices, in the order in which they are preferred.
    busy
        Names of those that are taken.

    Returns
    -------
    name
        None if the job has to wait. A device that is not there is never busy: the job that asks
        for it fails with a sentence.
    """
    kind = there[0].name.partition(":")[0] if wanted == "auto" else wanted
    fitting = [one.name for one in there if kind in (one.name, one.name.partition(":")[0])]
    return next((name for name in fitting or [wanted] if name not in busy), None)


def _nvidia() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, QUERY, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=True,
            creationflags=NO_CONSOLE,
        ).stdout  # fmt: skip
        rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line]
        return [
            Device(f"cuda:{number}", f"GPU {number}: {name}", int(total) * MIB, int(free) * MIB)
            for number, (_, _, name, total, free) in enumerate(_visible(rows))
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # a driver that does not answer


def _visible(rows: list[list[str]]) -> list[list[str]]:
    """Those that ``CUDA_VISIBLE_DEVICES`` leaves, in its order, as torch will number them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return rows
    found: list[list[str]] = []
    for one in filter(None, (part.strip() for part in chosen.split(","))):
        match = next((row for row in rows if one == row[0] or row[1].startswith(one)), None)
        if match is None:
            break  # CUDA, too, stops at the first that it does not know
        found.append(match)
    return found
