"""Datasets: folders of cases in the raw layout of nnU-Net v2, some of them without a mask."""

from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels

__all__ = ["Case", "Dataset", "read_case", "read_case_labels"]
