"""The devices of this computer and their free memory, without importing torch."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

import psutil

from napari_graphflow.system.processes import NO_CONSOLE

QUERY = "--query-gpu=index,uuid,name,memory.total,memory.free"
#: Seconds to wait for nvidia-smi.
TIMEOUT = 10.0
MIB = 1 << 20


@dataclass(frozen=True)
class Device:
    """A device for computation.

    Attributes
    ----------
    name
        Name in torch: ``cpu``, ``mps``, ``cuda:0``, ...
    title
        Product name.
    total_bytes, free_bytes
        Total memory, and memory free now.
    """

    name: str
    title: str
    total_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        free, total = self.free_bytes / 2**30, self.total_bytes / 2**30
        return f"{self.title}, {free:.1f} of {total:.1f} GB free"


def devices() -> list[Device]:
    """Return all devices, the GPU with the most free memory first and the CPU last."""
    gpus = sorted(_nvidia(), key=lambda gpu: gpu.free_bytes, reverse=True)
    memory = psutil.virtual_memory()
    own = [Device("cpu", f"CPU, {os.cpu_count()} threads", memory.total, memory.available)]
    if sys.platform == "darwin" and platform.machine() == "arm64":
        own.insert(0, Device("mps", "Apple GPU", memory.total, memory.available))
    return [*gpus, *own]


def available_device(requested: str, present: list[Device], busy: set[str]) -> str | None:
    """Choose a free device for a job.

    Parameters
    ----------
    requested
        ``auto`` uses the type of the first device, ``cuda`` any GPU.
    present
        All devices, in order of preference.
    busy
        Names of devices in use.

    Returns
    -------
    name
        None if the job has to wait. A device that is not present is returned as requested, so that
        the job fails with an error.
    """
    kind = present[0].name.partition(":")[0] if requested == "auto" else requested
    matching = [one.name for one in present if kind in (one.name, one.name.partition(":")[0])]
    return next((name for name in matching or [requested] if name not in busy), None)


def _nvidia() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, QUERY, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=True,
            creationflags=NO_CONSOLE,
        ).stdout  # fmt: skip
        rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line]
        return [
            Device(f"cuda:{number}", f"GPU {number}: {name}", int(total) * MIB, int(free) * MIB)
            for number, (_, _, name, total, free) in enumerate(_visible(rows))
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # the driver is not responding


def _visible(rows: list[list[str]]) -> list[list[str]]:
    """Return the GPUs in ``CUDA_VISIBLE_DEVICES``, in its order, as numbered by torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return rows
    found: list[list[str]] = []
    for one in filter(None, (part.strip() for part in chosen.split(","))):
        match = next((row for row in rows if one == row[0] or row[1].startswith(one)), None)
        if match is None:
            break  # like CUDA, which ignores all after the first unknown one
        found.append(match)
    return found
