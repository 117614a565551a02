"""File > Open Sample: what this project draws itself, a phantom of the abdomen and pictures."""

from pathlib import Path

import napari
from napari.types import LayerDataTuple

import napari_graphflow
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer
from napari_graphflow.plugin.viewer.session import attend

PACKAGE = Path(napari_graphflow.__file__).parent


#: Inside the package of a wheel, beside it in a checkout.
PLACES = (PACKAGE / "sample_data", PACKAGE.parent / "sample_data")


def sample_dataset(name: str = "abdomen") -> Path | None:
    """Folder of a sample dataset, or None where the samples were left out of an installation."""
    found = (file.parent for place in PLACES for file in place.glob(f"*{name}*/dataset.json"))
    return next(found, None)


def abdomen_labelled() -> list[LayerDataTuple]:
    """Open a phantom of the abdomen with its mask."""
    return _open("abdomen", labelled=True)


def abdomen_unlabelled() -> list[LayerDataTuple]:
    """Open a phantom of the abdomen without a mask."""
    return _open("abdomen", labelled=False)


def picture() -> list[LayerDataTuple]:
    """Open a picture of cells with its mask."""
    return _open("cell", labelled=True)


def _open(name: str, labelled: bool) -> list[LayerDataTuple]:
    folder = sample_dataset(name)
    if folder is None:
        raise UserError("The samples are not part of this installation.", "Install it again.")
    attend(napari.current_viewer())
    dataset = Dataset.open(folder)
    cases = dataset.labelled("train") if labelled else dataset.unlabelled("train")
    return _layers(dataset, cases[0])


def _layers(dataset: Dataset, case: Case) -> list[LayerDataTuple]:
    image = read_case(case)
    layers = image_layers(image, case.name, case.images[0])
    if case.label is not None:
        labels = read_case_labels(dataset, case, image)
        layers.append(
            labels_layer(labels, f"{case.name} mask", classes=dataset.classes, path=case.label)
        )
    return layers
