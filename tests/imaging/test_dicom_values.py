"""Values of DICOM slices, single files and multi-frame files."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_cases import (
    AXIAL,
    COLUMNS,
    ROWS,
    assert_refused,
    header,
    only_series,
    values,
    write_series,
)
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    MRImageStorage,
    RLELossless,
)

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import has_dicom, list_series
from napari_graphflow.imaging.files import read_volume

# Values


def test_slope_and_intercept_are_applied_per_slice(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.Modality, one.SOPClassUID = "MR", MRImageStorage
        one.file_meta.MediaStorageSOPClassUID = MRImageStorage
        one.RescaleSlope, one.RescaleIntercept = 0.5 + index / 4, -index / 8

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    expected = [values(index) * (0.5 + index / 4) - index / 8 for index in range(8)]
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)


def test_scaled_integers_are_not_wrapped(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.RescaleIntercept = 0
        one.RescaleSlope = 1 if index < 4 else 100

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.int32
    np.testing.assert_array_equal(volume.array[7], values(7).astype(int) * 100)
    np.testing.assert_array_equal(volume.array[0], values(0))


def test_unsigned_values_above_32767_are_kept(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.PixelRepresentation, one.RescaleIntercept = 0, 0
        one.PixelData = (values(index).astype(np.uint16) + 60000).tobytes()

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array[3], values(3).astype(int) + 60000)


def test_colour_slices_become_channels(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS, 3)).astype(np.uint8)

    def change(index: int, one: FileDataset) -> None:
        one.SamplesPerPixel, one.PlanarConfiguration, one.PhotometricInterpretation = 3, 0, "RGB"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
        one.PixelData = rgb.tobytes()
        del one.RescaleSlope, one.RescaleIntercept

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    assert volume.channels and volume.array.shape == (8, ROWS, COLUMNS, 3)
    np.testing.assert_array_equal(volume.array[5], rgb)


def test_inverted_grey_values_cause_a_warning(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path, change=change)
    assert "MONOCHROME1" in " ".join(read_volume(tmp_path).warnings)


def test_big_endian_and_compressed_slices_are_read(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    before = read_volume(tmp_path)
    one = pydicom.dcmread(paths[1])
    one.compress(RLELossless)
    one.save_as(paths[1])
    two, little = Dataset(), header(2, "1.2.3.4.5", AXIAL, np.array([-20.0, 30.0, -90.0]))
    two.update(little)
    two.file_meta = little.file_meta
    two.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    two.PixelData = values(2).astype(">i2").tobytes()
    two.save_as(paths[2], enforce_file_format=True)
    after = read_volume(tmp_path)
    np.testing.assert_array_equal(before.array, after.array)
    assert after.warnings == ()


# One file


def test_a_single_slice_is_read_with_a_warning(tmp_path: Path) -> None:
    path = write_series(tmp_path)[3]
    volume = read_volume(path)
    assert volume.shape == (1, ROWS, COLUMNS) and volume.spacing == (5, 0.8, 0.5)
    np.testing.assert_array_equal(volume.array[0], values(3).astype(int) - 1024)
    assert volume.origin == pytest.approx((-20, 30, -85))
    assert "single slice" in volume.warnings[-1]


def test_a_projection_is_read_as_a_2d_image(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.Modality = "DX"
        del one.ImagePositionPatient, one.ImageOrientationPatient, one.SliceThickness
        del one.PixelSpacing
        one.ImagerPixelSpacing = [0.2, 0.1]

    write_series(tmp_path, [0.0], change=change)
    volume = read_volume(tmp_path)
    assert volume.shape == (ROWS, COLUMNS) and volume.spacing == (0.2, 0.1)
    assert "detector" in volume.warnings[0]


def test_missing_spacings_are_assumed_as_1_mm_with_a_warning(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        del one.PixelSpacing, one.SliceThickness

    write_series(tmp_path, [0.0], change=change)
    volume = read_volume(tmp_path)
    assert volume.spacing == (1, 1, 1)
    assert sum("1 mm is assumed" in text for text in volume.warnings) == 2


def test_slices_without_positions_are_ordered_by_instance_number(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.InstanceNumber = 8 - index
        del one.ImagePositionPatient

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array[0], values(7).astype(int) - 1024)
    assert volume.spacing[0] == 5 and "ordered by instance number" in volume.warnings[0]


def _multiframe(path: Path, distances: list[float], slopes: list[float]) -> None:
    """Write an enhanced multi-frame object with unordered frames."""
    one = header(0, "7.7", AXIAL, np.zeros(3))
    del one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing
    del one.RescaleSlope, one.RescaleIntercept, one.SliceThickness
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    one.NumberOfFrames = len(distances)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.5], 5
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for distance, slope in zip(distances, slopes, strict=True):
        frame, position, scale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [1.0, 2.0, distance]
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = slope, -10, "US"
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    one.PixelData = b"".join(values(index).tobytes() for index in range(len(distances)))
    one.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("slopes", [[1, 1, 1, 1], [2, 2, 2, 2], [0.5, 1, 1.5, 2]])
def test_frames_of_a_multi_frame_file_become_slices(tmp_path: Path, slopes: list[float]) -> None:
    _multiframe(tmp_path / "enhanced.dcm", [10, 0, 15, 5], slopes)
    volume = read_volume(tmp_path / "enhanced.dcm")
    assert volume.shape == (4, ROWS, COLUMNS) and volume.spacing == (5, 0.8, 0.5)
    assert volume.origin == (1, 2, 0) and volume.warnings == ()
    for index, frame in enumerate([1, 3, 0, 2]):
        np.testing.assert_allclose(volume.array[index], values(frame) * slopes[frame] - 10.0)


def test_a_gap_between_frames_is_reported(tmp_path: Path) -> None:
    _multiframe(tmp_path / "enhanced.dcm", [10, 0, 25, 5], [1, 1, 1, 1])
    assert_refused(only_series(tmp_path), "2 slices are missing", resamplable=True)


def test_frames_without_positions_are_stacked_with_a_warning(tmp_path: Path) -> None:
    one = header(0, "7.7", AXIAL, np.zeros(3))
    del one.ImagePositionPatient, one.ImageOrientationPatient, one.SliceThickness
    one.Modality, one.NumberOfFrames = "US", 3
    one.PixelData = b"".join(values(index).tobytes() for index in range(3))
    one.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    volume = read_volume(tmp_path / "film.dcm")
    assert volume.shape == (3, ROWS, COLUMNS)
    assert any("no positions" in text for text in volume.warnings)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("nothing of the kind " * 50)
    (tmp_path / "broken.dcm").write_bytes(bytes(2000))
    assert list_series(tmp_path) == [] and not has_dicom(tmp_path)
    with pytest.raises(UserError, match="no DICOM images"):
        read_volume(tmp_path)
    write_series(tmp_path / "a" / "b")
    assert has_dicom(tmp_path)


def test_an_intensity_scale_of_zero_is_ignored_with_a_warning(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        one.RescaleSlope, one.RescaleIntercept = 0 if index == 4 else 2, 0

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array[4], values(4))
    np.testing.assert_array_equal(volume.array[3], 2 * values(3))
    assert "an intensity scale of 0 for some slices" in " ".join(volume.warnings)


def test_a_ct_without_rescale_tags_causes_a_warning(tmp_path: Path) -> None:
    def change(index: int, one: FileDataset) -> None:
        del one.RescaleSlope, one.RescaleIntercept

    write_series(tmp_path, change=change)
    assert any("may not be Hounsfield units" in text for text in read_volume(tmp_path).warnings)


@pytest.mark.parametrize(
    ("value", "limit"), [(3000, None), (32767, None), (2900, 3100), (3100, 2900), (-2000, None)]
)
def test_padding_outside_the_field_of_view_is_read_as_the_smallest_value(
    tmp_path: Path, value: int, limit: int | None
) -> None:
    def change(index: int, one: FileDataset) -> None:
        stored = values(index)
        stored[:, :2] = value if limit is None else 3000
        one.PixelData, one.PixelPaddingValue = stored.tobytes(), value
        if limit is not None:
            one.PixelPaddingRangeLimit = limit

    write_series(tmp_path, change=change)
    volume = read_volume(tmp_path)
    rest = volume.array[:, :, 2:]
    np.testing.assert_array_equal(rest, [values(index)[:, 2:] - 1024 for index in range(8)])
    expected = value - 1024 if value < 0 else rest.min()
    assert (volume.array[:, :, :2] == expected).all()
    assert any("padding" in text for text in volume.warnings) == (value > 0)


def test_the_padding_value_inside_the_body_is_an_intensity(tmp_path: Path) -> None:
    write_series(tmp_path, change=lambda index, one: setattr(one, "PixelPaddingValue", 1024))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, [values(index) - 1024 for index in range(8)])
