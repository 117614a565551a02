"""Unusual and damaged files of other programs are read correctly, or refused."""

import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cases import VOLUME_ENDINGS, itk, make, refused, same

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.formats import voxels


def _written(tmp_path: Path, ending: str, *, compressed: bool) -> Path:
    path = tmp_path / f"scan{ending}"
    values = np.random.default_rng(1).integers(0, 3000, (20, 30, 40)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=compressed)
    parts = sorted(tmp_path.iterdir(), key=lambda part: part.stat().st_size)
    return parts[-1]


KINDS = [(e, c) for e in VOLUME_ENDINGS for c in (True, False) if c or e != ".nii.gz"]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97, -1])
@pytest.mark.parametrize(("ending", "compressed"), KINDS)
def test_a_truncated_file_is_refused(
    tmp_path: Path, ending: str, compressed: bool, share: float
) -> None:
    data = _written(tmp_path, ending, compressed=compressed)
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] if share < 0 else whole[: int(len(whole) * share)])
    refused(tmp_path / f"scan{ending}")


@pytest.mark.parametrize("position", [0.3, 0.6, 0.999])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_an_altered_byte_of_compressed_voxels_is_refused(
    tmp_path: Path, ending: str, position: float
) -> None:
    data = _written(tmp_path, ending, compressed=True)
    if ending == ".nii":
        data = data.rename(tmp_path / "plain")
        data.write_bytes(gzip.compress(data.read_bytes()))
        data = data.rename(tmp_path / "scan.nii")
    whole = bytearray(data.read_bytes())
    whole[int(len(whole) * position)] ^= 0x10
    data.write_bytes(bytes(whole))
    refused(tmp_path / f"scan{ending}", "damaged")


def test_a_gzip_file_of_several_members_is_read_completely(tmp_path: Path) -> None:
    plain = tmp_path / "scan.nii"
    write_volume(plain, make("oblique"))
    whole = plain.read_bytes()
    parts = [gzip.compress(whole[start : start + 100]) for start in range(0, len(whole), 100)]
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(parts) + bytes(512))
    plain.unlink()
    same(read_volume(tmp_path / "scan.nii.gz"), make("oblique"))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_an_absurd_shape_is_refused_before_memory_is_allocated(
    tmp_path: Path, ending: str, compressed: bool
) -> None:
    path = tmp_path / f"scan{ending}"
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    sitk.WriteImage(image, str(path), useCompression=compressed)
    path.write_bytes(path.read_bytes().replace(b"6 5 4", b"30000 30000 30000", 1))
    refused(path, "30000 x 30000 x 30000", "TB")


@pytest.mark.parametrize(
    ("stored", "named", "kind"),
    [(".nii", ".nii.gz", ""), (".nii.gz", ".nii", ""), (".nrrd", ".nii", "NRRD"),
     (".mha", ".nrrd", "MetaImage"), (".nii.gz", ".png", "NIfTI"), (".nrrd", "", "")],
)  # fmt: skip
def test_the_format_is_read_from_the_content_not_the_suffix(
    tmp_path: Path, stored: str, named: str, kind: str
) -> None:
    write_volume(tmp_path / f"a{stored}", make("oblique"))
    path = (tmp_path / f"a{stored}").rename(tmp_path / f"b{named}")
    volume = read_volume(path)
    same(volume, make("oblique"))
    warnings = (f"The file has the suffix {named}, but its content is {kind}.",) if kind else ()
    assert volume.warnings == warnings


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x1f\x8b", bytes(4096)])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".dcm", ""])
def test_a_file_without_an_image_is_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    refused(path, path.name)


def test_a_missing_file_and_a_folder_without_dicom_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "scan.nii.gz", "There is no file")
    refused(tmp_path, "no DICOM")


@pytest.mark.parametrize(
    ("spacing", "directions"),
    [
        ("1 1 0", "(1,0,0) (0,1,0) (0,0,0)"),
        (None, "(1,0.5,0) (0,1,0) (0,0,1)"),
    ],
)
@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_zero_spacing_and_sheared_axes_are_refused(
    tmp_path: Path, ending: str, spacing: str | None, directions: str
) -> None:
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
    text = path.read_text().replace("(1,0,0) (0,1,0) (0,0,1)", directions)
    if spacing is None:
        text = text.replace("Matrix = 1 0 0", "Matrix = 1 0.5 0")
    path.write_text(
        text.replace("ElementSpacing = 1 1 1", f"ElementSpacing = {spacing or '1 1 1'}")
    )
    refused(path, "voxel spacing")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_cause_a_warning(tmp_path: Path, value: float) -> None:
    volume = make("oblique", "float32")
    volume.array[0] = value
    write_volume(tmp_path / "scan.nii.gz", volume)
    back = read_volume(tmp_path / "scan.nii.gz")
    same(back, volume)
    assert back.warnings == ("25.00% of the voxels are not finite (NaN or infinite).",)
    assert describe(tmp_path / "scan.nii.gz")["range"][1] < 100


