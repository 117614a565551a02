"""Models of other programs, imported by the command line in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_graphflow.dataset.mask_files import has_masks
from napari_graphflow.errors import UserError

#: Shown for masks where no dataset is chosen.
MASKS_NEED_A_DATASET = UserError(
    "This is a folder of masks, which can teach but segments no image.",
    "Choose the dataset of their cases in Distil, then add the folder there as the teacher.",
)


def is_foreign(folder: Path) -> bool:
    """Whether a folder is the results folder of a training by nnU-Net v2, or a MONAI bundle."""
    trained = all((folder / name).is_file() for name in ("plans.json", "dataset.json"))
    return trained or (folder / "configs" / "metadata.json").is_file()


def is_predictions(folder: Path) -> bool:
    """Whether a folder is none of these, but holds masks."""
    known = is_foreign(folder) or ((folder / "dataset.json").is_file() and _is_dataset(folder))
    return not known and not (folder / "model.json").is_file() and has_masks(folder)


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("imagesTr", "imagesTs"))


class UnknownClassError(UserError):
    """A class of the dataset that the teacher does not know by this name."""


class UntrustedError(UserError):
    """A program of PyTorch, which is opened only if the user trusts who made it."""


def import_foreign(
    folder: Path,
    dataset: Path | None = None,
    classes: Sequence[str] = (),
    *,
    trust: bool = False,
) -> Path:
    """Import a model of another program into the models of this user, and return its folder.

    The window has no PyTorch, with which the weights are read.

    Parameters
    ----------
    folder
        The model, which may be a file; or masks for the cases of `dataset`.
    dataset
        Dataset whose classes it gets, and on which it is scored.
    classes
        Names of the teacher's classes for each class, such as ``lung=lung_left,lung_right``.
    trust
        Whether a program of PyTorch is opened.

    Raises
    ------
    UserError
        If it cannot be imported: `UnknownClassError` if names of classes are missing,
        `UntrustedError` if it must be trusted.
    """
    command = [sys.executable, "-m", "napari_graphflow", "models", "import", str(folder), "--json"]
    command += [] if dataset is None else ["--dataset", str(dataset)]
    command += ["--classes", *classes] if classes else []
    command += ["--trust"] if trust else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {}
    if done.returncode == 0 and "model" in found:
        return Path(found["model"])
    failure = found.get("failure") or found
    remedy = str(failure.get("remedy"))
    kind = UnknownClassError if "--classes" in remedy else UserError
    raise (UntrustedError if "--trust" in remedy else kind)(
        str(failure.get("text") or f"{folder.name} could not be imported."),
        str(failure.get("remedy") or f"Try: napari-graphflow models import {folder}"),
    )
