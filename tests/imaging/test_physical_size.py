"""Whether an image has a physical size and the directions of a patient."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from dicom_cases import write_series
from PIL import Image

from napari_graphflow.imaging.files import read_volume, write_labels
from napari_graphflow.imaging.volume import Volume

VOXELS = np.random.default_rng(0).integers(0, 200, (4, 6, 8)).astype(np.uint8)


def write_nifti(path: Path, qform: int, sform: int) -> None:
    image = nibabel.Nifti1Image(VOXELS, np.diag([1.0, 1, 2.5, 1]))
    image.set_qform(image.affine, code=qform)
    image.set_sform(image.affine, code=sform)
    nibabel.save(image, path)


@pytest.mark.parametrize("name", ["photograph.png", "photograph.jpg", "photograph.tif"])
def test_a_photograph_has_neither_a_size_nor_directions(tmp_path: Path, name: str) -> None:
    Image.fromarray(VOXELS[0]).save(tmp_path / name)
    found = read_volume(tmp_path / name)
    assert not found.sized and not found.anatomical


def test_a_tiff_stack_with_a_pixel_size_has_a_size_but_no_directions(tmp_path: Path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path, VOXELS, photometric="minisblack", resolution=(100, 100), resolutionunit="CENTIMETER"
    )
    found = read_volume(path)
    assert found.sized and not found.anatomical
    assert found.spacing[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("qform", "sform", "known"), [(0, 0, False), (1, 0, True), (0, 2, True)])
def test_a_nifti_file_has_directions_if_its_header_has_a_transform(
    tmp_path: Path, qform: int, sform: int, known: bool
) -> None:
    write_nifti(tmp_path / "scan.nii.gz", qform, sform)
    found = read_volume(tmp_path / "scan.nii.gz")
    assert found.sized
    assert found.anatomical is known
    assert found.oriented("RAS").anatomical is known, "lost by reorientation"


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ("space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n", True),
        ("space: RAS\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n", True),
        ("spacings: 1 1 2\n", False),
    ],
)
def test_an_nrrd_file_has_directions_if_it_names_a_space(
    tmp_path: Path, fields: str, known: bool
) -> None:
    head = f"NRRD0004\ntype: uint8\ndimension: 3\n{fields}sizes: 8 6 4\nencoding: raw\n\n"
    (tmp_path / "scan.nrrd").write_bytes(head.encode() + VOXELS.tobytes())
    assert read_volume(tmp_path / "scan.nrrd").anatomical is known


def test_a_dicom_series_has_directions_and_a_modality(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    found = read_volume(tmp_path / "ct")
    assert found.sized and found.anatomical
    assert found.modality == "CT"


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_mask_of_a_photograph_is_saved_without_a_pixel_size(tmp_path: Path, ending: str) -> None:
    Image.fromarray(VOXELS[0]).save(tmp_path / "photograph.png")
    image: Volume = read_volume(tmp_path / "photograph.png")
    path = tmp_path / f"mask{ending}"
    write_labels(path, (VOXELS[0] > 100).astype(np.uint8), image)
    assert not read_volume(path).sized
    with Image.open(path) as stored:
        assert "dpi" not in stored.info or stored.info["dpi"] == (1, 1)


@pytest.mark.parametrize(("unit", "size", "doubted"), [
    ("meter", 1.0, True), ("meter", 0.001, False), ("mm", 1.0, False), ("micron", 500.0, False),
])  # fmt: skip
def test_a_voxel_size_in_metres_that_may_be_in_millimetres_is_doubted(
    tmp_path: Path, unit: str, size: float, doubted: bool
) -> None:
    scan = nibabel.Nifti1Image(VOXELS, np.diag([size, size, size, 1.0]))
    scan.header.set_xyzt_units(xyz=unit)
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    found = read_volume(tmp_path / "scan.nii.gz").warnings
    assert any("in metres" in text for text in found) == doubted
