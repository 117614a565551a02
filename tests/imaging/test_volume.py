"""Every format keeps every geometry, and files are written atomically and verified."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cases import GEOMETRIES, TYPES, VOLUME_ENDINGS, by_itk, itk, make, same

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.description import describe
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume

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
def test_files_of_simpleitk_are_read_unchanged(tmp_path: Path, ending: str, geometry: str) -> None:
    volume = make(geometry)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(itk(volume), str(path), useCompression=True)
    same(read_volume(path), volume)


@pytest.mark.parametrize("dtype", [*TYPES, "int64", "uint64", "bool", "float16"])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_every_format_keeps_every_dtype(tmp_path: Path, ending: str, dtype: str) -> None:
    volume = make("anisotropic", dtype)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)
    wider = {"bool": "uint8", "float16": "float32"}
    assert read_volume(path).array.dtype == wider.get(dtype, dtype)


@pytest.mark.parametrize("geometry", ["oblique", "2D oblique"])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_every_format_keeps_channels(
    tmp_path: Path, ending: str, geometry: str, channels: int
) -> None:
    volume = make(geometry, "uint8", channels)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)
    same(by_itk(path), volume)


@pytest.mark.parametrize("shape", [(1, 5, 6), (1, 1, 1), (5, 1, 6)])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_single_slices_and_single_voxels_stay_volumes(
    tmp_path: Path, ending: str, shape: tuple[int, ...]
) -> None:
    spacing, origin, direction = GEOMETRIES["oblique"]
    volume = Volume(np.ones(shape, np.uint8), spacing, origin, direction)
    path = tmp_path / f"scan{ending}"
    write_volume(path, volume)
    same(read_volume(path), volume)


def test_a_single_slice_with_channels_is_not_written_as_nifti(
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
def test_2d_images_are_kept_by_png_and_tiff(
    tmp_path: Path, ending: str, dtype: str, channels: int
) -> None:
    image = make("2D", dtype, channels)
    path = tmp_path / f"image{ending}"
    write_volume(path, image)
    same(read_volume(path), image)
    same(by_itk(path), image)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32"])
@pytest.mark.parametrize("geometry", ["2D", "identity"])
def test_tiff_keeps_dtypes_and_pages(tmp_path: Path, dtype: str, geometry: str) -> None:
    volume = make(geometry, dtype)
    write_volume(tmp_path / "stack.tif", volume)
    same(read_volume(tmp_path / "stack.tif"), volume)


def test_tiff_keeps_the_pixel_spacing_for_simpleitk(tmp_path: Path) -> None:
    image = Volume(make("2D", "uint8").array, (0.5, 0.25), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(tmp_path / "image.tif", image)
    same(read_volume(tmp_path / "image.tif"), image)
    assert by_itk(tmp_path / "image.tif").spacing == pytest.approx((0.5, 0.25), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "geometry", "dtype", "words"),
    [
        ("a.png", "2D oblique", "uint8", "cannot store the geometry"),
        ("a.png", "identity", "uint8", "cannot store the geometry"),
        ("a.tif", "oblique", "uint8", "cannot store the geometry"),
        ("a.png", "2D", "float32", "cannot store"),
        ("a.jpg", "2D", "uint8", "cannot be written"),
        ("a", "2D", "uint8", "cannot be written"),
        ("nowhere/a.nii", "identity", "uint8", "no folder"),
    ],
)
def test_data_that_a_format_cannot_store_is_refused(
    tmp_path: Path, name: str, geometry: str, dtype: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        write_volume(tmp_path / name, make(geometry, dtype))
    assert not list(tmp_path.iterdir())


def test_complex_voxels_are_read_as_magnitudes(
    tmp_path: Path,
) -> None:
    array = np.array([[[3 + 4j, 1j], [0, 2]], [[5, 6], [7, -8]]], np.complex64)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "k.nii.gz"))
    volume = read_volume(tmp_path / "k.nii.gz")
    np.testing.assert_array_equal(volume.array, np.abs(array))
    assert "magnitude" in volume.warnings[0]


@pytest.mark.parametrize("name", ["Größe é 図像 (1).nii.gz", "a b.nrrd", "#100%.mha", "x.y.z.nii"])
def test_file_names_of_any_alphabet_are_written_and_read(tmp_path: Path, name: str) -> None:
    volume = make("oblique")
    folder = tmp_path / "Ärzte 医"
    folder.mkdir()
    write_volume(folder / name, volume)
    same(read_volume(folder / name), volume)
    assert [one.name for one in folder.iterdir()] == [name]


def test_a_file_is_replaced_only_with_overwrite_and_only_completely(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    write_volume(path, make("identity"))
    before = path.read_bytes()
    with pytest.raises(UserError, match="already exists"):
        write_volume(path, make("oblique"), overwrite=False)
    with pytest.raises(UserError):
        write_volume(path, make("identity", "complex128", 3))
    assert path.read_bytes() == before
    write_volume(path, make("oblique"))
    same(read_volume(path), make("oblique"))
    assert [one.name for one in tmp_path.iterdir()] == ["mask.nii.gz"]


# Operating system errors, in a separate process

_SAVE = """
import os, resource, sys
import numpy as np
from napari_graphflow.imaging.description import describe
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.imaging.volume import Volume
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


