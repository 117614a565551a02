"""Reading and writing: what comes back is what was stored, or one sentence says why not."""

import gzip
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from napari_graphflow.errors import UserError
from napari_graphflow.volume import (
    Volume,
    describe,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)

VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
OBLIQUE = tuple(sitk.VersorTransform((0.6, 0.48, 0.64), 0.5).GetMatrix())
GEOMETRIES: dict[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    "identity": ((1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "flipped": ((1, 1, 1), (10, -20.5, 30), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "mirrored": ((1, 1, 1), (10, -20.5, 30), (1, 0, 0, 0, 1, 0, 0, 0, -1)),
    "permuted": ((2, 3, 4), (1, 2, 3), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
    "oblique": ((2.5, 0.81, 0.7), (-123.456, 78.9, -1234.5), OBLIQUE),
    "anisotropic": ((7.5, 0.4296875, 0.4296875), (0.1, 0.2, 0.3), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "2D": ((1, 1), (0, 0), (1, 0, 0, 1)),
    "2D oblique": ((0.5, 0.25), (-7, 3.3), (0.8, -0.6, 0.6, 0.8)),
    "2D flipped": ((0.5, 0.25), (-7, 3.3), (-1, 0, 0, 1)),
}
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def make(geometry: str = "identity", dtype: str = "int16", channels: int = 0) -> Volume:
    """A volume of random values with no two axes of the same length."""
    spacing, origin, direction = GEOMETRIES[geometry]
    shape = (4, 5, 6)[-len(spacing) :] + ((channels,) if channels else ())
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    return Volume(values, spacing, origin, direction, channels > 0)


def same(one: Volume, other: Volume) -> None:
    """Arrays equal, geometry equal to 1e-6, relative to the size of the origin."""
    assert one.channels == other.channels
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.spacing, other.spacing, rtol=1e-6)
    np.testing.assert_allclose(one.direction, other.direction, atol=1e-6)
    np.testing.assert_allclose(one.origin, other.origin, rtol=1e-6, atol=1e-6)


def itk(volume: Volume) -> sitk.Image:
    """The same as an image of SimpleITK."""
    image = sitk.GetImageFromArray(volume.array, isVector=volume.channels)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    return image


def by_itk(path: Path) -> Volume:
    """What SimpleITK alone reads."""
    image = sitk.ReadImage(str(path))
    return Volume(
        sitk.GetArrayFromImage(image),
        image.GetSpacing()[::-1],
        image.GetOrigin(),
        image.GetDirection(),
        image.GetNumberOfComponentsPerPixel() > 1,
    )


def refused(path: Path, *words: str) -> None:
    """Reading gives one sentence with these words, and one remedy."""
    with pytest.raises(UserError) as told:
        read_volume(path)
    for word in words:
        assert word in told.value.text
    assert told.value.text.endswith(".") and "\n" not in told.value.text
    assert told.value.remedy.endswith(".")


# Writing and reading again


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_every_format_keeps_every_geometry(tmp_path: Path, ending: str, geometry: str) -> None:
    volume = make(geometry)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)
    same(by_itk(path), volume)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_what_simpleitk_writes_is_read_the_same(tmp_path: Path, ending: str, geometry: str) -> None:
    volume = make(geometry)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(itk(volume), str(path), useCompression=True)
    same(read_volume(path), volume)


@pytest.mark.parametrize("dtype", [*TYPES, "int64", "uint64", "bool", "float16"])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_every_type_is_kept(tmp_path: Path, ending: str, dtype: str) -> None:
    volume = make("anisotropic", dtype)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)
    wider = {"bool": "uint8", "float16": "float32"}
    assert read_volume(path).array.dtype == wider.get(dtype, dtype)


@pytest.mark.parametrize("geometry", ["oblique", "2D oblique"])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_channels_are_kept(tmp_path: Path, ending: str, geometry: str, channels: int) -> None:
    volume = make(geometry, "uint8", channels)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)
    same(by_itk(path), volume)


@pytest.mark.parametrize("shape", [(1, 5, 6), (1, 1, 1), (5, 1, 6)])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_one_slice_and_one_voxel_stay_volumes(
    tmp_path: Path, ending: str, shape: tuple[int, ...]
) -> None:
    spacing, origin, direction = GEOMETRIES["oblique"]
    volume = Volume(np.ones(shape, np.uint8), spacing, origin, direction)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)


