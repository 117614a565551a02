"""NIfTI and Analyze: scales, transforms, versions and pairs of files."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from cases import by_itk, itk, make, refused, same
from numpy.typing import NDArray

from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.formats.nifti import HEADER, HEADER_2


def _nifti(path: Path, array: NDArray[Any], **fields: tuple[str, int, Any]) -> Path:
    """A plain NIfTI-1 file with some fields of the header set: format, offset, value."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 0.7)[: array.ndim])
    sitk.WriteImage(image, str(path))
    whole = bytearray(path.read_bytes())
    for kind, offset, value in fields.values():
        struct.pack_into(kind, whole, offset, *np.atleast_1d(value))
    path.write_bytes(bytes(whole))
    return path


def test_a_nii_next_to_a_nii_gz_is_not_read_instead(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii", make("oblique"))
    other = make("oblique")
    write_volume(tmp_path / "scan.nii.gz", other.with_array(other.array + 1))
    same(read_volume(tmp_path / "scan.nii.gz"), other.with_array(other.array + 1))
    same(read_volume(tmp_path / "scan.nii"), make("oblique"))


@pytest.mark.parametrize("size", [0.0, np.nan, -0.7])
def test_a_missing_voxel_spacing_causes_a_warning(tmp_path: Path, size: float) -> None:
    path = _nifti(
        tmp_path / "scan.nii",
        np.ones((4, 5, 6), np.int16),
        pixdim=("<f", 88, size),
        codes=("<2h", 252, (1, 0)),
    )
    volume = read_volume(path)
    if size < 0:
        assert volume.spacing == pytest.approx((0.7, 0.6, 0.5))
    else:
        assert volume.spacing == pytest.approx((1, 0.6, 0.5))
        assert "no voxel spacing along z" in volume.warnings[0]


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, 0, "uint16"), (0, 5, "uint16"), (1, -1024, "int32"), (0.5, 0, "float32"),
     (2, -1000, "float32"), (1, 0.25, "float32"), (np.nan, 0, "uint16")],
)  # fmt: skip
def test_slope_and_intercept_are_applied(
    tmp_path: Path, slope: float, intercept: float, dtype: str
) -> None:
    stored = np.array([[[0, 1], [40000, 65535]], [[5, 6], [7, 8]]], np.uint16)
    path = _nifti(tmp_path / "scan.nii", stored, scale=("<2f", 112, (slope, intercept)))
    volume = read_volume(path)
    assert volume.array.dtype == dtype
    ignored = slope == 0 or np.isnan(slope)
    expected = stored if ignored else stored * float(slope) + intercept
    np.testing.assert_array_equal(volume.array, expected)
    assert bool(volume.warnings) == np.isnan(slope)


@pytest.mark.parametrize(
    ("sform_code", "used"), [(1, "sform"), (2, "qform"), (0, ""), (4, "qform")]
)
def test_qform_and_sform_that_disagree_cause_a_warning(
    tmp_path: Path, sform_code: int, used: str
) -> None:
    path = _nifti(
        tmp_path / "scan.nii",
        make("oblique").array,
        codes=("<2h", 252, (1, sform_code)),
        shift=("<f", 268, 25.0),
    )
    volume = read_volume(path)
    same(volume, by_itk(path))
    expected = "The qform and sform of the header disagree by 25 mm; the "
    assert volume.warnings == ((f"{expected}{used} is used.",) if used else ())
    assert volume.origin[0] == pytest.approx(0 if used == "sform" else -25)


def test_a_header_without_qform_and_sform_causes_a_warning(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "scan.nii", make("oblique").array, codes=("<2h", 252, (0, 0)))
    volume = read_volume(path)
    same(volume, by_itk(path))
    assert "left and right" in volume.warnings[0]


def test_sheared_axes_are_refused(tmp_path: Path) -> None:
    path = _nifti(
        tmp_path / "scan.nii",
        make("oblique").array,
        codes=("<2h", 252, (0, 1)),
        rows=("<12f", 280, (1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)),
    )
    refused(path, "not orthogonal")


