"""DICOM series are found, ordered and checked by their headers."""

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
    assert_refused,
    only_series,
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
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import list_series
from napari_graphflow.imaging.files import read_volume


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE, (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)])
def test_slices_are_ordered_by_position_with_the_geometry_of_simpleitk(
    tmp_path: Path, axes: tuple[float, ...]
) -> None:
    paths = write_series(tmp_path, axes=axes)
    series = only_series(tmp_path)
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


def test_file_order_and_instance_numbers_are_ignored(tmp_path: Path) -> None:
    def renumbered(index: int, one: FileDataset) -> None:
        one.InstanceNumber = 100 - 3 * index

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=renumbered)
    one, other = read_volume(tmp_path / "a"), read_volume(tmp_path / "b")
    np.testing.assert_array_equal(one.array, other.array)


def test_series_in_a_folder_tree_are_separated_by_their_uids(tmp_path: Path) -> None:
    def other(index: int, one: FileDataset) -> None:
        one.SeriesDescription, one.SeriesNumber, one.Modality = "Lung", 9, "MR"

    write_series(tmp_path / "deep" / "a")
    write_series(tmp_path / "deep" / "a", [1.0, 2.5, 4.0], uid="9.9", change=other)
    (tmp_path / "deep" / "report.txt").write_text("nothing")
    (tmp_path / "deep" / "image.png").write_bytes(bytes(999))
    for index, path in enumerate((tmp_path / "deep" / "a").iterdir()):
        if index % 2:  # one series may be in several folders
            (tmp_path / "b").mkdir(exist_ok=True)
            path.rename(tmp_path / "b" / path.name)
    first, second = list_series(tmp_path)
    assert (first.description, first.count) == ("Abdomen 5 mm", 8)
    assert (second.description, second.count) == ("Lung", 3)
    with pytest.raises(UserError) as caught:
        read_volume(tmp_path)
    assert (
        "2 DICOM series: 1: Abdomen 5 mm (CT, 8 slices); 2: Lung (MR, 3 slices)"
        in caught.value.text
    )
    assert read_volume(tmp_path, series="Lung").shape == (3, ROWS, COLUMNS)
    with pytest.raises(UserError, match="no such"):
        read_volume(tmp_path, series="Brain")
    report = describe(tmp_path)
    assert [one["count"] for one in report["series"]] == [8, 3]
    assert report["shape"] is None and "2 series" in report["warnings"][0]


@pytest.mark.parametrize("resample", [False, True])
def test_messages_and_fields_never_identify_the_patient(tmp_path: Path, resample: bool) -> None:
    write_series(tmp_path, [0, 5, 10, 20, 25], tilt=10, axes=OBLIQUE)
    series = only_series(tmp_path)
    messages = [repr(series), series.summary(), str(describe(tmp_path))]
    with pytest.raises(UserError) as caught:
        read_volume(tmp_path)
    messages.append(str(caught.value))
    messages += read_volume(tmp_path, resample=True).warnings
    for secret in (*SECRETS, "1.2.3.4", "Erika"):
        assert not any(secret in text for text in messages)


# Slices that do not form a regular grid


def test_a_missing_slice_is_reported_and_interpolated_on_request(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 10, 20, 25, 30])
    series = only_series(tmp_path)
    assert_refused(
        series,
        "1 slice is missing",
        "distance is 5 mm",
        "10 mm between slices 3 and 4",
        resamplable=True,
    )
    assert series.spacing[0] == pytest.approx(5)
    volume = read_series(series, resample=True)
    assert volume.shape[0] == 7 and volume.spacing[0] == pytest.approx(5)
    kept = np.stack([values(index).astype(int) - 1024 for index in range(6)])
    np.testing.assert_array_equal(volume.array[[0, 1, 2, 4, 5, 6]], kept)
    np.testing.assert_array_equal(volume.array[3], np.rint((kept[2] + kept[3]) / 2))
    assert any("missing" in text for text in volume.warnings)
    assert volume.warnings[-1] == "The slices were resampled to a regular grid."


def test_two_missing_slices_are_reported(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 20, 25, 30])
    assert_refused(
        only_series(tmp_path),
        "2 slices are missing",
        "15 mm between slices 2 and 3",
        resamplable=True,
    )


def test_uneven_slices_are_resampled_on_request(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 9, 14, 21, 26])
    series = only_series(tmp_path)
    assert_refused(series, "varies between 4 and 7 mm", resamplable=True)
    volume = read_series(series, resample=True)
    assert volume.array.shape[0] == 6 and volume.spacing[0] == pytest.approx(5.2)


def test_rounded_positions_count_as_regular(tmp_path: Path) -> None:
    write_series(tmp_path, [round(0.7 * index / 3, 2) for index in range(40)])
    series = only_series(tmp_path)
    assert series.problem == ""
    assert series.spacing[0] == pytest.approx(0.7 / 3, rel=1e-3)