def test_one_slice_of_several_channels_is_refused_where_it_would_become_a_picture(
    tmp_path: Path,
) -> None:
    spacing, origin, direction = GEOMETRIES["oblique"]
    volume = Volume(np.ones((1, 5, 6, 3), np.uint8), spacing, origin, direction, channels=True)
    with pytest.raises(UserError, match="not saved"):
        write_volume(tmp_path / "scan.nii.gz", volume)
    assert not list(tmp_path.iterdir())
    write_volume(tmp_path / "scan.nrrd", volume)
    same(read_volume(tmp_path / "scan.nrrd"), volume)


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 0), ("uint16", 0), ("uint8", 3)])
def test_pictures_are_kept(tmp_path: Path, ending: str, dtype: str, channels: int) -> None:
    picture = make("2D", dtype, channels)
    path = tmp_path / f"picture{ending}"
    write_volume(path, picture)
    same(read_volume(path), picture)
    same(by_itk(path), picture)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32"])
@pytest.mark.parametrize("geometry", ["2D", "identity"])
def test_tiff_keeps_numbers_and_pages(tmp_path: Path, dtype: str, geometry: str) -> None:
    volume = make(geometry, dtype)
    write_volume(tmp_path / "stack.tif", volume)
    same(read_volume(tmp_path / "stack.tif"), volume)


def test_tiff_keeps_the_pixel_size_that_simpleitk_understands(tmp_path: Path) -> None:
    picture = Volume(make("2D", "uint8").array, (0.5, 0.25), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(tmp_path / "picture.tif", picture)
    same(read_volume(tmp_path / "picture.tif"), picture)
    assert by_itk(tmp_path / "picture.tif").spacing == pytest.approx((0.5, 0.25), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "geometry", "dtype", "words"),
    [
        ("a.png", "2D oblique", "uint8", "no place"),
        ("a.png", "identity", "uint8", "no place"),
        ("a.tif", "oblique", "uint8", "no place"),
        ("a.png", "2D", "float32", "cannot hold"),
        ("a.jpg", "2D", "uint8", "cannot be written"),
        ("a", "2D", "uint8", "cannot be written"),
        ("nowhere/a.nii", "identity", "uint8", "no folder"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, geometry: str, dtype: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        write_volume(tmp_path / name, make(geometry, dtype))
    assert not list(tmp_path.iterdir())


def test_complex_numbers_are_shown_as_magnitudes_and_never_saved_as_other_than_they_are(
    tmp_path: Path,
) -> None:
    array = np.array([[[3 + 4j, 1j], [0, 2]], [[5, 6], [7, -8]]], np.complex64)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "k.nii.gz"))
    volume = read_volume(tmp_path / "k.nii.gz")
    np.testing.assert_array_equal(volume.array, np.abs(array))
    assert "magnitude" in volume.warnings[0]


@pytest.mark.parametrize("name", ["Größe é 図像 (1).nii.gz", "a b.nrrd", "#100%.mha", "x.y.z.nii"])
def test_names_of_any_alphabet(tmp_path: Path, name: str) -> None:
    volume = make("oblique")
    folder = tmp_path / "Ärzte 医"
    folder.mkdir()
    write_volume(folder / name, volume)
    same(read_volume(folder / name), volume)
    assert [one.name for one in folder.iterdir()] == [name]


def test_a_file_is_replaced_only_when_asked_and_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    write_volume(path, make("identity"))
    before = path.read_bytes()
    with pytest.raises(UserError, match="already a file"):
        write_volume(path, make("oblique"), overwrite=False)
    with pytest.raises(UserError):
        write_volume(path, make("identity", "complex128", 3))
    assert path.read_bytes() == before
    write_volume(path, make("oblique"))
    same(read_volume(path), make("oblique"))
    assert [one.name for one in tmp_path.iterdir()] == ["mask.nii.gz"]


# Refusals of the system, in a process of its own

_SAVE = """
import os, resource, sys
import numpy as np
from napari_graphflow.errors import UserError
from napari_graphflow.volume import Volume, write_volume
volume = Volume(np.random.default_rng(0).integers(0, 9999, (40, 64, 64)), (1, 1, 1), (0, 0, 0),
                (1, 0, 0, 0, 1, 0, 0, 0, 1))
{}
try:
    write_volume(sys.argv[1], volume)
except UserError as error:
    print(error)
"""


def _saving(path: Path, first: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _SAVE.format(first), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of POSIX")
@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".tif"])
def test_a_disk_that_takes_no_more_leaves_the_old_file_and_one_sentence(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, make("identity"))
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    told = _saving(path, limit)
    assert path.name in told and told.count("\n") == 0
    assert "not saved" in told or "cannot be written" in told
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")
def test_a_folder_that_may_not_be_written_to_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o555)
        # The permissions of a folder do not bind root.
        drop = "os.seteuid(65534)" if os.geteuid() == 0 else ""
        told = _saving(folder / "scan.nii.gz", drop)
        folder.chmod(0o755)
        assert "permission is denied" in told and folder.name in told
        assert told.count("\n") == 0 and not list(folder.iterdir())