def test_nifti_2_is_read(tmp_path: Path) -> None:
    array = make("oblique").array
    header = np.zeros((), HEADER_2)
    header["size"], header["magic"], header["datatype"] = 540, b"n+2", 4
    header["dim"], header["pixdim"] = (3, 6, 5, 4, 1, 1, 1, 1), (1, 0.5, 0.6, 2.5, 1, 1, 1, 1)
    header["offset"], header["sform"], header["units"] = 544, 1, 2
    header["rows"] = [[0.5, 0, 0, -3], [0, 0.6, 0, 4], [0, 0, 2.5, 5]]
    content = header.tobytes() + bytes(4) + array.tobytes()
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.spacing, (2.5, 0.6, 0.5), rtol=1e-6)
        np.testing.assert_allclose(volume.origin, (3, -4, 5), rtol=1e-6)
        assert volume.orientation == "RAS"


@pytest.mark.parametrize("ending", [".img", ".hdr", ".img.gz"])
def test_a_pair_is_read_from_either_of_its_files(tmp_path: Path, ending: str) -> None:
    name = "scan.img.gz" if ending.endswith("gz") else "scan.img"
    sitk.WriteImage(itk(make("oblique")), str(tmp_path / name))
    same(read_volume(tmp_path / f"scan{ending}"), make("oblique"))
    (tmp_path / name).rename(tmp_path / "elsewhere")
    if ending == ".hdr":
        refused(tmp_path / "scan.hdr", "missing")


def test_5d_nifti_is_refused(tmp_path: Path) -> None:
    path = _nifti(
        tmp_path / "scan.nii", np.zeros((4, 6, 10), np.int16), dim=("<6h", 40, (5, 2, 3, 4, 5, 2))
    )
    refused(path, "5 axes (2 x 3 x 4 x 5 x 2)")


def test_rgb_nifti_is_read_as_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(4).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    path = _nifti(
        tmp_path / "scan.nii",
        array.reshape(4, 5, 18),
        dim=("<4h", 40, (3, 6, 5, 4)),
        kind=("<2h", 70, (128, 24)),
    )
    volume = read_volume(path)
    assert volume.channels and volume.shape == (4, 5, 6)
    np.testing.assert_array_equal(volume.array, array)


def test_an_absurd_nifti_shape_is_refused(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.int16)
    path = _nifti(tmp_path / "scan.nii", array, dim=("<3h", 42, (30000,) * 3))
    refused(path, "30000 x 30000 x 30000", "TB")
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / "scan.nii.gz", "30000 x 30000 x 30000", "TB")


def test_a_gzip_bomb_larger_than_memory_is_refused(tmp_path: Path) -> None:
    """A gzip file may expand to a thousand times its size: the free memory is the limit."""
    array = np.zeros((4, 5, 6), np.int16)
    path = _nifti(tmp_path / "scan.nii", array, dim=("<3h", 42, (30000,) * 3))
    header = path.read_bytes()[:352]
    path.unlink()
    path = tmp_path / "scan.nii.gz"
    with path.open("wb") as file:
        file.write(gzip.compress(header))
        file.truncate(60_000_000_000)
    refused(path, "memory")


@pytest.mark.parametrize("compressed", [False, True])
def test_big_endian_nifti_is_read(tmp_path: Path, compressed: bool) -> None:
    volume = make("oblique", "uint16")
    write_volume(tmp_path / "scan.nii", volume)
    fields = np.frombuffer((tmp_path / "scan.nii").read_bytes(), HEADER, 1)[0]
    swapped = np.zeros((), HEADER.newbyteorder(">"))
    for name in HEADER.names or ():
        swapped[name] = fields[name]
    whole = swapped.tobytes() + bytes(4) + volume.array.astype(">u2").tobytes()
    path = tmp_path / "swapped.nii.gz"
    path.write_bytes(gzip.compress(whole) if compressed else whole)
    back = read_volume(path)
    same(back, volume)
    assert back.array.dtype.isnative