def test_large_finite_values_cause_no_warning(tmp_path: Path) -> None:
    volume = make("oblique", "float32")
    volume.array[:] = 3e38
    volume.array[0] = 0
    write_volume(tmp_path / "scan.nii.gz", volume)
    assert read_volume(tmp_path / "scan.nii.gz").warnings == ()


def test_a_constant_image_causes_a_warning(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.mha", make("oblique").with_array(np.full((4, 5, 6), 7)))
    assert read_volume(tmp_path / "scan.mha").warnings == ("All voxels have the same value, 7.",)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_big_endian_files_are_read_in_native_byte_order(
    tmp_path: Path, ending: str, compressed: bool
) -> None:
    array = np.random.default_rng(2).integers(0, 60000, (4, 5, 6)).astype(np.uint16)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    content = array.astype(">u2").tobytes()
    text = path.read_text().replace("little", "big").replace("OrderMSB = False", "OrderMSB = True")
    if compressed:
        content = gzip.compress(content) if ending == ".nhdr" else zlib.compress(content)
        text = text.replace("encoding: raw", "encoding: gzip")
        text = text.replace("CompressedData = False", "CompressedData = True")
    path.write_text(text)
    (tmp_path / "scan.raw").write_bytes(content)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.uint16
    assert volume.array.dtype.isnative


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_a_missing_voxel_file_is_named_in_the_error(tmp_path: Path, ending: str) -> None:
    write_volume(tmp_path / f"scan{ending}", make("oblique"))
    for part in tmp_path.iterdir():
        if part.name != f"scan{ending}":
            part.unlink()
    refused(tmp_path / f"scan{ending}", "another file", "missing")


@pytest.mark.parametrize("frames", [2, 3, 10])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_4d_volumes_become_channels(tmp_path: Path, ending: str, frames: int) -> None:
    array = np.random.default_rng(3).integers(0, 99, (frames, 4, 5, 6)).astype(np.int16)
    image = sitk.JoinSeries([itk(make("oblique").with_array(one)) for one in array])
    sitk.WriteImage(image, str(tmp_path / f"scan{ending}"))
    volume = read_volume(tmp_path / f"scan{ending}")
    same(volume, make("oblique").with_array(np.moveaxis(array, 0, -1), channels=True))
    assert f"contains {frames} volumes (4D)" in volume.warnings[0]


def test_ascii_nrrd_is_read_by_simpleitk(tmp_path: Path) -> None:
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


def test_reading_needs_less_than_one_and_a_half_times_the_array(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, (40, 512, 512)).astype(np.int16)
    endings = (".nii", ".nii.gz", ".nrrd")
    for ending in endings:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"scan{ending}"), True, 1)
        write_volume(tmp_path / f"small{ending}", make("oblique"))
    code = """
import resource, sys
from napari_graphflow.imaging.files import read_volume
read_volume(sys.argv[2])  # libraries are imported when they are used
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
volume = read_volume(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / volume.array.nbytes)
"""
    for ending in endings:
        path = str(tmp_path / f"scan{ending}")
        # A process started directly would inherit the peak memory of this one.
        run = [sys.executable, "-c", code, path, str(tmp_path / f"small{ending}")]
        shell = "import os, sys; os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); os.wait()"
        done = subprocess.run(
            [sys.executable, "-c", shell, *run], capture_output=True, text=True, check=True
        )
        assert float(done.stdout) < 1.5, (ending, done.stdout, done.stderr)


def test_random_damage_is_read_or_refused_without_a_traceback(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for ending in VOLUME_ENDINGS:
        write_volume(tmp_path / f"scan{ending}", make("oblique"))
    for part in sorted(tmp_path.iterdir()):
        whole = part.read_bytes()
        ending = ".nhdr" if part.suffixes[-2:] == [".raw", ".gz"] else part.name[4:]
        ending = ".mhd" if part.suffix == ".zraw" else ending
        for _ in range(25):
            damaged = bytearray(whole)
            for position in random.integers(0, min(400, len(whole)), random.integers(1, 5)):
                damaged[position] = random.integers(0, 256)
            part.write_bytes(damaged[: random.integers(100, 4 * len(whole))])
            try:
                volume = read_volume(tmp_path / f"scan{ending}")
                assert min(volume.spacing) > 0
                outcomes["read"] += 1
            except UserError:
                outcomes["refused"] += 1
        part.write_bytes(whole)
    assert min(outcomes.values()) > 10


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_zlib_reads_and_checks_the_same_without_isal(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"scan{ending}"
    array = np.random.default_rng(0).integers(0, 99, (9, 50, 60)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=True)
    assert voxels.INFLATER is not zlib
    fast = read_volume(path).array
    monkeypatch.setattr(voxels, "INFLATER", zlib)
    np.testing.assert_array_equal(read_volume(path).array, fast)
    np.testing.assert_array_equal(fast, array)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"damaged|truncated"):
        read_volume(path)