# Damaged and odd files


def _written(tmp_path: Path, ending: str, *, compressed: bool) -> Path:
    path = tmp_path / f"scan{ending}"
    values = np.random.default_rng(1).integers(0, 3000, (20, 30, 40)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=compressed)
    parts = sorted(tmp_path.iterdir(), key=lambda part: part.stat().st_size)
    return parts[-1]


KINDS = [(e, c) for e in VOLUME_ENDINGS for c in (True, False) if c or e != ".nii.gz"]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97, -1])
@pytest.mark.parametrize(("ending", "compressed"), KINDS)
def test_a_file_cut_off_anywhere_is_refused(
    tmp_path: Path, ending: str, compressed: bool, share: float
) -> None:
    data = _written(tmp_path, ending, compressed=compressed)
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] if share < 0 else whole[: int(len(whole) * share)])
    refused(tmp_path / f"scan{ending}")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_an_altered_byte_of_compressed_voxels_is_noticed(
    tmp_path: Path, ending: str, place: float
) -> None:
    data = _written(tmp_path, ending, compressed=True)
    if ending == ".nii":
        data = data.rename(tmp_path / "plain")
        data.write_bytes(gzip.compress(data.read_bytes()))
        data = data.rename(tmp_path / "scan.nii")
    whole = bytearray(data.read_bytes())
    whole[int(len(whole) * place)] ^= 0x10
    data.write_bytes(bytes(whole))
    refused(tmp_path / f"scan{ending}", "damaged")


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path: Path) -> None:
    plain = tmp_path / "scan.nii"
    write_volume(plain, make("oblique"))
    whole = plain.read_bytes()
    parts = [gzip.compress(whole[start : start + 100]) for start in range(0, len(whole), 100)]
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(parts) + bytes(512))
    plain.unlink()
    same(read_volume(tmp_path / "scan.nii.gz"), make("oblique"))


