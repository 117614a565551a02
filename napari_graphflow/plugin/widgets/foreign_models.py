"""Models of other programs, imported by the command line in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from napari_graphflow.errors import UserError


def is_foreign(folder: Path) -> bool:
    """Whether a folder is the results folder of a training by nnU-Net v2, or a MONAI bundle."""
    trained = all((folder / name).is_file() for name in ("plans.json", "dataset.json"))
    return trained or (folder / "configs" / "metadata.json").is_file()


def import_foreign(folder: Path) -> Path:
    """Import a model of another program into the models of this user, and return its folder.

    The window has no PyTorch, with which the weights are read.

    Raises
    ------
    UserError
        If it cannot be imported.
    """
    command = [sys.executable, "-m", "napari_graphflow", "models", "import", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {}
    if done.returncode == 0 and "model" in found:
        return Path(found["model"])
    failure = found.get("failure") or found
    raise UserError(
        str(failure.get("text") or f"{folder.name} could not be imported."),
        str(failure.get("remedy") or f"Try: napari-graphflow models import {folder}"),
    )
