"""255 in masks of 0 and 255 alone is foreground, ignored or unknown, by the classes there are."""

import json

import numpy as np
import pytest
from import_cases import mask_of, scan

from napari_graphflow.dataset.cases import Dataset, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, write_volume
from napari_graphflow.imaging.labels import IGNORE


def values_in(tmp_path, labels, *values):
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    write_volume(tmp_path / "imagesTr" / "a_0000.nii.gz", scan(0))
    write_volume(tmp_path / "labelsTr" / "a.nii.gz", mask_of(scan(0), *values))
    description = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = Dataset.open(tmp_path)
    (case,) = dataset.cases
    return np.unique(read_case_labels(dataset, case).array).tolist()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "liver": 1}, [0, 1]),
        ({"background": 0, "liver": 1000}, [0, 1]),
        ({"background": 0, "liver": 1, "ignore": 2}, [0, 1]),
        ({"background": 0, "liver": 1, "ignore": 255}, [0, IGNORE]),
        ({"background": 0, "liver": 1, "spleen": 2, "ignore": 3}, [0, IGNORE]),
        ({"background": 0, "liver": 1, "spleen": 255}, [0, 2]),
    ],
)
def test_255_alone_is_read_by_the_classes_of_the_dataset(tmp_path, labels, expected):
    assert values_in(tmp_path, labels, IGNORE) == expected


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ({"background": 0, "liver": 1, "spleen": 2}, [IGNORE]),
        ({"background": 0, "liver": 1}, [1, IGNORE]),
    ],
)
def test_255_that_may_mean_anything_is_refused(tmp_path, labels, values):
    with pytest.raises(UserError, match="contains the value 255"):
        values_in(tmp_path, labels, *values)


def test_without_classes_255_alone_is_foreground_unless_the_caller_decides(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_volume(path, mask_of(scan(0), IGNORE))
    assert read_labels(path).array.max() == 1
    assert read_labels(path, white=False).array.max() == IGNORE