def test_the_file_beside_is_not_read_instead(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii", make("identity"))
    other = make("oblique")
    write_volume(tmp_path / "scan.nii.gz", other.with_array(other.array + 1))
    same(read_volume(tmp_path / "scan.nii.gz"), other.with_array(other.array + 1))
    same(read_volume(tmp_path / "scan.nii"), make("identity"))


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


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_a_header_that_claims_an_absurd_size_is_refused_at_once(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"scan{ending}"
    if ending == ".nii":
        _nifti(path, np.zeros((4, 5, 6), np.int16), dim=("<3h", 42, (30000,) * 3))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
        path.write_bytes(path.read_bytes().replace(b"6 5 4", b"30000 30000 30000", 1))
    refused(path, "30000 x 30000 x 30000", "TB")
    whole = path.read_bytes()
    if ending == ".nii":
        path = path.rename(tmp_path / "scan.nii.gz")
        path.write_bytes(gzip.compress(whole))
        refused(path, "30000 x 30000 x 30000", "TB")


def test_a_bomb_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """A gzip file may hold a thousand times its size: the free memory decides."""
    path = _nifti(
        tmp_path / "scan.nii", np.zeros((4, 5, 6), np.int16), dim=("<3h", 42, (30000,) * 3)
    )
    header = path.read_bytes()[:352]
    path.unlink()
    path = tmp_path / "scan.nii.gz"
    with path.open("wb") as file:
        file.write(gzip.compress(header))
        file.truncate(60_000_000_000)
    refused(path, "memory")


@pytest.mark.parametrize(
    ("stored", "named", "kind"),
    [(".nii", ".nii.gz", "NIfTI"), (".nii.gz", ".nii", "NIfTI"), (".nrrd", ".nii", "NRRD"),
     (".mha", ".nrrd", "MetaImage"), (".nii.gz", ".png", "NIfTI"), (".nrrd", "", "NRRD")],
)  # fmt: skip
def test_the_content_counts_not_the_name(
    tmp_path: Path, stored: str, named: str, kind: str
) -> None:
    write_volume(tmp_path / f"a{stored}", make("oblique"))
    path = (tmp_path / f"a{stored}").rename(tmp_path / f"b{named}")
    volume = read_volume(path)
    same(volume, make("oblique"))
    told = any(f"holds {kind}" in sentence for sentence in volume.warnings)
    assert told == (named not in ("", ".nii.gz", ".nii") or kind != "NIfTI" and named != "")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x1f\x8b", bytes(4096)])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".dcm", ""])
def test_what_is_no_image_is_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    refused(path, path.name)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "scan.nii.gz", "There is no file")
    refused(tmp_path, "no DICOM")


@pytest.mark.parametrize("size", [0.0, np.nan, -0.7])
def test_a_missing_voxel_size_is_told(tmp_path: Path, size: float) -> None:
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
        assert "no voxel size along z" in volume.warnings[0]


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_a_voxel_size_of_zero_is_refused_where_no_other_header_helps(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, make("identity"))
    text = path.read_text()
    text = text.replace("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 0")
    path.write_text(text.replace("(1,0,0) (0,1,0) (0,0,1)", "(1,0,0) (0,1,0) (0,0,0)"))
    refused(path, "voxel size")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_told(tmp_path: Path, value: float) -> None:
    volume = make("identity", "float32")
    volume.array[0] = value
    write_volume(tmp_path / "scan.nii.gz", volume)
    back = read_volume(tmp_path / "scan.nii.gz")
    same(back, volume)
    assert back.warnings == ("25.00% of the voxels are no finite numbers (NaN or infinite).",)
    assert describe(tmp_path / "scan.nii.gz")["range"][1] < 100


def test_a_constant_image_is_told(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.mha", make("identity").with_array(np.full((4, 5, 6), 7)))
    assert read_volume(tmp_path / "scan.mha").warnings == ("All voxels have the same value, 7.",)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_big_endian_files(tmp_path: Path, ending: str, compressed: bool) -> None:
    array = np.random.default_rng(2).integers(0, 60000, (4, 5, 6)).astype(np.uint16)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    whole = path.read_bytes()
    swapped = whole[-240:] if ending == ".nii" else array.astype(">u2").tobytes()
    header = whole[:-240]
    if ending == ".nii":
        header, swapped = _swapped(header), array.astype(">u2").tobytes()
        whole = header + swapped
        whole = gzip.compress(whole) if compressed else whole
    elif ending == ".nrrd":
        header = header.replace(b"endian: little", b"endian: big")
        if compressed:
            header, swapped = header.replace(b": raw", b": gzip"), gzip.compress(swapped)
        whole = header + swapped
    else:
        header = header.replace(b"OrderMSB = False", b"OrderMSB = True")
        if compressed:
            import zlib

            swapped = zlib.compress(swapped)
            size = f"CompressedData = True\nCompressedDataSize = {len(swapped)}".encode()
            header = header.replace(b"CompressedData = False", size)
        whole = header + swapped
    path.write_bytes(whole)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.uint16 and volume.array.dtype.isnative


def _swapped(header: bytes) -> bytes:
    """The same NIfTI-1 header in the other byte order."""
    from napari_graphflow.formats.nifti import HEADER

    fields = np.frombuffer(header, HEADER, 1)[0]
    swapped = np.zeros((), HEADER.newbyteorder(">"))
    for name in HEADER.names or ():
        swapped[name] = fields[name]
    return bytes(swapped.tobytes()) + bytes(len(header) - 348)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, 0, "uint16"), (0, 5, "uint16"), (1, -1024, "int32"), (0.5, 0, "float32"),
     (2, -1000, "float32"), (1, 0.25, "float32"), (np.nan, 0, "uint16")],
)  # fmt: skip
def test_scaled_nifti(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
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
def test_two_positions_that_disagree_are_told(tmp_path: Path, sform_code: int, used: str) -> None:
    path = _nifti(
        tmp_path / "scan.nii",
        make().array,
        codes=("<2h", 252, (1, sform_code)),
        shift=("<f", 268, 25.0),
    )
    volume = read_volume(path)
    same(volume, by_itk(path))
    expected = f"The file gives two positions that disagree by 25 mm (qform and sform); the {used} is used."
    assert volume.warnings == ((expected,) if used else ())
    assert volume.origin[0] == pytest.approx(0 if used == "sform" else -25)


def test_no_position_at_all_is_told(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "scan.nii", make().array, codes=("<2h", 252, (0, 0)))
    volume = read_volume(path)
    same(volume, by_itk(path))
    assert "left and right" in volume.warnings[0]


def test_sheared_axes_are_refused(tmp_path: Path) -> None:
    path = _nifti(
        tmp_path / "scan.nii",
        make().array,
        codes=("<2h", 252, (0, 1)),
        rows=("<12f", 280, (1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)),
    )
    refused(path, "not at right angles")


def test_nifti_2(tmp_path: Path) -> None:
    from napari_graphflow.formats.nifti import HEADER_2

    array = make("identity").array
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
def test_a_pair_of_files_opens_by_either(tmp_path: Path, ending: str) -> None:
    name = "scan.img.gz" if ending.endswith("gz") else "scan.img"
    sitk.WriteImage(itk(make("oblique")), str(tmp_path / name))
    same(read_volume(tmp_path / f"scan{ending}"), make("oblique"))
    (tmp_path / name).rename(tmp_path / "elsewhere")
    if ending == ".hdr":
        refused(tmp_path / "scan.hdr", "missing")


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_voxels_that_lie_in_a_missing_file_are_named(tmp_path: Path, ending: str) -> None:
    write_volume(tmp_path / f"scan{ending}", make())
    for part in tmp_path.iterdir():
        if part.name != f"scan{ending}":
            part.unlink()
    refused(tmp_path / f"scan{ending}", "another file", "missing")


@pytest.mark.parametrize("frames", [2, 3, 10])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_4d_becomes_channels(tmp_path: Path, ending: str, frames: int) -> None:
    array = np.random.default_rng(3).integers(0, 99, (frames, 4, 5, 6)).astype(np.int16)
    image = sitk.JoinSeries([itk(make("oblique").with_array(one)) for one in array])
    sitk.WriteImage(image, str(tmp_path / f"scan{ending}"))
    volume = read_volume(tmp_path / f"scan{ending}")
    same(volume, make("oblique").with_array(np.moveaxis(array, 0, -1), channels=True))
    assert f"holds {frames} volumes (4D)" in volume.warnings[0]


def test_5d_is_refused(tmp_path: Path) -> None:
    path = _nifti(
        tmp_path / "scan.nii", np.zeros((4, 6, 10), np.int16), dim=("<6h", 40, (5, 2, 3, 4, 5, 2))
    )
    refused(path, "5 axes (2 x 3 x 4 x 5 x 2)")


def test_rgb_nifti(tmp_path: Path) -> None:
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


def test_rare_nrrd_is_left_to_simpleitk(tmp_path: Path) -> None:
    text = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nspacings: 1 2 3\nencoding: ascii\n\n"
        "1 2 3 4 5 6 7 8\n"
    )
    (tmp_path / "scan.nrrd").write_text(text)
    volume = read_volume(tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(1, 9))
    assert volume.spacing == (3, 2, 1)
    (tmp_path / "scan.nrrd").write_text(text.replace("7 8", ""))
    refused(tmp_path / "scan.nrrd")