@pytest.mark.skipif(sys.platform == "win32", reason="process limits need POSIX")
@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".tif"])
def test_a_full_disk_keeps_the_old_file_and_reports_one_sentence(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, make("identity"))
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    report = _saving(path, limit)
    assert path.name in report and report.count("\n") == 0
    assert "not saved" in report or "cannot be written" in report
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="folder permissions need POSIX")
def test_a_read_only_folder_is_named_in_the_error() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o555)
        # Folder permissions do not apply to root.
        drop = "os.seteuid(65534)" if os.geteuid() == 0 else ""
        report = _saving(folder / "scan.nii.gz", drop)
        folder.chmod(0o755)
        assert "permission denied" in report and folder.name in report
        assert report.count("\n") == 0 and not list(folder.iterdir())


# Volume


@pytest.mark.parametrize("geometry", [name for name in GEOMETRIES if "2D" not in name])
@pytest.mark.parametrize("code", ["LPS", "RAS", "SAL", "PIR"])
def test_orientation_and_reorientation_agree_with_simpleitk(geometry: str, code: str) -> None:
    volume = make(geometry)
    letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(volume.direction)
    assert volume.orientation == letters
    expected = sitk.DICOMOrient(itk(volume), code)
    reoriented = volume.oriented(code)
    np.testing.assert_array_equal(reoriented.array, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(reoriented.origin, expected.GetOrigin())
    np.testing.assert_allclose(reoriented.direction, expected.GetDirection(), atol=1e-12)
    np.testing.assert_allclose(reoriented.spacing[::-1], expected.GetSpacing())
    assert reoriented.orientation == code
    same(reoriented.oriented(letters), volume)


def test_reorientation_keeps_channels_last() -> None:
    volume = make("permuted", "uint8", 3)
    reoriented = volume.oriented("RAS")
    for channel in range(3):
        one = volume.with_array(volume.array[..., channel]).oriented("RAS")
        np.testing.assert_array_equal(reoriented.array[..., channel], one.array)


def test_reorientation_leaves_a_2d_image_unchanged() -> None:
    image = make("2D flipped")
    assert image.oriented("RAS") is image and image.orientation == ""


@pytest.mark.parametrize(("shift", "expected"), [(0, True), (9e-4, True), (2e-3, False)])
def test_same_grid_tolerates_a_thousandth_of_a_millimetre(shift: float, expected: bool) -> None:
    volume = make("oblique")
    x, y, z = volume.origin
    moved = Volume(volume.array, volume.spacing, (x + shift, y, z), volume.direction)
    assert volume.same_grid(moved) == expected
    assert not volume.same_grid(make("2D"))


def test_with_array_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        make().with_array(np.zeros((1, 2, 3)))


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_describe_reports_shape_geometry_and_range(tmp_path: Path, ending: str) -> None:
    volume = make("oblique")
    write_volume(tmp_path / f"scan{ending}", volume)
    report = describe(tmp_path / f"scan{ending}")
    assert report["format"] in ("NIfTI", "NRRD", "MetaImage")
    assert report["shape"] == [4, 5, 6] and report["type"] == "int16" and report["channels"] == 1
    assert report["orientation"] == volume.orientation and report["warnings"] == []
    assert report["range"] == [volume.array.min(), volume.array.max()]
    np.testing.assert_allclose(report["spacing"], volume.spacing, rtol=1e-6)
    np.testing.assert_allclose(report["origin"], volume.origin, rtol=1e-6)
    np.testing.assert_allclose(report["direction"], volume.direction, atol=1e-6)


def test_real_volumes_are_read_as_by_simpleitk(shared_data: Path) -> None:
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
