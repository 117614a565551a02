"""Images that are not of a patient: in pixels, and without orientation letters."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from napari import Viewer
from napari.layers import Labels
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_graphflow.imaging.files import read_volume
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters
from napari_graphflow.plugin.widgets.docks import show_dock

WriteScan = Callable[..., Path]
VOXELS = np.random.default_rng(0).integers(0, 200, (5, 20, 24)).astype(np.uint8)
AXIAL = "APRL"


def letters(viewer: Viewer) -> str:
    found = show_orientation_letters(viewer)
    assert found is not None
    return "".join(found.texts)


def write_photograph(path: Path) -> None:
    Image.fromarray(np.stack([VOXELS[0]] * 3, -1)).save(path)


def write_stack(path: Path) -> None:
    tifffile.imwrite(path, VOXELS, photometric="minisblack")


def write_nifti_without_transform(path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.astype(np.int16), np.eye(4))
    image.set_qform(None, code=0)
    image.set_sform(None, code=0)
    nibabel.save(image, path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("photograph.png", write_photograph),
        ("photograph.jpg", write_photograph),
        ("cells.tif", write_stack),
        ("plain.nii.gz", write_nifti_without_transform),
    ],
)
def test_no_letters_are_shown_around_an_image_without_directions(
    viewer: Viewer, tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    viewer.open(str(tmp_path / name), plugin="napari-graphflow")
    assert letters(viewer) == ""


def test_letters_belong_to_the_images_that_are_visible(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path
) -> None:
    write_photograph(tmp_path / "photograph.png")
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    (photograph,) = viewer.open(str(tmp_path / "photograph.png"), plugin="napari-graphflow")
    photograph.visible = True
    viewer.layers["scan"].visible = False
    assert letters(viewer) == ""
    photograph.visible, viewer.layers["scan"].visible = False, True
    assert letters(viewer) == AXIAL


def test_a_scan_with_a_mask_painted_by_the_user_keeps_its_letters(
    viewer: Viewer, write_scan: WriteScan
) -> None:
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    viewer._new_labels()
    assert letters(viewer) == AXIAL


def test_a_scan_that_was_turned_loses_its_letters(viewer: Viewer, write_scan: WriteScan) -> None:
    (scan,) = viewer.open(str(write_scan()), plugin="napari-graphflow")
    scan.rotate = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    assert letters(viewer) == ""


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_a_photograph_is_shown_and_described_in_pixels(
    viewer: Viewer, tmp_path: Path, ending: str
) -> None:
    write_photograph(tmp_path / f"photograph{ending}")
    (layer,) = viewer.open(str(tmp_path / f"photograph{ending}"), plugin="napari-graphflow")
    assert {str(unit) for unit in layer.units} == {"pixel"}
    facts = show_dock(viewer, "Volume").facts.text()
    assert facts.startswith("20 × 24 pixels, size unknown")
    assert "mm" not in facts
    viewer.window.remove_dock_widget("all")


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_mask_painted_on_a_photograph_is_saved_in_pixels(
    viewer: Viewer, tmp_path: Path, ending: str
) -> None:
    write_photograph(tmp_path / "photograph.png")
    viewer.open(str(tmp_path / "photograph.png"), plugin="napari-graphflow")
    viewer._new_labels()
    mask = viewer.layers[-1]
    assert isinstance(mask, Labels)
    mask.data_setitem((np.array([3, 4]), np.array([5, 6])), 1)
    viewer.layers.selection = {mask}
    path = tmp_path / f"mask{ending}"
    viewer.layers.save(str(path), selected=True, plugin="napari-graphflow")
    saved = read_volume(path)
    assert not saved.sized
    np.testing.assert_array_equal(saved.array, mask.data)


def test_masks_of_a_photograph_are_compared_and_saved_in_pixels(
    viewer: Viewer, qtbot: QtBot, tmp_path: Path
) -> None:
    write_photograph(tmp_path / "photograph.png")
    (image,) = viewer.open(str(tmp_path / "photograph.png"), plugin="napari-graphflow")
    array = np.zeros((20, 24), np.uint8)
    array[2:5, 2:6] = 1
    a, b = (
        viewer.add_labels(array.copy(), name=name, scale=image.scale, units=image.units)
        for name in "ab"
    )
    compare, segment = show_dock(viewer, "Compare"), show_dock(viewer, "Segment")
    viewer.layers.selection.active = a
    segment.save_mask(tmp_path / "mask.png")
    assert segment.status.text().endswith("in pixels).")
    compare.a.choose(a)
    compare.b.choose(b)
    compare.button.click()
    qtbot.waitUntil(lambda: compare.table.rowCount() > 0)
    last = compare.table.columnCount() - 1
    assert compare.table.horizontalHeaderItem(last).text() == "px"
    assert compare.table.item(1, last).text() == "12.0 · 12.0"
    assert "in px" in compare.table.horizontalHeaderItem(last - 1).toolTip()
    viewer.window.remove_dock_widget("all")


def test_letters_are_legible_in_the_light_theme(viewer: Viewer, write_scan: WriteScan) -> None:
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    overlays = list(show_orientation_letters(viewer).overlays.values())
    dark = [tuple(one.color) for one in overlays]
    viewer.theme = "light"
    assert all(sum(tuple(one.color)[:3]) < 1 for one in overlays)
    viewer.theme = "dark"
    assert [tuple(one.color) for one in overlays] == dark


def test_a_stack_with_a_pixel_size_is_shown_in_mm(viewer: Viewer, tmp_path: Path) -> None:
    size = {"resolution": (100, 100), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "cells.tif", VOXELS, photometric="minisblack", **size)
    (layer,) = viewer.open(str(tmp_path / "cells.tif"), plugin="napari-graphflow")
    assert {str(unit) for unit in layer.units} == {"millimeter"}
    assert layer.scale[-1] == pytest.approx(0.1)
