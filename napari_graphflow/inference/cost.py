"""Peak memory of a model, measured in a fresh process that segments one image."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.processes import NO_CONSOLE


def measured_peak(model: Path, image: Volume, device: str = "auto") -> int | None:
    """Return the peak memory in bytes, of the GPU if one is used; None if it failed.

    A fresh process, because the memory of one that computed something else before says nothing.

    Parameters
    ----------
    model
        Folder of the model.
    image
        An image that fits the model.
    """
    with tempfile.TemporaryDirectory(prefix="graphflow-cost-") as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image.array)
        request = {
            "id": 1,
            "op": "segment",
            "model": str(model),
            "device": device,
            "image": str(path),
            "spacing": image.spacing,
            "origin": image.origin,
            "direction": image.direction,
            "channels": image.channels,
            "whole": False,
            "out": folder,
        }
        for reply in _replies(request):
            if reply["event"] == "result":
                return int(reply["peak_bytes"])
    return None


def _replies(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request to a new inference worker, and yield its replies until the last."""
    with subprocess.Popen(
        [sys.executable, "-m", "napari_graphflow", "worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, creationflags=NO_CONSOLE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            reply = json.loads(line)
            yield reply
            if reply["event"] != "progress":
                break
        process.kill()
