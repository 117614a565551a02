"""Voxel sizes of TIFF stacks and images, in the units of the programs that write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_graphflow.imaging.files import read_labels, read_volume, write_labels, write_volume
from napari_graphflow.imaging.formats.tiff_size import unit_in_mm
from napari_graphflow.imaging.volume import Volume

VOXELS = np.random.default_rng(0).integers(0, 900, (6, 32, 40)).astype(np.uint16)
#: z, y, x in micrometres.
SIZE = (2.0, 0.5, 0.25)
IN_MM = (2e-3, 0.5e-3, 0.25e-3)


def write_imagej(path: Path, unit: str, per_um: float = 1.0, **more: Any) -> Path:
    """Write the voxels with their size in a unit, of which `per_um` are a micrometre."""
    z, y, x = (size * per_um for size in SIZE)
    metadata = {"spacing": z, "unit": unit, "axes": "ZYX"} | more
    tifffile.imwrite(path, VOXELS, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata)
    return path


def write_ome(path: Path, array: np.ndarray[Any, Any], unit: str | None, *sizes: float) -> Path:
    axes = "ZYX"[-array.ndim :]
    metadata: dict[str, Any] = {"axes": axes}
    for axis, size in zip(axes, sizes, strict=True):
        metadata |= {f"PhysicalSize{axis}": size}
        metadata |= {f"PhysicalSize{axis}Unit": unit} if unit else {}
    tifffile.imwrite(path, array, metadata=metadata, ome=True)
    return path


@pytest.mark.parametrize(
    ("unit", "per_um"),
    [("um", 1), ("\\u00B5m", 1), ("micron", 1), ("microns", 1), ("micrometre", 1),
     ("nm", 1000), ("nanometers", 1000), ("mm", 1e-3), ("cm", 1e-4), ("inch", 1 / 25400)],
)  # fmt: skip
def test_the_units_of_imagej_are_understood(tmp_path: Path, unit: str, per_um: float) -> None:
    volume = read_volume(write_imagej(tmp_path / "stack.tif", unit, per_um))
    assert volume.spacing == pytest.approx(IN_MM, rel=1e-3) and volume.sized
    assert volume.warnings == ("The file has 6 pages; they are shown as slices.",)


@pytest.mark.parametrize(
    ("unit", "factor"), [(None, 1.0), ("µm", 1.0), ("nm", 1e3), ("mm", 1e-3), ("Å", 1e4)]
)
def test_the_units_of_ome_are_understood(tmp_path: Path, unit: str | None, factor: float) -> None:
    sizes = [size * factor for size in SIZE]
    volume = read_volume(write_ome(tmp_path / "stack.ome.tif", VOXELS, unit, *sizes))
    assert volume.spacing == pytest.approx(IN_MM) and volume.sized
    image = read_volume(write_ome(tmp_path / "image.ome.tif", VOXELS[0], unit, *sizes[1:]))
    assert image.spacing == pytest.approx(IN_MM[1:]) and image.warnings == ()


def test_an_escaped_unit_in_ome_xml_is_understood(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        'SizeX="40" SizeY="32" SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="0.25" '
        'PhysicalSizeXUnit="&#181;m" PhysicalSizeY="0.5" PhysicalSizeYUnit="&#xB5;m">'
        "<TiffData/></Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS[0], description=xml, metadata=None)
    assert read_volume(tmp_path / "a.ome.tif").spacing == pytest.approx(IN_MM[1:])


@pytest.mark.parametrize("number", ["", "_0000"])
def test_the_spacing_of_a_json_file_beside_a_stack_is_used(tmp_path: Path, number: str) -> None:
    tifffile.imwrite(tmp_path / f"cell{number}.tif", VOXELS)
    (tmp_path / "cell.json").write_text(json.dumps({"spacing": [5.0, 0.5, 0.25]}))
    assert read_volume(tmp_path / f"cell{number}.tif").spacing == (5.0, 0.5, 0.25)
    (tmp_path / "cell.json").write_text(json.dumps({"spacing": [5.0, 0]}))
    volume = read_volume(tmp_path / f"cell{number}.tif")
    assert not volume.sized and "cell.json is not valid" in " ".join(volume.warnings)


def test_an_unknown_voxel_size_of_a_stack_is_said_but_not_of_a_photograph(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", VOXELS)
    tifffile.imwrite(tmp_path / "image.tif", VOXELS[0])
    for path, words in (
        (tmp_path / "stack.tif", "The voxel size is unknown; 1 mm is assumed"),
        (write_imagej(tmp_path / "pixel.tif", "pixel"), "The voxel size is unknown"),
        (write_imagej(tmp_path / "odd.tif", "furlong"), "unit “furlong”, which is unknown"),
    ):
        volume = read_volume(path)
        assert not volume.sized and volume.spacing == (1, 1, 1)
        assert words in " ".join(volume.warnings)
    assert read_volume(tmp_path / "image.tif").warnings == ()


def test_an_unknown_slice_distance_is_said(tmp_path: Path) -> None:
    resolution = {"resolution": (100, 50), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "stack.tif", VOXELS, **resolution)
    volume = read_volume(tmp_path / "stack.tif")
    assert volume.sized and volume.spacing == pytest.approx((1.0, 0.2, 0.1))
    assert "The slice distance is unknown" in " ".join(volume.warnings)
    times = write_imagej(tmp_path / "times.tif", "um", axes="TYX")
    assert read_volume(times).spacing == pytest.approx((1.0, 0.5e-3, 0.25e-3))
    assert "6 time points; they are shown as slices" in " ".join(read_volume(times).warnings)


def test_a_pixel_of_exactly_one_millimetre_is_a_known_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOXELS[0], resolution=(10, 10), resolutionunit=3)
    assert read_volume(tmp_path / "a.tif").sized


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_a_stack_is_written_with_its_slice_distance(tmp_path: Path, dtype: str) -> None:
    direction = tuple(np.eye(3).ravel().tolist())
    like = Volume(VOXELS.astype(dtype), (5.0, 0.5, 0.3), (0.0,) * 3, direction, anatomical=False)
    write_volume(tmp_path / "image.tif", like)
    back = read_volume(tmp_path / "image.tif")
    assert back.spacing == pytest.approx(like.spacing, rel=1e-6) and back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, like.array)
    write_labels(tmp_path / "mask.tif", (VOXELS > 400).astype(np.uint8), back)
    mask = read_labels(tmp_path / "mask.tif", back)
    np.testing.assert_array_equal(mask.array, VOXELS > 400)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "image.tif"), like.array)


@pytest.mark.parametrize(
    ("unit", "size"), [("Micrometers", 1e-3), ("METRE", 1e3), ("Inches", 25.4)]
)
def test_names_of_units_may_be_in_any_spelling(unit: str, size: float) -> None:
    assert unit_in_mm(unit) == size and unit_in_mm("") is None
