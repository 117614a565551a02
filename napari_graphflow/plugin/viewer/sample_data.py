"""File > Open Sample: a generated abdomen phantom and generated 2D images of cells."""

import napari
from napari.types import LayerDataTuple

from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer
from napari_graphflow.plugin.viewer.session import start_session


def abdomen_labelled() -> list[LayerDataTuple]:
    """Open an abdomen phantom with its mask."""
    return _open("abdomen", labelled=True)


def abdomen_unlabelled() -> list[LayerDataTuple]:
    """Open an abdomen phantom without a mask."""
    return _open("abdomen", labelled=False)


def cells() -> list[LayerDataTuple]:
    """Open a 2D image of cells with its mask."""
    return _open("cell_pictures", labelled=True)


def _open(name: str, *, labelled: bool) -> list[LayerDataTuple]:
    dataset = Dataset.open(sample_dataset(name))
    start_session(napari.current_viewer())
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
