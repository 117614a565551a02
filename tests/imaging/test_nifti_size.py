"""The voxel size of NIfTI files: pixdim against sform, and units."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.imaging.files import read_volume
from napari_graphflow.imaging.volume import Volume

SIZES = (0.5, 0.6, 0.7)


def read(
    folder: Path,
    pixdim: tuple[float, ...],
    sform: tuple[float, ...],
    unit: int = 2,
    codes: tuple[int, int] = (0, 1),
) -> Volume:
    """Read a file with voxel sizes x, y, z in its pixdim and sform; codes of qform and sform."""
    path = folder / "scan.nii"
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    image.SetSpacing(SIZES)
    sitk.WriteImage(image, str(path))
    whole = bytearray(path.read_bytes())
    struct.pack_into("<3f", whole, 80, *pixdim)
    struct.pack_into("<b", whole, 123, unit)
    struct.pack_into("<2h", whole, 252, *codes)
    rows = np.column_stack([np.diag(sform), (-10.0, 20.0, 30.0)])
    struct.pack_into("<12f", whole, 280, *rows.ravel())
    path.write_bytes(bytes(whole))
    return read_volume(path)


@pytest.mark.parametrize("pixdim", [(0.0, 0.0, 0.0), (np.nan, 0.6, 0.7), SIZES])
def test_a_size_missing_in_pixdim_is_that_of_the_sform(
    tmp_path: Path, pixdim: tuple[float, ...]
) -> None:
    volume = read(tmp_path, pixdim, SIZES)
    assert volume.spacing == pytest.approx(SIZES[::-1]) and volume.warnings == ()
    assert volume.origin == pytest.approx((10, -20, 30))


def test_an_sform_with_a_size_is_used_if_pixdim_was_left_at_1(tmp_path: Path) -> None:
    volume = read(tmp_path, (1.0, 1.0, 1.0), (2.0, 2.0, 3.0))
    assert volume.spacing == pytest.approx((3, 2, 2))
    (warning,) = volume.warnings
    assert "(1 x 1 x 1)" in warning and "(3 x 2 x 2)" in warning and "sform is used" in warning


@pytest.mark.parametrize("sform", [(1.0, 1.0, 1.0), (2.0, 0.6, 0.7)])
def test_pixdim_and_sform_that_disagree_cause_a_warning(
    tmp_path: Path, sform: tuple[float, ...]
) -> None:
    volume = read(tmp_path, SIZES, sform)
    assert volume.spacing == pytest.approx(SIZES[::-1])
    (warning,) = volume.warnings
    assert "(0.7 x 0.6 x 0.5)" in warning and "disagree; the first is used" in warning


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3), (2 + 8, 1.0), (0, 1.0)])
def test_sizes_in_metres_and_micrometres_are_converted(
    tmp_path: Path, unit: int, factor: float
) -> None:
    sizes = tuple(size * factor for size in SIZES)
    for codes in ((0, 1), (1, 0)):
        volume = read(tmp_path, sizes, sizes, unit, codes)
        assert volume.spacing == pytest.approx(SIZES[::-1]) and volume.warnings == ()