def test_a_duplicate_slice_is_ignored_with_a_warning(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    shutil.copy(paths[3], tmp_path / "copy of 3.dcm")
    volume = read_volume(tmp_path)
    assert volume.shape[0] == 8
    assert volume.warnings == ("1 duplicate slice is ignored.",)


def test_a_different_slice_at_the_same_position_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 5, 10, 10, 15])
    assert_refused(only_series(tmp_path), "1 slice has the same position as another one")


@pytest.mark.parametrize(
    ("keyword", "values_of", "names"),
    [
        ("TemporalPositionIdentifier", (1, 2), ("time point 1", "time point 2")),
        ("EchoTime", (2.5, 80), ("echo 2.5", "echo 80")),
        ("AcquisitionNumber", (7, 4), ("acquisition 4", "acquisition 7")),
    ],
)
def test_repeated_positions_are_split_into_two_series_by_a_header_value(
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
def test_gantry_tilt_is_reported_and_corrected_on_request(
    tmp_path: Path, tilt: float, axes: tuple[float, ...]
) -> None:
    """A column along the normal is straight after resampling."""

    def change(index: int, one: FileDataset) -> None:
        # The physical position of row 6, column 4 of the first slice, in the pixels of each slice.
        shift = np.tan(np.radians(tilt)) * 1.0 * index / 0.8
        rows = np.arange(ROWS)[:, None] - (6 - shift)
        columns = np.arange(COLUMNS)[None, :] - 4
        blob = 1000 * np.exp(-(rows**2 + columns**2) / 4)
        one.PixelData = np.rint(blob).astype(np.int16).tobytes()

    write_series(tmp_path, [1.0 * index for index in range(8)], axes=axes, tilt=tilt, change=change)
    series = only_series(tmp_path)
    assert_refused(series, "gantry tilt", f"{abs(tilt):.1f} degrees", resamplable=True)
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
def test_a_truncated_slice_is_refused_by_name(tmp_path: Path, loss: int, syntax: str) -> None:
    paths = write_series(tmp_path)
    one = pydicom.dcmread(paths[2])
    if syntax == RLELossless:
        one.compress(RLELossless)
    else:
        one.file_meta.TransferSyntaxUID = syntax
    one.save_as(paths[2], implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert only_series(tmp_path).problem == ""
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[: len(whole) - loss])
    series = only_series(tmp_path)
    assert_refused(series, f"1 file of the series is truncated: {paths[2].name}")
    assert "truncated" in describe(tmp_path)["warnings"][0]


def test_a_file_truncated_in_its_header_counts_as_missing(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    series = only_series(tmp_path)
    assert_refused(series, "1 slice is missing", resamplable=True)
    assert "1 DICOM file in the folder cannot be read." in series.warnings


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", [0.9, 0.5], "different pixel spacings"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, 1], "not parallel"),
        ("Rows", ROWS // 2, f"slices of {ROWS} x {COLUMNS} and {ROWS // 2} x {COLUMNS} pixels"),
        ("ImagePositionPatient", None, "1 slice of the series has no position"),
        ("RescaleIntercept", None, "with and without a rescale slope and intercept"),
    ],
)
def test_mixed_slices_are_refused(tmp_path: Path, keyword: str, value: Any, words: str) -> None:
    def change(index: int, one: FileDataset) -> None:
        if index == 4:
            setattr(one, keyword, value)

    write_series(tmp_path, change=change)
    assert_refused(only_series(tmp_path), words)


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


def test_single_frame_and_multi_frame_files_agree(shared_data: Path) -> None:
    for size in ("23x38x3", "24x38x3"):
        folder = shared_data / "dcmqi_dicom_seg" / size
        one, other = read_volume(folder / "image"), read_volume(folder / "multiframe/mf.dcm")
        np.testing.assert_array_equal(one.array, other.array)
        assert one.same_grid(other)


def test_real_studies_in_one_tree_are_listed_separately(shared_data: Path) -> None:
    series = list_series(shared_data / "dicom_mr_udacity")
    shapes = [(32, 51, 35), (35, 48, 36), (40, 50, 34)]
    assert [one.shape for one in series] == shapes
    assert [read_series(one).shape for one in series] == shapes
    assert len({one.description for one in series}) == 1


def test_segmentations_are_listed_but_not_read_as_images(shared_data: Path) -> None:
    series = list_series(shared_data / "dcmqi_dicom_seg")
    found = [one for one in series if one.is_segmentation]
    assert len(found) >= 4
    assert {one.modality for one in found} == {"SEG"}
    for one in found:
        assert_refused(one, "This is a segmentation, not an image")
    with pytest.raises(UserError, match="5 DICOM series"):
        read_volume(shared_data / "dcmqi_dicom_seg")


def test_series_with_equal_fields_are_equal(tmp_path: Path) -> None:
    write_series(tmp_path)
    series = only_series(tmp_path)
    assert series == only_series(tmp_path)
    assert replace(series, description="x") != series