def test_reading_takes_little_more_than_the_array(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (60, 512, 512)).astype(np.int16)
    endings = (".nii", ".nii.gz", ".nrrd", ".mha")
    for ending in endings:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"scan{ending}"), True, 1)
    code = """
import resource, sys
from napari_graphflow.volume import read_volume
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
volume = read_volume(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / volume.array.nbytes)
"""
    for ending in endings:
        path = str(tmp_path / f"scan{ending}")
        # Started by another program, a process would begin with that one's peak memory.
        run = [sys.executable, "-c", code, path]
        shell = "import os, sys; os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); os.wait()"
        done = subprocess.run(
            [sys.executable, "-c", shell, *run], capture_output=True, text=True, check=True
        )
        assert float(done.stdout) < 1.5, (ending, done.stdout, done.stderr)


# Pictures


def test_sixteen_bit_colour_is_not_cut_down(tmp_path: Path) -> None:
    array = np.random.default_rng(5).integers(0, 65535, (7, 9, 3)).astype(np.uint16)
    for ending in (".png", ".tif"):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / f"a{ending}"))
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}").array, array)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_an_image_with_a_palette_is_in_colour_and_its_mask_is_not(
    tmp_path: Path, ending: str
) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.frombytes("P", (3, 2), indices.tobytes())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255] + [0] * 759)
    image.save(tmp_path / f"a{ending}")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    volume = read_volume(tmp_path / f"a{ending}")
    assert volume.channels
    np.testing.assert_array_equal(volume.array, colours[indices])
    np.testing.assert_array_equal(read_labels(tmp_path / f"a{ending}").array, indices)


