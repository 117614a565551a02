"""Locate the sample datasets of this project."""

from importlib.resources import files
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.system.folders import data_root

PACKAGE = Path(str(files("napari_graphflow")))
#: Inside the package in an installed wheel, next to it in a checkout.
FOLDERS = (PACKAGE / "sample_data", PACKAGE.parent / "sample_data")


def sample_dataset(name: str) -> Path:
    """Return the folder of the sample dataset ``abdomen`` or ``cell_pictures``.

    ``nnunet_results`` is a network that was trained elsewhere, for the tutorial on those.

    Raises
    ------
    UserError
        If the sample data is not installed.
    """
    for folder in FOLDERS:
        if (folder / name / "dataset.json").is_file():
            return folder / name
    raise UserError(
        f"The sample dataset {name} is not part of this installation.",
        "Reinstall napari-graphflow.",
    )


def tutorial_copy(name: str) -> Path:
    """Return where the tutorials copy a sample to, in the data folder of this user."""
    return data_root() / "tutorial" / name
