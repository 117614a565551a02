"""Datasets: folders of cases in the raw layout of nnU-Net v2, some of them without a mask."""

from napari_graphflow.dataset.checking import Finding, check
from napari_graphflow.dataset.facts import fingerprint
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.dataset.layout import (
    IGNORE,
    Case,
    Dataset,
    Split,
    read_case,
    read_case_labels,
)

__all__ = [
    "IGNORE",
    "Case",
    "Dataset",
    "Finding",
    "Split",
    "check",
    "fingerprint",
    "import_dataset",
    "read_case",
    "read_case_labels",
]
