"""Radiotherapy doses (RTDOSE): voxels in Gy, frames at their offsets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_cases import OBLIQUE, assert_refused, header, only_series
from numpy.typing import NDArray
from pydicom.uid import RLELossless, RTDoseStorage

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.files import read_volume

FRAMES, SHAPE = 7, (20, 16)
FIRST = np.array([-12.0, -34.0, 56.0])
FLIPPED = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def doses(dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 60000, (FRAMES, *SHAPE)).astype(dtype)


def write(
    folder: Path,
    offsets: Any,
    *,
    axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    dtype: str = "uint16",
    units: str = "GY",
    compressed: bool = False,
) -> None:
    one = header(0, "1.2.3.4.6", axes, FIRST)
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = RTDoseStorage
    one.Modality, one.SeriesDescription, one.NumberOfFrames = "RTDOSE", "dose", FRAMES
    one.Rows, one.Columns, one.PixelSpacing = *SHAPE, [2.0, 1.5]
    one.BitsAllocated = one.BitsStored = np.dtype(dtype).itemsize * 8
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, 0
    one.DoseUnits, one.DoseGridScaling = units, 0.001
    one.GridFrameOffsetVector = offsets
    del one.SliceThickness, one.RescaleSlope, one.RescaleIntercept
    one.PixelData = doses(dtype).tobytes()
    if compressed:
        one.compress(RLELossless)
    folder.mkdir(parents=True)
    one.save_as(folder / "dose.dcm", enforce_file_format=True)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("axes", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), OBLIQUE])
def test_a_dose_is_read_in_gray_at_the_offsets_of_its_frames(
    tmp_path: Path, axes: tuple[float, ...], dtype: str
) -> None:
    write(tmp_path / "dose", [2.5 * index for index in range(FRAMES)], axes=axes, dtype=dtype)
    volume = read_volume(tmp_path / "dose")
    assert volume.spacing == (2.5, 2.0, 1.5) and volume.origin == tuple(FIRST)
    np.testing.assert_allclose(volume.array, doses(dtype) * 0.001, rtol=1e-6)
    np.testing.assert_allclose(volume.matrix[:, 2], np.cross(axes[:3], axes[3:]), atol=1e-6)
    assert "The values are doses in Gy" in " ".join(volume.warnings)


def test_descending_offsets_are_sorted_and_absolute_ones_understood(tmp_path: Path) -> None:
    down = [-3.0 * index for index in range(FRAMES)]
    write(tmp_path / "down", down)
    volume = read_volume(tmp_path / "down")
    assert volume.spacing[0] == 3.0 and volume.origin == (-12.0, -34.0, 38.0)
    np.testing.assert_allclose(volume.array[::-1], doses() * 0.001, rtol=1e-6)
    write(tmp_path / "absolute", [56 + 3.0 * index for index in range(FRAMES)])
    assert read_volume(tmp_path / "absolute").origin == tuple(FIRST)
    # The normal of these frames runs to the feet, the z of the patient to the head.
    write(tmp_path / "flipped", [56 + 3.0 * index for index in range(FRAMES)], axes=FLIPPED)
    flipped = read_volume(tmp_path / "flipped")
    assert flipped.origin == (-12.0, -34.0, 74.0) and flipped.spacing[0] == 3.0
    np.testing.assert_allclose(flipped.array[::-1], doses() * 0.001, rtol=1e-6)


@pytest.mark.parametrize("offsets", [None, [0.0, 2.5], [10.0 + index for index in range(FRAMES)]])
def test_a_dose_without_valid_offsets_is_refused(tmp_path: Path, offsets: Any) -> None:
    write(tmp_path / "dose", offsets)
    assert_refused(only_series(tmp_path / "dose"), "radiotherapy dose")


def test_uneven_frames_of_a_dose_are_resampled_on_request(tmp_path: Path) -> None:
    write(tmp_path / "dose", [0.0, 2.5, 5.0, 7.5, 12.5, 15.0, 17.5])
    series = only_series(tmp_path / "dose")
    assert series.resamplable and "missing" in series.problem
    assert read_volume(tmp_path / "dose", resample=True).shape == (8, *SHAPE)


def test_relative_doses_are_said_to_be_relative(tmp_path: Path) -> None:
    write(tmp_path / "dose", [2.5 * index for index in range(FRAMES)], units="RELATIVE")
    assert "relative doses, not in Gy" in " ".join(describe(tmp_path / "dose")["warnings"])


def test_a_compressed_dose_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dose", [2.5 * index for index in range(FRAMES)], compressed=True)
    with pytest.raises(UserError, match="is compressed, which is not supported"):
        read_volume(tmp_path / "dose")
