"""Where to compute, and how much memory that took."""

import sys

import psutil
import torch

from napari_graphflow.errors import UserError


def peak_memory(device: torch.device) -> int:
    """Peak bytes of the GPU, or of this process where there is none."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:1`` into a device that is there."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    kind, _, number = name.partition(":")
    there = available.get(kind, False)
    if not there or (number and int(number) >= torch.cuda.device_count()):
        raise UserError(f"The device {name} is not available here.", "Choose auto or cpu.")
    return torch.device(name)


def device_title(device: torch.device) -> str:
    """Name a device as a person would."""
    if device.type == "cuda":
        return f"GPU {device.index or 0}: {torch.cuda.get_device_name(device)}"
    return {"cpu": "CPU", "mps": "Apple GPU"}[device.type]