def test_transparency_is_left_out_and_told_of_where_it_matters(tmp_path: Path) -> None:
    array = np.full((4, 5, 4), 200, np.uint8)
    array[..., 3] = 255
    Image.fromarray(array).save(tmp_path / "opaque.png")
    array[0, 0, 3] = 0
    Image.fromarray(array).save(tmp_path / "clear.png")
    opaque, clear = read_volume(tmp_path / "opaque.png"), read_volume(tmp_path / "clear.png")
    assert opaque.array.shape == clear.array.shape == (4, 5, 3)
    assert not any("transparen" in said for said in opaque.warnings)
    assert any("transparen" in said for said in clear.warnings)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".gif", ".bmp"])
def test_a_picture_cut_off_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    array = np.random.default_rng(6).integers(0, 255, (64, 64)).astype(np.uint8)
    path = tmp_path / f"a{ending}"
    Image.fromarray(array).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "damaged")


def test_imagej_stacks_have_their_voxel_size(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.arange(60, dtype=np.uint16).reshape(3, 4, 5),
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )
    volume = read_volume(tmp_path / "stack.tif")
    assert volume.shape == (3, 4, 5)
    assert volume.spacing == pytest.approx((2e-3, 0.5e-3, 0.25e-3))


def test_channels_that_are_stored_apart_come_last(tmp_path: Path) -> None:
    import tifffile

    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    volume = read_volume(tmp_path / "a.tif")
    assert volume.channels
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, 0, -1))


# Masks


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (70000, "uint32")]
)
@pytest.mark.parametrize("geometry", ["oblique", "2D"])
def test_labels_take_the_smallest_type_and_the_geometry(
    tmp_path: Path, largest: int, dtype: str, geometry: str
) -> None:
    like = make(geometry, "float32")
    labels = np.zeros(like.shape, np.int64)
    labels[0, 1] = largest
    labels[1, 1] = min(largest, 2)
    write_labels(tmp_path / "mask.nii.gz", labels, like)
    same(by_itk(tmp_path / "mask.nii.gz"), like.with_array(labels))
    back = read_labels(tmp_path / "mask.nii.gz", like)
    same(back, like.with_array(labels))
    assert back.array.dtype == by_itk(tmp_path / "mask.nii.gz").array.dtype == dtype


def test_labels_fit_an_image_in_colour(tmp_path: Path) -> None:
    like = make("2D", "uint8", 3)
    write_labels(tmp_path / "mask.png", np.eye(5, 6, dtype=np.uint8), like)
    assert read_labels(tmp_path / "mask.png", like).array.sum() == 5


@pytest.mark.parametrize("labels", [np.full((4, 5, 6), -1), np.full((4, 5, 6), 0.5)])
def test_labels_are_whole_and_not_negative(tmp_path: Path, labels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        write_labels(tmp_path / "mask.nii", labels, make())


@pytest.mark.parametrize("code", ["RAS", "SPL", "AIR"])
def test_a_mask_in_another_order_of_axes_is_brought_to_its_image(tmp_path: Path, code: str) -> None:
    like = make("oblique")
    labels = like.with_array((like.array > 50).astype(np.uint8))
    write_volume(tmp_path / "mask.nrrd", labels.oriented(code))
    same(read_labels(tmp_path / "mask.nrrd", like), labels)


def test_a_rounded_position_is_accepted_and_another_one_refused(tmp_path: Path) -> None:
    like = make("oblique")
    labels = (like.array > 50).astype(np.uint8)
    spacing, origin, direction = GEOMETRIES["oblique"]
    rounded = Volume(labels, spacing, tuple(np.round(origin, 1)), tuple(np.round(direction, 3)))
    sitk.WriteImage(itk(rounded), str(tmp_path / "rounded.mha"))
    same(read_labels(tmp_path / "rounded.mha", like), like.with_array(labels))
    moved = Volume(labels, spacing, (origin[0] + 1, *origin[1:]), direction)
    write_volume(tmp_path / "moved.mha", moved)
    with pytest.raises(UserError, match="up to 1 mm apart"):
        read_labels(tmp_path / "moved.mha", like)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 0.4, 1.0], "fractions such as 0.4"),
        ([0.0, np.nan, 1.0], "no numbers"),
        ([0.0, -1.0, 1.0], "negative"),
        ([0.0, 1e12, 1.0], "above 4294967295"),
    ],
)
def test_values_that_are_no_labels_are_refused(
    tmp_path: Path, values: list[float], message: str
) -> None:
    array = np.resize(values, (4, 5, 6))
    write_volume(tmp_path / "mask.nii.gz", make().with_array(array))
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "mask.nii.gz")


