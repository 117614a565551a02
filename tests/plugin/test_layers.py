"""Geometry from file to layer and back, checked with SimpleITK alone."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from napari import Viewer

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume
from napari_graphflow.plugin.viewer.layers import (
    class_names,
    image_volume,
    labels_volume,
    save_labels,
)
from napari_graphflow.plugin.viewer.placement import CASE
from napari_graphflow.plugin.viewer.record import recorded

GEOMETRIES = {
    "identity": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "anisotropic": ((0.7, 0.8, 5.0), (3.0, -4.0, 9.5), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "flipped": ((1.5, 1.0, 2.0), (90.0, 80.0, -10.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "permuted": ((0.5, 7.5, 0.6), (1.0, 2.0, 3.0), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
    "permuted and flipped": ((0.9, 1.1, 3.0), (5.0, 6.0, 7.0), (0, 0, -1, 1, 0, 0, 0, -1, 0)),
    "oblique": (
        (0.8, 0.7, 2.5),
        (-30.0, 12.5, 100.0),
        (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0),
    ),
    "2D": ((0.5, 0.25), (-7.0, 3.5), (1, 0, 0, 1)),
    "2D oblique": ((0.5, 0.25), (-7.0, 3.5), (0.8, -0.6, 0.6, 0.8)),
}


def write(path: Path, kind: str) -> sitk.Image:
    spacing, origin, direction = GEOMETRIES[kind]
    shape = (5, 7, 9)[-len(spacing) :]
    array = np.random.default_rng(1).integers(-900, 900, shape).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return image


def assert_same_geometry(one: sitk.Image, other: sitk.Image) -> None:
    assert one.GetSize() == other.GetSize()
    np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)


def test_a_mask_is_not_saved_over_an_open_scan(viewer: Viewer, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    write(path, next(iter(GEOMETRIES)))
    before = path.read_bytes()
    (image,) = viewer.open(str(path), plugin="napari-graphflow")
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    viewer.layers[-1].paint((0,) * image.ndim, 1)
    link = tmp_path / "link.nii.gz"
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(UserError, match="one of the files that are read"):
            save_labels(target, viewer.layers[-1])
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("kind", GEOMETRIES)
def test_a_painted_mask_is_saved_with_the_geometry_of_its_image(
    viewer: Viewer, tmp_path: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    scan = write(path, kind)
    (image,) = viewer.open(str(path), plugin="napari-graphflow")
    assert [str(unit) for unit in image.units] == ["millimeter"] * image.ndim
    assert image.axis_labels == ("z", "y", "x")[-image.ndim :]

    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mask = viewer.layers[-1]
    assert recorded(mask) is None, "napari copies the metadata, which makes this test meaningless"
    # Label the brightest voxel of the image.
    brightest = np.unravel_index(np.argmax(image.data), image.data.shape)
    mask.brush_size = 1
    mask.paint([int(index) for index in brightest], 3)

    out = tmp_path / f"mask{suffix}"
    assert viewer.layers.selection == {mask}
    assert viewer.layers.save(str(out), selected=True, plugin="napari-graphflow") == [str(out)]
    saved = sitk.ReadImage(str(out))
    assert_same_geometry(saved, scan)
    found = np.argwhere(sitk.GetArrayFromImage(saved) == 3)
    scan_array = sitk.GetArrayFromImage(scan)
    assert found.tolist() == [list(np.unravel_index(np.argmax(scan_array), scan_array.shape))]


def test_image_layers_are_lps_for_any_file_orientation(viewer: Viewer, tmp_path: Path) -> None:
    one = read_volume(_write_volume(tmp_path / "a.nrrd", "anisotropic"))
    for code in ("RAS", "PIR", "LAI"):
        sitk.WriteImage(_image(one.oriented(code)), str(tmp_path / f"{code}.nrrd"))
        (layer,) = viewer.open(str(tmp_path / f"{code}.nrrd"), plugin="napari-graphflow")
        np.testing.assert_array_equal(layer.data, one.array)
        assert image_volume(layer).orientation == code


def test_an_image_layer_converts_back_to_the_same_volume(viewer: Viewer, tmp_path: Path) -> None:
    for kind in GEOMETRIES:
        path = tmp_path / f"{kind}.mha"
        scan = write(path, kind)
        (layer,) = viewer.open(str(path), plugin="napari-graphflow")
        volume = image_volume(layer)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(scan))
        np.testing.assert_allclose(volume.origin, scan.GetOrigin(), atol=1e-9)
        np.testing.assert_allclose(volume.direction, scan.GetDirection(), atol=1e-12)


def test_between_two_matching_images_at_different_positions_the_user_chooses(
    viewer: Viewer, tmp_path: Path
) -> None:
    _write_volume(tmp_path / "a.nrrd", "identity")
    image = write(tmp_path / "b.nrrd", "identity")
    image.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "b.nrrd"))
    a, b = (
        viewer.open(str(tmp_path / f"{name}.nrrd"), plugin="napari-graphflow")[0] for name in "ab"
    )
    mask = viewer.add_labels(np.zeros(a.data.shape, np.uint8), scale=a.scale, name="mine")
    assert labels_volume(mask).origin == (5.0, 0.0, 0.0), "b was shown while the mask was made"
    del mask.metadata[CASE]
    with pytest.raises(UserError, match="mine matches 2 images"):
        labels_volume(mask, viewer.layers)
    asked = []
    volume = labels_volume(mask, viewer.layers, lambda _, images: asked.append(images) or b)
    assert asked == [[a, b]]
    assert volume.origin == (5.0, 0.0, 0.0)


def test_a_mask_without_its_image_is_not_saved(viewer: Viewer, tmp_path: Path) -> None:
    mask = viewer.add_labels(np.ones((4, 5, 6), np.uint8), name="mine")
    with pytest.raises(UserError, match="No open image has the grid of mine"):
        save_labels(tmp_path / "mask.nii.gz", mask, viewer.layers)
    assert list(tmp_path.iterdir()) == []


def test_a_moved_mask_is_not_saved(viewer: Viewer, tmp_path: Path) -> None:
    (image,) = viewer.open(
        str(_write_volume(tmp_path / "a.nrrd", "identity")), plugin="napari-graphflow"
    )
    mask = viewer.add_labels(np.ones(image.data.shape, np.uint8), name="mine")
    mask.translate = (1, 0, 0)
    with pytest.raises(UserError, match="mine was moved"):
        save_labels(tmp_path / "mask.nii.gz", mask, viewer.layers)


def test_a_file_with_few_distinct_values_opens_as_a_mask(viewer: Viewer, tmp_path: Path) -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[1, 2, 3] = 2
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "mask.nii.gz"))
    (layer,) = viewer.open(str(tmp_path / "mask.nii.gz"), plugin="napari-graphflow")
    assert type(layer).__name__ == "Labels"
    assert layer.editable
    assert class_names(layer) == {}


def _write_volume(path: Path, kind: str) -> Path:
    write(path, kind)
    return path


def _image(volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    return image
