"""The recorded status of a case decides whether training uses it."""

import json
import shutil
from pathlib import Path

import pytest

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.statuses import RECORDS
from napari_graphflow.errors import UserError


@pytest.fixture
def dataset(blobs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(blobs, tmp_path / "dataset"))


def record(dataset: Path, case: str, status: str) -> Path:
    path = dataset / RECORDS / f"{case}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"status": status}), "utf-8")
    return path


def training_cases(dataset: Path) -> tuple[set[str], set[str]]:
    opened = Dataset.open(dataset)
    labelled, unlabelled = opened.labelled("train"), opened.unlabelled("train")
    return {case.name for case in labelled}, {case.name for case in unlabelled}


def test_a_dataset_without_statuses_is_used_as_it_is(dataset: Path) -> None:
    assert training_cases(dataset) == ({"blob_0", "blob_1"}, {"blob_2", "blob_3", "blob_4"})
    assert Dataset.open(dataset).held_back == ()


@pytest.mark.parametrize("status", ["flagged", "excluded"])
def test_a_case_held_back_is_used_neither_with_its_mask_nor_without(
    dataset: Path, status: str
) -> None:
    record(dataset, "blob_1", status)
    record(dataset, "blob_2", status)
    assert training_cases(dataset) == ({"blob_0"}, {"blob_3", "blob_4"})
    opened = Dataset.open(dataset)
    assert [case.name for case in opened.held_back] == ["blob_1", "blob_2"]
    assert not {"blob_1", "blob_2"} & {case.name for case in opened.cases}


def test_the_mask_of_a_case_in_review_does_not_count(dataset: Path) -> None:
    record(dataset, "blob_1", "in review")
    assert training_cases(dataset) == ({"blob_0"}, {"blob_1", "blob_2", "blob_3", "blob_4"})


@pytest.mark.parametrize("status", ["labelled", "approved"])
def test_the_mask_of_a_labelled_or_approved_case_counts(dataset: Path, status: str) -> None:
    record(dataset, "blob_1", status)
    assert "blob_1" in training_cases(dataset)[0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "done"}', "{}"])
def test_a_damaged_status_is_refused_because_its_case_might_be_excluded(
    dataset: Path, content: str
) -> None:
    record(dataset, "blob_1", "excluded").write_text(content, "utf-8")
    with pytest.raises(UserError, match=r"blob_1\.json is damaged"):
        Dataset.open(dataset)
