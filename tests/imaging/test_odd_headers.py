"""Wrong headers are read correctly, read with a warning, or refused."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from dicom_cases import write_series
from PIL import Image

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
NAN, INF = float("nan"), float("inf")
ORIGIN, MORE = (4.0, 5.0, 6.0), "more than its header states"


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], bytes]:
    """Return the bytes of a valid file by its suffix; spacing 1, 2, 3, origin 4, 5, 6."""

    def write(ending: str) -> bytes:
        image = sitk.GetImageFromArray(ARRAY)
        image.SetSpacing((1.0, 2.0, 3.0))
        image.SetOrigin(ORIGIN)
        sitk.WriteImage(image, str(tmp_path / f"sound{ending}"))
        return (tmp_path / f"sound{ending}").read_bytes()

    return write


NIFTI = {
    "sform not a number": ([("f", 292, NAN)], "sform of the header is damaged"),
    "sform infinite": ([("f", 280, INF)], "sform of the header is damaged"),
    "qform not a number": ([("f", 256, NAN)], "qform of the header is damaged"),
    "qform not a rotation": ([("h", 254, 0), ("fff", 256, 3.0, 3.0, 3.0)], "not a valid rotation"),
    "voxels at 0": ([("f", 108, 0.0)], ""),
    "voxels in the header": ([("f", 108, 100.0)], "default offset is used"),
    "negative voxel size": ([("h", 254, 0), ("fff", 80, -1.0, -2.0, -3.0)], ""),
}


@pytest.mark.parametrize("case", NIFTI)
def test_nifti_with_a_partly_wrong_header_is_read_correctly(
    tmp_path: Path, stored, case: str
) -> None:
    changes, warning = NIFTI[case]
    path = nifti(tmp_path, stored, changes)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.origin, ORIGIN)
    np.testing.assert_allclose(volume.spacing, (3, 2, 1))
    assert warning in " ".join(volume.warnings) and bool(volume.warnings) == bool(warning)


@pytest.mark.parametrize(
    "changes",
    [
        [("h", 40, 0)], [("h", 40, 8)], [("h", 40, -1)], [("h", 42, -8)], [("h", 44, 0)],
        [("f", 108, NAN)], [("f", 108, INF)], [("h", 70, 1536)], [("i", 0, 349)],
        [("f", 280, NAN), ("h", 252, 0)], [("f", 256, NAN), ("h", 254, 0)],
    ],
)  # fmt: skip
def test_nifti_with_an_invalid_header_is_refused(tmp_path: Path, stored, changes: list) -> None:
    with pytest.raises(UserError, match="odd"):
        read_volume(nifti(tmp_path, stored, changes))


def test_a_nifti_scale_beyond_float32_gives_float64(tmp_path: Path, stored) -> None:
    volume = read_volume(nifti(tmp_path, stored, [("ff", 112, 1e38, 0.0)]))
    np.testing.assert_allclose(volume.array, ARRAY * float(np.float32(1e38)))
    volume = read_volume(nifti(tmp_path, stored, [("ff", 112, 1.0, 1e30)]))
    np.testing.assert_allclose(volume.array, 1e30, rtol=1e-6)


def nifti(folder: Path, stored, changes: list) -> Path:
    content = bytearray(stored(".nii"))
    for kind, offset, *values in changes:
        struct.pack_into("<" + kind, content, offset, *values)
    path = folder / "odd.nii"
    path.write_bytes(content)
    return path


TEXT = {
    "NRRD, trailing junk after gzip": (".nrrd.z", [], b"junk", "followed by other data"),
    "NRRD, too few slices": (".nrrd", [(b"sizes: 8 7 6", b"sizes: 8 7 3")], b"", MORE),
    "NRRD without voxel spacing": (
        ".nrrd", [(b"space directions: (1,0,0) (0,2,0) (0,0,3)\n", b"")], b"", "no voxel spacing",
    ),
    "NRRD in metres": (
        ".nrrd", [(b"endian", b'space units: "m" "m" "m"\nendian')], b"", "lengths in m",
    ),
    "MetaImage without voxel spacing": (
        ".mha", [(b"ElementSpacing = 1 2 3\n", b"")], b"", "no voxel spacing",
    ),
    "MetaImage, trailing data": (".mha", [], bytes(50), MORE),
}  # fmt: skip
REFUSED = {
    "NRRD of an unknown type": (".nrrd", b"type: short", b"type: quux"),
    "NRRD of an unknown encoding": (".nrrd", b"encoding: raw", b"encoding: quux"),
    "NRRD of no size": (".nrrd", b"sizes: 8 7 6", b"sizes: 8 0 6"),
    "NRRD with an origin that is not a number": (".nrrd", b"(4,5,6)", b"(nan,5,6)"),
    "MetaImage of an unknown type": (".mha", b"MET_SHORT", b"MET_STRING"),
    "MetaImage with an origin that is not a number": (".mha", b"Offset = 4", b"Offset = nan"),
    "MetaImage without sizes": (".mha", b"DimSize = 8 7 6\n", b""),
}


@pytest.mark.parametrize("case", TEXT)
def test_an_incomplete_text_header_causes_a_warning(tmp_path: Path, stored, case: str) -> None:
    ending, changes, trailing, warning = TEXT[case]
    if ending.endswith(".z"):
        image = sitk.GetImageFromArray(ARRAY)
        sitk.WriteImage(image, str(tmp_path / "packed.nrrd"), useCompression=True)
        content = (tmp_path / "packed.nrrd").read_bytes()
    else:
        content = stored(ending)
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    path = tmp_path / f"odd{ending.removesuffix('.z')}"
    path.write_bytes(content + trailing)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY[: len(volume.array)])
    assert warning in " ".join(volume.warnings)


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_text_header_is_refused(tmp_path: Path, stored, case: str) -> None:
    ending, old, new = REFUSED[case]
    content = stored(ending)
    assert old in content
    path = tmp_path / f"odd{ending}"
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match="odd"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "trailing", "warning"),
    [("junk", b"junk", "followed by other data"), ("padded", bytes(512), "")],
)
def test_data_after_a_gzip_stream_causes_a_warning_unless_zero(
    tmp_path: Path, stored, name: str, trailing: bytes, warning: str
) -> None:
    path = tmp_path / f"{name}.nii.gz"
    path.write_bytes(gzip.compress(stored(".nii")) + trailing)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert warning in " ".join(volume.warnings) and bool(volume.warnings) == bool(warning)


@pytest.mark.parametrize("ending", [".vtk", ".gipl"])
def test_formats_whose_truncation_simpleitk_ignores_are_refused(
    tmp_path: Path, stored, ending: str
) -> None:
    path = tmp_path / f"odd{ending}"
    path.write_bytes(stored(ending)[:-100])
    with pytest.raises(UserError, match="unknown format"):
        read_volume(path)


def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read_volume(tmp_path / "pipe.nii")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_cmyk_and_ycbcr_tiffs_are_converted_with_a_warning(tmp_path: Path, mode: str) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    image = Image.fromarray(colours).convert(mode)
    image.save(tmp_path / "odd.tif")
    volume = read_volume(tmp_path / "odd.tif")
    np.testing.assert_array_equal(volume.array, np.asarray(image.convert("RGB")))
    assert f"stored as {mode}" in volume.warnings[0]


def test_16_bit_grey_with_alpha_and_cielab_are_refused(tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 60000, (20, 30)).astype(np.uint16)
    both = sitk.GetImageFromArray(np.stack([grey, grey], -1), isVector=True)
    sitk.WriteImage(both, str(tmp_path / "odd.png"))
    with pytest.raises(UserError, match="16-bit grey with an alpha channel"):
        read_volume(tmp_path / "odd.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).convert("LAB").save(tmp_path / "odd.tif")
    with pytest.raises(UserError, match="colour space that is not supported"):
        read_volume(tmp_path / "odd.tif")
    tifffile.imwrite(tmp_path / "big.tif", grey, bigtiff=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "big.tif").array, grey)


@pytest.mark.parametrize("name", ["lost.dcm", "IM0005"])
def test_an_empty_file_in_a_dicom_series_causes_a_warning(tmp_path: Path, name: str) -> None:
    write_series(tmp_path)
    (tmp_path / name).touch()
    assert "1 DICOM file in the folder cannot be read." in read_volume(tmp_path).warnings


def test_a_series_mixing_plain_and_inverted_grey_values_is_refused(tmp_path: Path) -> None:
    def change(index, one) -> None:
        one.PhotometricInterpretation = "MONOCHROME1" if index > 3 else "MONOCHROME2"

    write_series(tmp_path, change=change)
    with pytest.raises(UserError, match="plain and inverted"):
        read_volume(tmp_path)


def test_a_large_dicom_slope_is_read_and_an_absurd_frame_count_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "a", change=lambda _, one: setattr(one, "RescaleSlope", "1e30"))
    assert read_volume(tmp_path / "a").array.dtype == np.float32
    write_series(tmp_path / "b", [0.0], change=lambda _, one: setattr(one, "NumberOfFrames", 10**9))
    with pytest.raises(UserError, match="damaged"):
        read_volume(tmp_path / "b")


def test_a_dicomdir_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(UserError, match="index of other files"):
        read_volume(tmp_path / "DICOMDIR")


def test_nrrd_without_spacing_causes_a_warning(tmp_path: Path) -> None:
    """The header has kinds only, and the first axis is not spatial."""
    header = (
        "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 3 2 2 2\n"
        "kinds: vector domain domain domain\nencoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(range(24)))
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.spacing == (1, 1, 1)
    assert any("spacing" in warning for warning in volume.warnings), volume.warnings