def test_many_classes_of_a_picture_are_not_taken_for_blur(tmp_path: Path) -> None:
    labels = np.resize(np.append(np.arange(34), 255), (35, 35)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "street.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "street.png").array, labels)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(labels).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="256 grey levels"):
        read_labels(tmp_path / "grey.png")


def test_overlapping_one_hot_masks_are_refused(tmp_path: Path) -> None:
    array = np.ones((4, 5, 6, 2), np.uint8)
    write_volume(tmp_path / "mask.nrrd", make().with_array(array, channels=True))
    with pytest.raises(UserError, match="2 values per voxel"):
        read_labels(tmp_path / "mask.nrrd")


def test_a_read_only_file_of_labels_is_mapped_to_a_writable_array(tmp_path: Path) -> None:
    write_labels(tmp_path / "mask.nii.gz", make().array.astype(np.uint8), make())
    assert read_labels(tmp_path / "mask.nii.gz").array.flags.writeable


# The files of `bad_input`


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("shape_mismatch", "has the shape 34 x 51 x 35, but its image 35 x 51 x 35"),
        ("affine_mismatch", "lies elsewhere than its image"),
        ("negative", "negative values (down to -1)"),
        ("empty", [0]),
        ("float", [0, 1, 2]),
        ("noncontiguous", [0, 7, 250]),
        ("extra_class", [0, 1, 9]),
        ("ignore_255", [0, 1, 2, 255]),
        ("onehot_4d", [0, 1, 2]),
    ],
)
def test_bad_labels(shared_data: Path, name: str, outcome: str | list[int]) -> None:
    like = read_volume(shared_data / "hippocampus_msd/images/hippocampus_001.nii.gz")
    path = shared_data / f"bad_input/crafted/labels/{name}_label.nii.gz"
    if isinstance(outcome, str):
        with pytest.raises(UserError) as told:
            read_labels(path, like)
        assert outcome in told.value.text
        return
    labels = read_labels(path, like)
    assert labels.array.dtype == np.uint8 and np.unique(labels.array).tolist() == outcome
    right = read_labels(shared_data / "hippocampus_msd/masks/hippocampus_001.nii.gz", like)
    if name in ("float", "onehot_4d"):
        np.testing.assert_array_equal(labels.array, right.array)
    if name == "ignore_255":
        seen = labels.array != 255
        np.testing.assert_array_equal(labels.array[seen], right.array[seen])


@pytest.mark.parametrize(
    "name", ["mask_ok_0_255.png", "mask_0_1.png", "mask_1bit.png", "mask_palette.png",
             "mask_rgba.png", "mask_jpeg_artifacts.jpg", "mask_inverted.png"],
)  # fmt: skip
def test_the_same_mask_in_many_dresses(shared_data: Path, name: str) -> None:
    folder = shared_data / "bad_input/crafted/2d"
    image = read_volume(folder / "rgb_ok.png")
    expected = np.array(Image.open(folder / "mask_0_1.png"))
    labels = read_labels(folder / name, image)
    if name == "mask_inverted.png":
        expected = 1 - expected
        assert "foreground" in labels.warnings[-1] and "89%" in labels.warnings[-1]
    np.testing.assert_array_equal(labels.array, expected)
    assert any("grey levels" in said for said in labels.warnings) == name.endswith(".jpg")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mask_rgb_colour.png", "a picture in colours"),
        ("mask_wrong_size.png", "has the shape 128 x 160, but its image 256 x 320"),
        ("mask_transposed.png", "has the shape 320 x 256, but its image 256 x 320"),
    ],
)
def test_masks_that_cannot_be_taken(shared_data: Path, name: str, words: str) -> None:
    folder = shared_data / "bad_input/crafted/2d"
    with pytest.raises(UserError) as told:
        read_labels(folder / name, read_volume(folder / "rgb_ok.png"))
    assert words in told.value.text and name in told.value.text


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "said"),
    [
        ("rgb_ok.png", (256, 320, 3), "uint8", ""),
        ("gray16.png", (256, 320), "uint16", ""),
        ("rgba.png", (256, 320, 3), "uint8", ""),
        ("la.png", (256, 320), "uint8", ""),
        ("cmyk.jpg", (256, 320, 3), "uint8", "converted to RGB"),
        ("exif_rotated.jpg", (256, 320, 3), "uint8", "rotation mark"),
        ("animated.gif", (4, 256, 320, 3), "uint8", "4 frames are shown as slices"),
        ("multipage.tif", (5, 256, 320), "uint8", "5 pages; they are shown as slices"),
        ("float32_nan.tif", (256, 320), "float32", "no finite numbers"),
        ("one_pixel.png", None, "uint8", ""),
        ("thin_2000x3.png", None, "uint8", ""),
        ("Gr*.png", None, "uint8", ""),
        ("odd_size_255x319.png", (255, 319, 3), "uint8", ""),
    ],
)
def test_odd_pictures(
    shared_data: Path, name: str, shape: tuple[int, ...] | None, dtype: str, said: str
) -> None:
    # The name with letters of several alphabets may be stored composed or decomposed.
    (path,) = (shared_data / "bad_input/crafted/2d").glob(name)
    volume = read_volume(path)
    with Image.open(path) as image:
        assert volume.shape[-2:] == (image.height, image.width)
    assert shape is None or volume.array.shape == shape
    assert volume.array.dtype == dtype
    assert said in " ".join(volume.warnings) and bool(said) == bool(volume.warnings)


