"""Describe some cases of a dataset as a dataset of their own, in the layout of nnU-Net v2."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.dataset.splits import read_json


def described(
    dataset: Dataset, cases: Sequence[Case], place: Callable[[Path], str]
) -> dict[str, Any]:
    """Return the content of ``dataset.json`` with a list of these cases alone.

    Parameters
    ----------
    place
        Returns the text of a path in the list.
    """
    found: dict[str, Any] = read_json(dataset.folder / "dataset.json")
    for part in ("training", "test"):
        found.pop(part, None)
    return found | {
        "name": dataset.name,
        "file_ending": dataset.file_ending,
        "dataset": {
            case.name: {"images": [*map(place, case.images)]}
            | ({"label": place(case.label)} if case.label else {})
            for case in cases
        },
    }


def splits_of(cases: Sequence[Case]) -> dict[str, list[str]]:
    """Return the content of ``splits.json`` for the training and validation cases of a list."""
    return {
        split: sorted({case.name for case in cases if case.split == split})
        for split in ("train", "val")
    }
