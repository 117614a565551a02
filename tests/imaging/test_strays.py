"""Localisers, reports and single images in a DICOM series are left out, and said to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_cases import AXIAL, COLUMNS, ROWS, assert_refused, only_series, values, write_series
from pydicom.uid import SecondaryCaptureImageStorage

from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.files import read_volume

CORONAL, SAGITTAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def add_image(folder: Path, number: int, fields: dict[str, Any], size: Sequence[int] = ()) -> None:
    """Write another image of the same series."""

    def change(_: int, one: Any) -> None:
        for keyword, value in fields.items():
            setattr(one, keyword, list(value) if isinstance(value, tuple) else value)
        if size:
            one.Rows, one.Columns = size
            one.PixelData = np.zeros(size, np.int16).tobytes()

    (path,) = write_series(folder / f"{number}", [40.0], change=change)
    path.rename(folder / f"a{number}.dcm")


@pytest.mark.parametrize("size", [(ROWS, COLUMNS), (40, 30)])
@pytest.mark.parametrize("axes", [(CORONAL,), (CORONAL, SAGITTAL), (AXIAL,)])
def test_localisers_are_left_out_of_the_stack(
    tmp_path: Path, axes: tuple[tuple[float, ...], ...], size: tuple[int, int]
) -> None:
    write_series(tmp_path)
    for number, one in enumerate(axes):
        kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        fields = {"ImageType": kind, "ImageOrientationPatient": one, "PixelSpacing": [2, 2]}
        add_image(tmp_path, number, fields, size)
    volume = read_volume(tmp_path)
    assert volume.spacing == (5.0, 0.8, 0.5) and volume.origin == (-20.0, 30.0, -100.0)
    np.testing.assert_array_equal(volume.array[3], values(3) - 1024)
    assert volume.shape == (8, ROWS, COLUMNS)
    many = "s (scout) are" if len(axes) > 1 else " (scout) is"
    assert volume.warnings == (f"{len(axes)} localiser image{many} left out.",)
    assert describe(tmp_path)["series"][0]["count"] == 8


@pytest.mark.parametrize(
    "fields",
    [
        {"ImageOrientationPatient": CORONAL},
        {"ImageOrientationPatient": CORONAL, "PixelSpacing": [2, 2]},
        {"ImagePositionPatient": [-120.0, 30.0, -80.0]},
    ],
)
def test_an_image_beside_the_stack_is_left_out(tmp_path: Path, fields: dict[str, Any]) -> None:
    write_series(tmp_path)
    add_image(tmp_path, 0, fields)
    volume = read_volume(tmp_path)
    assert volume.shape == (8, ROWS, COLUMNS)
    assert volume.warnings == ("1 image beside the stack of slices is left out.",)


def test_reports_and_screenshots_in_a_series_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path)
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    kind = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    add_image(tmp_path, 0, nowhere | {"ImageType": kind}, (50, 60))
    add_image(tmp_path, 1, nowhere | {"SOPClassUID": SecondaryCaptureImageStorage})
    volume = read_volume(tmp_path)
    assert volume.shape == (8, ROWS, COLUMNS)
    assert volume.warnings == (
        "2 images without a position, such as a report or screenshot, are left out.",
    )


def test_an_image_that_may_be_a_damaged_slice_is_not_left_out(tmp_path: Path) -> None:
    def change(index: int, one: Any) -> None:
        if index == 4:
            one.ImageOrientationPatient = list(CORONAL)

    write_series(tmp_path, change=change)
    assert_refused(only_series(tmp_path), "not parallel")


def test_a_series_of_localisers_alone_is_listed(tmp_path: Path) -> None:
    write_series(tmp_path, change=lambda _, one: setattr(one, "ImageType", ["LOCALIZER"]))
    assert only_series(tmp_path).count == 8 and not only_series(tmp_path).warnings


def test_other_images_beside_a_series_are_counted_and_never_read_instead(tmp_path: Path) -> None:
    write_series(tmp_path)
    for name in ("mask.nii.gz", "note.png", "._scan.nii.gz", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"no image")
    volume = read_volume(tmp_path)
    assert volume.shape == (8, ROWS, COLUMNS)
    (warning,) = volume.warnings
    assert warning == "2 other images in the folder are left out: mask.nii.gz, note.png."