def test_a_cut_picture(shared_data: Path) -> None:
    refused(shared_data / "bad_input/crafted/2d/truncated.png", "truncated.png is damaged")


def test_a_sixteen_bit_picture_is_not_clipped(shared_data: Path) -> None:
    assert read_volume(shared_data / "bad_input/crafted/2d/gray16.png").array.max() > 255


# Volume


@pytest.mark.parametrize("geometry", [name for name in GEOMETRIES if "2D" not in name])
@pytest.mark.parametrize("code", ["LPS", "RAS", "SAL", "PIR"])
def test_orientation_is_that_of_simpleitk(geometry: str, code: str) -> None:
    volume = make(geometry)
    letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(volume.direction)
    assert volume.orientation == letters
    expected = sitk.DICOMOrient(itk(volume), code)
    turned = volume.oriented(code)
    np.testing.assert_array_equal(turned.array, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(turned.origin, expected.GetOrigin())
    np.testing.assert_allclose(turned.direction, expected.GetDirection(), atol=1e-12)
    np.testing.assert_allclose(turned.spacing[::-1], expected.GetSpacing())
    assert turned.orientation == code
    same(turned.oriented(letters), volume)


def test_turning_keeps_channels_last() -> None:
    volume = make("permuted", "uint8", 3)
    turned = volume.oriented("RAS")
    for channel in range(3):
        one = volume.with_array(volume.array[..., channel]).oriented("RAS")
        np.testing.assert_array_equal(turned.array[..., channel], one.array)


def test_turning_a_picture_does_nothing() -> None:
    picture = make("2D flipped")
    assert picture.oriented("RAS") is picture and picture.orientation == ""


@pytest.mark.parametrize(("shift", "expected"), [(0, True), (9e-4, True), (2e-3, False)])
def test_the_same_grid(shift: float, expected: bool) -> None:
    volume = make("oblique")
    x, y, z = volume.origin
    moved = Volume(volume.array, volume.spacing, (x + shift, y, z), volume.direction)
    assert volume.same_grid(moved) == expected
    assert not volume.same_grid(make("2D"))


def test_another_shape_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="shape"):
        make().with_array(np.zeros((1, 2, 3)))


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_describe(tmp_path: Path, ending: str) -> None:
    volume = make("oblique")
    write_volume(tmp_path / f"scan{ending}", volume)
    told = describe(tmp_path / f"scan{ending}")
    assert told["format"] in ("NIfTI", "NRRD", "MetaImage")
    assert told["shape"] == [4, 5, 6] and told["type"] == "int16" and told["channels"] == 1
    assert told["orientation"] == volume.orientation and told["warnings"] == []
    assert told["range"] == [volume.array.min(), volume.array.max()]
    np.testing.assert_allclose(told["spacing"], volume.spacing, rtol=1e-6)
    np.testing.assert_allclose(told["origin"], volume.origin, rtol=1e-6)
    np.testing.assert_allclose(told["direction"], volume.direction, atol=1e-6)


def test_the_real_volumes_are_read_as_by_simpleitk(shared_data: Path) -> None:
    paths = [
        *sorted((shared_data / "sct_spinalcord").rglob("*.nii.gz")),
        *sorted((shared_data / "niivue_nifti").rglob("*.nii.gz")),
        *sorted((shared_data / "pyradiomics_nrrd").rglob("*.nrrd")),
        *sorted((shared_data / "dcmqi_dicom_seg").glob("*.nrrd")),
        *sorted((shared_data / "hippocampus_msd/images").glob("*_0[0-3]?.nii.gz")),
    ]
    assert len(paths) > 15
    for path in paths:
        volume = read_volume(path)
        same(volume, by_itk(path))
        assert volume.array.dtype == by_itk(path).array.dtype
