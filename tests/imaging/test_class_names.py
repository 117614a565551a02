"""Class names beside a mask are read, or refused: without them its values mean something else."""

import json
from pathlib import Path

import nibabel
import numpy as np
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


def labelled_mask(path: Path, table: str, code: int = 0) -> Path:
    """Write a mask with an XML extension, as TotalSegmentator does with ``--ml``."""
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    head = '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension><VolumeInformation Index="0">'
    text = f"{head}<LabelTable>{table}</LabelTable></VolumeInformation></CaretExtension>"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"a comment"))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, text.encode()))
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("code", [0, 30])
def test_names_in_the_header_of_a_mask_are_read(tmp_path: Path, name: str, code: int) -> None:
    table = "".join(
        f'<Label Key="{key}" Red="1" Green="0" Blue="0" Alpha="1"><![CDATA[{structure}]]></Label>'
        for key, structure in enumerate(["???", "spleen", "kidney_right"])
    )
    path = labelled_mask(tmp_path / name, table, code)
    assert read_class_names(path) == {"spleen": 1, "kidney_right": 2}
    path.with_name(f"{name}.labels.json").write_text('{"labels": {"liver": 1}}')
    assert read_class_names(path) == {"liver": 1}, "names beside a mask come first"


def test_a_table_in_the_header_that_names_two_labels_alike_is_refused(tmp_path: Path) -> None:
    table = '<Label Key="1">liver</Label><Label Key="2">liver</Label>'
    with pytest.raises(UserError, match="there twice"):
        read_class_names(labelled_mask(tmp_path / "a.nii.gz", table))


@pytest.mark.parametrize(
    "table",
    [
        '<Label Key="1">liver',
        '<Label Key="one">liver</Label>',
        '<!DOCTYPE x [<!ENTITY a "liver">]><Label Key="1">&a;</Label>',
        "",
    ],
)
def test_a_damaged_table_in_the_header_is_no_table(tmp_path: Path, table: str) -> None:
    assert read_class_names(labelled_mask(tmp_path / "a.nii.gz", table)) == {}
