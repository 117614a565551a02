"""Models of other programs, imported by the command line in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.mask_files import has_masks, is_nnunet_training
from napari_graphflow.errors import UserError
from napari_graphflow.system.failures import Failure

#: Shown for masks where no dataset is chosen.
MASKS_NEED_A_DATASET = UserError(
    "This is a folder of masks, which can teach but segments no image.",
    "Choose the dataset of their cases in Distil, then add the folder there as the teacher.",
)


def is_foreign(folder: Path) -> bool:
    """Whether a folder is the results folder of a training by nnU-Net v2, or a MONAI bundle."""
    return is_nnunet_training(folder) or (folder / "configs" / "metadata.json").is_file()


def is_predictions(folder: Path) -> bool:
    """Whether a folder is none of these, but holds masks."""
    known = is_foreign(folder) or ((folder / "dataset.json").is_file() and _is_dataset(folder))
    return not known and not (folder / "model.json").is_file() and has_masks(folder)


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("imagesTr", "imagesTs"))


@dataclass(frozen=True)
class ForeignModel:
    """What is imported.

    Attributes
    ----------
    path
        The model, which may be a file; or masks for the cases of `dataset`.
    dataset
        Dataset whose classes it gets, and on which it is scored.
    classes
        Names of the teacher's classes for each class, such as ``lung=lung_left,lung_right``.
    card
        Description of a network in a file.
    trust
        Whether a program of PyTorch is opened.
    force
        Whether it is kept although it is poor on the dataset.
    """

    path: Path
    dataset: Path | None = None
    classes: Sequence[str] = ()
    card: ModelCard | None = None
    trust: bool = False
    force: bool = False


def import_foreign(model: ForeignModel) -> Path:
    """Import a model of another program into the models of this user, and return its folder.

    The window has no PyTorch, with which the weights are read.

    Raises
    ------
    UserError
        If it cannot be imported; its code says what the user can be asked.
    """
    path = model.path
    command = [sys.executable, "-m", "napari_graphflow", "models", "import", str(path), "--json"]
    command += [] if model.dataset is None else ["--dataset", str(model.dataset)]
    command += ["--classes", *model.classes] if model.classes else []
    command += ["--trust"] if model.trust else []
    command += ["--force"] if model.force else []
    with TemporaryDirectory() as place:
        if model.card is not None:
            card = Path(place) / "card.json"
            card.write_text(model.card.model_dump_json(), "utf-8")
            command += ["--card", str(card)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {}
    if done.returncode == 0 and "model" in found:
        return Path(found["model"])
    if "failure" in found:
        raise Failure.model_validate(found["failure"]).as_error()
    raise UserError(
        f"{path.name} could not be imported.", f"Try: napari-graphflow models import {path}"
    )
