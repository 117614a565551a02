"""Class names beside a mask are read, or refused: without them its values mean something else."""

import json
from pathlib import Path

import pytest

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import described_names, names_in, read_class_names


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.nii.gz.labels.json"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        '{"labels": {"liver": 2, "spleen": 1}}',
        '{"liver": 2, "spleen": "1"}',
        '{"labels": {"1": "spleen", "2": "liver"}}',
        '\ufeff{"liver": 2, "spleen": 1}',
    ],
)
def test_names_are_read_in_every_form(tmp_path: Path, text: str) -> None:
    assert names_in(write(tmp_path, text)) == {"liver": 2, "spleen": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"labels": {"liver": 2, "spleen": 1},}',
        "[1, 2]",
        '{"labels": [1, 2]}',
        '{"labels": null}',
        '{"labels": {"liver": 1.5}}',
        '{"labels": {"liver": -1}}',
        '{"labels": {"liver": [1, 2]}}',
        '{"liver": 2, "note": "by hand"}',
        '{"liver": 1, "liver": 2}',
        '{"liver": 1, "spleen": 1}',
        '{"1": "liver", "2": "liver"}',
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"names in a\.nii\.gz\.labels\.json cannot be read"):
        names_in(write(tmp_path, text))


def test_without_a_file_there_are_no_names(tmp_path: Path) -> None:
    assert names_in(tmp_path / "a.nii.gz.labels.json") == {}
    assert described_names(tmp_path / "dataset.json") == {}


def test_a_description_without_plain_names_has_none(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    for content in ({"name": "x"}, {"labels": {"whole": [1, 2], "core": [2]}}):
        path.write_text(json.dumps(content))
        assert described_names(path) == {}
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        described_names(path)


def test_the_file_of_names_may_lack_the_suffix_of_the_mask(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    (tmp_path / "a.labels.json").write_text('{"liver": 2}')
    assert read_class_names(tmp_path / "a.nii.gz") == {"liver": 2}
    (tmp_path / "a.nii.gz.labels.json").write_text('{"liver": 3}')
    assert read_class_names(tmp_path / "a.nii.gz") == {"liver": 3}
