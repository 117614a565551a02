"""Channels of one case in several files are told from the files of numbered patients."""

import json
from pathlib import Path

import pytest

from napari_graphflow.imaging.channel_files import case_of_file, channel_group
from napari_graphflow.imaging.formats.endings import split_channel


def write(folder: Path, *stems: str) -> list[Path]:
    paths = [folder / f"{stem}.nii.gz" for stem in stems]
    for path in paths:
        path.touch()
    return paths


def groups(folder: Path, *stems: str) -> set[str]:
    return {channel_group(path) for path in write(folder, *stems)}


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("brain_002_0001", ("brain_002", 1)),
        ("brain_0000", ("brain", 0)),
        ("brain_002", ("brain_002", None)),
        ("_0000", ("_0000", None)),
        ("brain_00001", ("brain_00001", None)),
    ],
)
def test_a_stem_is_split_at_four_digits(stem: str, expected: tuple[str, int | None]) -> None:
    assert split_channel(stem) == expected


@pytest.mark.parametrize("count", [1, 2, 4, 12])
def test_numbered_files_of_one_name_are_patients(tmp_path: Path, count: int) -> None:
    assert groups(tmp_path, *(f"scan_{number:04}" for number in range(count))) == {""}


def test_cases_with_the_same_channels_confirm_each_other(tmp_path: Path) -> None:
    found = groups(tmp_path, "a_0000", "a_0001", "b_0000", "b_0001", "a_seg")
    assert found == {str(tmp_path / "a"), str(tmp_path / "b"), ""}


@pytest.mark.parametrize("other", ["b_0000", "b_0001", "b_0002"])
def test_cases_with_other_numbers_do_not(tmp_path: Path, other: str) -> None:
    assert groups(tmp_path, "a_0000", "a_0001", other) == {""}


@pytest.mark.parametrize("where", [".", ".."])
@pytest.mark.parametrize(("channels", "joined"), [(1, False), (2, True), (3, True)])
def test_the_description_of_a_dataset_decides(
    tmp_path: Path, where: str, channels: int, joined: bool
) -> None:
    folder = tmp_path / "imagesTr"
    folder.mkdir()
    names = {"channel_names": {str(number): "MR" for number in range(channels)}}
    (folder / where / "dataset.json").write_text(json.dumps(names), "utf-8")
    assert groups(folder, "a_0000", "a_0001") == {str(folder / "a") if joined else ""}
    assert groups(folder, *(f"scan_{number:04}" for number in range(4))) == {""}


def test_only_a_number_of_a_channel_is_left_out_of_the_name_of_a_case(tmp_path: Path) -> None:
    (alone,) = write(tmp_path, "liver_7_0000")
    assert case_of_file(alone) == "liver_7"
    first, second = write(tmp_path, "scan_0000", "scan_0001")
    assert [case_of_file(first), case_of_file(second)] == ["scan_0000", "scan_0001"]
    assert case_of_file(Path("absent/brain_0000.nii.gz")) == "brain"
