"""Where the sample datasets lie that the project makes itself."""

from importlib.resources import files
from pathlib import Path

from napari_graphflow.errors import UserError

PACKAGE = Path(str(files("napari_graphflow")))


#: Inside the package in an installed wheel, beside it in a checkout.
PLACES = (PACKAGE / "sample_data", PACKAGE.parent / "sample_data")


def sample_dataset(name: str) -> Path:
    """Folder of the sample dataset ``abdomen`` or ``cell_pictures``."""
    for place in PLACES:
        if (place / name / "dataset.json").is_file():
            return place / name
    raise UserError(
        f"The sample dataset {name} is not part of this installation.", "Install it again."
    )
