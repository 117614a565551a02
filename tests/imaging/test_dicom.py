"""DICOM: series are found, ordered and checked by their headers, and none is shown wrongly."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_cases import (
    AXIAL,
    COLUMNS,
    OBLIQUE,
    ROWS,
    SECRETS,
    only,
    refused,
    values,
    write_series,
)
from pydicom.dataset import FileDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.dicom.series import list_series
from napari_graphflow.imaging.files import read_series, read_volume


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)])
def test_slices_are_ordered_by_position_and_lie_where_simpleitk_puts_them(
    tmp_path: Path, axes: tuple[float, ...]
) -> None:
    paths = write_series(tmp_path, axes=axes)
    series = only(tmp_path)
    assert (series.description, series.modality, series.date) == (
        "Abdomen 5 mm",
        "CT",
        "2024-02-29",
    )
    assert (series.count, series.shape, series.problem) == (8, (8, ROWS, COLUMNS), "")
    assert series.spacing == pytest.approx((5, 0.8, 0.5), abs=1e-5)
    assert series.files == tuple(paths) and series.warnings == ()
    volume = read_volume(tmp_path)
    expected = np.stack([values(index).astype(int) - 1024 for index in range(8)])
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype == np.int16
    image = sitk.ReadImage([str(path) for path in paths])
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.spacing[::-1], image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(volume.origin, image.GetOrigin())
    np.testing.assert_allclose(volume.direction, image.GetDirection(), atol=1e-3)


def test_the_order_of_files_and_numbers_does_not_matter(tmp_path: Path) -> None:
    def renumbered(index: int, one: FileDataset) -> None:
        one.InstanceNumber = 100 - 3 * index

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=renumbered)
    one, other = read_volume(tmp_path / "a"), read_volume(tmp_path / "b")
    np.testing.assert_array_equal(one.array, other.array)


def test_series_of_a_tree_are_told_apart_by_their_uids(tmp_path: Path) -> None:
    def other(index: int, one: FileDataset) -> None:
        one.SeriesDescription, one.SeriesNumber, one.Modality = "Lung", 9, "MR"

    write_series(tmp_path / "deep" / "a")
    write_series(tmp_path / "deep" / "a", [1.0, 2.5, 4.0], uid="9.9", change=other)
    (tmp_path / "deep" / "report.txt").write_text("nothing")
    (tmp_path / "deep" / "image.png").write_bytes(bytes(999))
    for index, path in enumerate((tmp_path / "deep" / "a").iterdir()):
        if index % 2:  # one series may lie in several folders
            (tmp_path / "b").mkdir(exist_ok=True)
            path.rename(tmp_path / "b" / path.name)
    first, second = list_series(tmp_path)
    assert (first.description, first.count) == ("Abdomen 5 mm", 8)
    assert (second.description, second.count) == ("Lung", 3)
    with pytest.raises(UserError) as told:
        read_volume(tmp_path)
    assert (
        "2 DICOM series: 1: Abdomen 5 mm (CT, 8 slices); 2: Lung (MR, 3 slices)" in told.value.text
    )
    assert read_volume(tmp_path, series="Lung").shape == (3, ROWS, COLUMNS)
    with pytest.raises(UserError, match="no such"):
        read_volume(tmp_path, series="Brain")
    told_of = describe(tmp_path)
    assert [one["count"] for one in told_of["series"]] == [8, 3]
    assert told_of["shape"] is None and "2 series" in told_of["warnings"][0]


@pytest.mark.parametrize("resample", [False, True])
def test_no_patient_is_named(tmp_path: Path, resample: bool) -> None:
    write_series(tmp_path, [0, 5, 10, 20, 25], tilt=10, axes=OBLIQUE)
    series = only(tmp_path)
    said = [repr(series), series.summary(), str(describe(tmp_path))]
    with pytest.raises(UserError) as told:
        read_volume(tmp_path)
    said.append(str(told.value))
    said += read_volume(tmp_path, resample=True).warnings
    for secret in (*SECRETS, "1.2.3.4", "Erika"):
        assert not any(secret in text for text in said)


# Slices that make no box


def test_a_missing_slice(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 10, 20, 25, 30])
    series = only(tmp_path)
    refused(
        series, "1 slice is missing", "5 mm apart", "slices 3 and 4 lie 10 mm", resamplable=True
    )
    assert series.spacing[0] == pytest.approx(5)
    volume = read_series(series, resample=True)
    assert volume.shape[0] == 7 and volume.spacing[0] == pytest.approx(5)
    kept = np.stack([values(index).astype(int) - 1024 for index in range(6)])
    np.testing.assert_array_equal(volume.array[[0, 1, 2, 4, 5, 6]], kept)
    np.testing.assert_array_equal(volume.array[3], np.rint((kept[2] + kept[3]) / 2))
    assert any("missing" in said for said in volume.warnings)
    assert volume.warnings[-1] == "The slices were resampled to even ones."


def test_two_missing_slices(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 20, 25, 30])
    refused(only(tmp_path), "2 slices are missing", "slices 2 and 3 lie 15 mm", resamplable=True)


def test_uneven_slices(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 9, 14, 21, 26])
    series = only(tmp_path)
    refused(series, "unevenly, between 4 and 7 mm apart", resamplable=True)
    volume = read_series(series, resample=True)
    assert volume.array.shape[0] == 6 and volume.spacing[0] == pytest.approx(5.2)


def test_positions_rounded_by_the_scanner_are_even(tmp_path: Path) -> None:
    write_series(tmp_path, [round(0.7 * index / 3, 2) for index in range(40)])
    series = only(tmp_path)
    assert series.problem == ""
    assert series.spacing[0] == pytest.approx(0.7 / 3, rel=1e-3)


def test_a_slice_stored_twice_is_left_out_and_told(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    shutil.copy(paths[3], tmp_path / "copy of 3.dcm")
    volume = read_volume(tmp_path)
    assert volume.shape[0] == 8
    assert volume.warnings == ("1 slice stored a second time is left out.",)


def test_another_slice_at_the_same_place(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 10, 10, 15])
    refused(only(tmp_path), "1 slice lies at the same place as another one")


@pytest.mark.parametrize(
    ("keyword", "values_of", "names"),
    [
        ("TemporalPositionIdentifier", (1, 2), ("time point 1", "time point 2")),
        ("EchoTime", (2.5, 80), ("echo 2.5", "echo 80")),
        ("AcquisitionNumber", (7, 4), ("acquisition 4", "acquisition 7")),
    ],
)
def test_two_passes_over_the_same_places_become_two_series(
    tmp_path: Path, keyword: str, values_of: tuple[float, float], names: tuple[str, str]
) -> None:
    for number, value in enumerate(values_of):

        def change(
            index: int, one: FileDataset, value: float = value, number: int = number
        ) -> None:
            setattr(one, keyword, value)
            one.PixelData = (values(index) * 0 + number).tobytes()

        write_series(tmp_path / str(number), change=change)
    series = list_series(tmp_path)
    assert [one.description for one in series] == [f"Abdomen 5 mm - {name}" for name in names]
    assert [one.count for one in series] == [8, 8]
    means = [read_series(one).array.mean() + 1024 for one in series]
    assert sorted(means) == [0, 1]


@pytest.mark.parametrize("tilt", [-12.0, 20.0])
@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE])
def test_gantry_tilt(tmp_path: Path, tilt: float, axes: tuple[float, ...]) -> None:
    """A column along the normal stays one, once the slices are shifted back."""

    def change(index: int, one: FileDataset) -> None:
        # The place in the world of row 6, column 4 of the first slice, found in each slice.
        shift = np.tan(np.radians(tilt)) * 1.0 * index / 0.8
        rows = np.arange(ROWS)[:, None] - (6 - shift)
        columns = np.arange(COLUMNS)[None, :] - 4
        blob = 1000 * np.exp(-(rows**2 + columns**2) / 4)
        one.PixelData = np.rint(blob).astype(np.int16).tobytes()

    write_series(tmp_path, [1.0 * index for index in range(8)], axes=axes, tilt=tilt, change=change)
    series = only(tmp_path)
    refused(series, "gantry tilt", f"{abs(tilt):.1f} degrees", resamplable=True)
    volume = read_series(series, resample=True)
    assert volume.shape[0] == 8
    x, y = np.array(axes[:3]), np.array(axes[3:])
    point = np.array([-20.0, 30.0, -100.0]) + 6 * 0.8 * y + 4 * 0.5 * x
    for index in range(8):
        world = point + index * np.cross(x, y)
        image = sitk.GetImageFromArray(volume.array)
        image.SetSpacing(volume.spacing[::-1])
        image.SetOrigin(volume.origin)
        image.SetDirection(volume.direction)
        at = np.array(image.TransformPhysicalPointToContinuousIndex(world.tolist()))
        assert at[2] == pytest.approx(index, abs=1e-2)
        plane = volume.array[index].astype(float) + 1024
        rows, columns = np.indices(plane.shape)
        centre = [(plane * one).sum() / plane.sum() for one in (columns, rows)]
        if 2 < centre[1] < plane.shape[0] - 3:
            assert centre == pytest.approx(at[:2], abs=0.15)


@pytest.mark.parametrize("loss", [1, 100, 200])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_a_slice_cut_off(tmp_path: Path, loss: int, syntax: str) -> None:
    paths = write_series(tmp_path)
    one = pydicom.dcmread(paths[2])
    if syntax == RLELossless:
        one.compress(RLELossless)
    else:
        one.file_meta.TransferSyntaxUID = syntax
    one.save_as(paths[2], implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert only(tmp_path).problem == ""
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[: len(whole) - loss])
    series = only(tmp_path)
    refused(series, f"1 file of the series is cut off: {paths[2].name}")
    assert "cut off" in describe(tmp_path)["warnings"][0]


def test_a_file_cut_off_in_its_header(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    series = only(tmp_path)
    refused(series, "1 slice is missing", resamplable=True)
    assert "1 DICOM file of the folder cannot be read." in series.warnings


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", [0.9, 0.5], "different pixel sizes"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, 1], "not parallel"),
        ("Rows", ROWS // 2, f"slices of {ROWS} x {COLUMNS} and {ROWS // 2} x {COLUMNS} pixels"),
        ("ImagePositionPatient", None, "1 slice of the series gives no position"),
    ],
)
def test_slices_of_several_kinds(tmp_path: Path, keyword: str, value: Any, words: str) -> None:
    def change(index: int, one: FileDataset) -> None:
        if index == 4:
            setattr(one, keyword, value)

    write_series(tmp_path, change=change)
    refused(only(tmp_path), words)


# Real files


def test_real_series_are_read_as_by_simpleitk(shared_data: Path) -> None:
    folders = [*(shared_data / "dicom_mr_udacity").glob("Study?/*")]
    folders += [shared_data / "dcmqi_dicom_seg" / name / "image" for name in ("23x38x3", "24x38x3")]
    folders += [shared_data / "dcmqi_dicom_seg" / "ct-3slice"]
    assert len(folders) == 6
    for folder in folders:
        volume = read_volume(folder)
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(volume.spacing[::-1], image.GetSpacing(), atol=1e-6)
        np.testing.assert_allclose(volume.origin, image.GetOrigin())
        assert volume.warnings == ()


def test_single_and_multi_frame_agree(shared_data: Path) -> None:
    for size in ("23x38x3", "24x38x3"):
        folder = shared_data / "dcmqi_dicom_seg" / size
        one, other = read_volume(folder / "image"), read_volume(folder / "multiframe/mf.dcm")
        np.testing.assert_array_equal(one.array, other.array)
        assert one.same_grid(other)


def test_a_tree_of_real_studies(shared_data: Path) -> None:
    series = list_series(shared_data / "dicom_mr_udacity")
    shapes = [(32, 51, 35), (35, 48, 36), (40, 50, 34)]
    assert [one.shape for one in series] == shapes
    assert [read_series(one).shape for one in series] == shapes
    assert len({one.description for one in series}) == 1


def test_segmentations_are_listed_but_not_taken_for_images(shared_data: Path) -> None:
    series = list_series(shared_data / "dcmqi_dicom_seg")
    found = [one for one in series if one.is_segmentation]
    assert len(found) >= 4
    assert {one.modality for one in found} == {"SEG"}
    for one in found:
        refused(one, "This is a segmentation, not an image")
    with pytest.raises(UserError, match="5 DICOM series"):
        read_volume(shared_data / "dcmqi_dicom_seg")


def test_series_are_compared_without_their_slices(tmp_path: Path) -> None:
    write_series(tmp_path)
    series = only(tmp_path)
    assert series == only(tmp_path)
    assert replace(series, description="x") != series
