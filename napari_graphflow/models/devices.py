"""Devices for computation and their peak memory."""

import torch

from napari_graphflow.errors import UserError
from napari_graphflow.system.processes import peak_memory_of_process


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes, of the GPU or, on the CPU, of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory_of_process()


def resolve_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    UserError
        If the device is not available.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, usable in available.items() if usable)
    kind, _, number = name.partition(":")
    usable = available.get(kind, False)
    if not usable or (number and int(number) >= torch.cuda.device_count()):
        raise UserError(
            f"The device {name} is not available on this computer.", "Choose auto or cpu."
        )
    return torch.device(name)


def device_title(device: torch.device) -> str:
    """Return a readable name of a device."""
    if device.type == "cuda":
        return f"GPU {device.index or 0}: {torch.cuda.get_device_name(device)}"
    return {"cpu": "CPU", "mps": "Apple GPU"}[device.type]
