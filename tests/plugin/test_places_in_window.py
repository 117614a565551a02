"""Opening and saving moved, cropped and foreign layers in a real window."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_cases import write_series
from napari import Viewer
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from PIL import Image as Picture

from napari_graphflow.imaging.labels import IGNORE

WriteScan = Callable[..., Path]
PLUGIN = "napari-graphflow"


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What napari told the user."""
    texts: list[str] = []

    def keep(one: object) -> None:
        texts.append(str(getattr(one, "message", one)))

    notification_manager.notification_ready.connect(keep)
    yield texts
    notification_manager.notification_ready.disconnect(keep)


def save(viewer: Viewer, layer: object, path: Path) -> sitk.Image | None:
    viewer.layers.selection = {layer}
    with pytest.MonkeyPatch.context() as patch:
        # napari warns once more if nothing was written.
        patch.setattr("warnings.warn", lambda *_, **__: None)
        viewer.layers.save(str(path), selected=True, plugin=PLUGIN)
    return sitk.ReadImage(str(path)) if path.exists() else None


def write_mask(path: Path, like: Path, box: tuple[slice, ...], shift: float = 0.0) -> np.ndarray:
    """Write a mask of a part of an image, shifted by a part of a voxel along x."""
    image = sitk.ReadImage(str(like))
    labels = np.zeros(image.GetSize()[::-1], np.uint8)
    labels[5:9, 6:12, 8:15] = 1
    mask = sitk.GetImageFromArray(labels)
    mask.CopyInformation(image)
    z, y, x = box
    cut = mask[x, y, z]
    direction = np.array(cut.GetDirection()).reshape(3, 3)
    moved = np.array(cut.GetOrigin()) + direction[:, 0] * shift * cut.GetSpacing()[0]
    cut.SetOrigin(moved.tolist())
    sitk.WriteImage(cut, str(path))
    return labels


PART = np.s_[4:10, 5:14, 7:17]


def test_a_cropped_mask_opens_on_the_voxels_of_its_scan(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str]
) -> None:
    labels = write_mask(tmp_path / "seg.nii.gz", scan := write_scan(), PART)
    viewer.open(str(scan), plugin=PLUGIN)
    (mask,) = viewer.open(str(tmp_path / "seg.nii.gz"), plugin=PLUGIN)
    np.testing.assert_array_equal(mask.data, labels)
    assert not [text for text in said if "places" in text]
    saved = save(viewer, mask, tmp_path / "out.nii.gz")
    assert saved is not None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), labels)
    np.testing.assert_allclose(saved.GetOrigin(), sitk.ReadImage(str(scan)).GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("first", ["scan", "mask"])
@pytest.mark.parametrize(("box", "shift"), [(PART, 0.5), (np.s_[:, :, :], 0.5)])
def test_a_mask_between_the_voxels_of_its_scan_opens_with_a_warning(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str], first, box, shift
) -> None:
    files = {"scan": write_scan(), "mask": tmp_path / "seg.nii.gz"}
    write_mask(files["mask"], files["scan"], box, shift)
    for name in (first, *({"scan", "mask"} - {first})):
        viewer.open(str(files[name]), plugin=PLUGIN)
    assert [text for text in said if "seg does not lie on the voxels of scan" in text]
    assert sum(layer.visible for layer in viewer.layers) == 1
    assert type(viewer.layers["seg"]) is Labels


def test_a_cropped_mask_opened_before_its_scan_causes_a_warning(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str]
) -> None:
    write_mask(tmp_path / "seg.nii.gz", scan := write_scan(), PART)
    viewer.open(str(tmp_path / "seg.nii.gz"), plugin=PLUGIN)
    viewer.open(str(scan), plugin=PLUGIN)
    assert [text for text in said if "seg does not lie on the voxels of scan" in text]
    assert [layer.visible for layer in viewer.layers] == [False, True]


def test_a_mask_is_saved_at_the_place_of_the_image_in_its_own_viewer(
    viewer: Viewer, make_napari_viewer: Callable[..., Viewer], write_scan, tmp_path: Path
) -> None:
    scan = write_scan()
    viewer.open(str(scan), plugin=PLUGIN)
    other = make_napari_viewer(show=True)
    other.open(str(write_scan("other.nii.gz", origin=(100.0, 200.0, 300.0))), plugin=PLUGIN)
    mask = viewer.add_labels(np.ones((12, 20, 24), np.uint8), scale=viewer.layers[0].scale)
    saved = save(viewer, mask, tmp_path / "mask.nii.gz")
    assert saved is not None
    np.testing.assert_allclose(saved.GetOrigin(), sitk.ReadImage(str(scan)).GetOrigin(), atol=1e-4)
    other.window._qt_window.hide()


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_dragged_layer_is_not_saved(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str], kind: str
) -> None:
    write_mask(tmp_path / "seg.nii.gz", scan := write_scan(), np.s_[:, :, :])
    (image,) = viewer.open(str(scan), plugin=PLUGIN)
    (mask,) = viewer.open(str(tmp_path / "seg.nii.gz"), plugin=PLUGIN)
    layer = image if kind == "image" else mask
    affine = np.eye(4)
    affine[1, 3] = 7.0
    layer.mode = "transform"
    layer.affine = affine
    assert save(viewer, layer, tmp_path / "moved.nii.gz") is None
    assert [text for text in said if f"{layer.name} was moved" in text]


def test_a_crop_of_an_oblique_scan_is_saved_where_it_lies(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path
) -> None:
    scan = write_scan()
    (image,) = viewer.open(str(scan), plugin=PLUGIN)
    place = {"scale": image.scale, "units": image.units}
    place["translate"] = np.array((4, 5, 7)) * image.scale
    crop = viewer.add_image(image.data[4:, 5:, 7:], name="crop", **place)
    mask = viewer.add_labels(np.ones(crop.data.shape, np.uint8), name="mask", **place)
    expected = sitk.ReadImage(str(scan))[7:, 5:, 4:]
    for layer in (crop, mask):
        saved = save(viewer, layer, tmp_path / f"{layer.name}.nrrd")
        assert saved is not None
        assert saved.GetSize() == expected.GetSize()
        np.testing.assert_allclose(saved.GetOrigin(), expected.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(saved.GetDirection(), expected.GetDirection(), atol=1e-6)


def test_a_multiscale_mask_is_saved_at_full_resolution(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path
) -> None:
    (image,) = viewer.open(str(write_scan()), plugin=PLUGIN)
    full = np.ones(image.data.shape, np.uint8)
    mask = viewer.add_labels([full, full[::2, ::2, ::2]], multiscale=True, scale=image.scale)
    saved = save(viewer, mask, tmp_path / "mask.nii.gz")
    assert saved is not None
    assert saved.GetSize() == (24, 20, 12)


def test_labels_below_zero_are_named_and_not_saved(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str]
) -> None:
    (image,) = viewer.open(str(write_scan()), plugin=PLUGIN)
    array = np.zeros(image.data.shape, np.int16)
    array[0, 0, :3] = (-1, -1, -7)
    mask = viewer.add_labels(array, name="mine", scale=image.scale)
    assert save(viewer, mask, tmp_path / "mask.nii.gz") is None
    (text,) = [text for text in said if "negative labels" in text]
    assert "mine has 3 voxels with negative labels (-7, -1)" in text
    assert str(IGNORE) in text


def test_a_mask_with_a_time_axis_is_refused_whatever_the_format(
    viewer: Viewer, tmp_path: Path, said: list[str]
) -> None:
    mask = viewer.add_labels(np.ones((2, 4, 5, 6), np.uint8), name="cine")
    for ending in (".nrrd", ".nii.gz", ".mha"):
        assert save(viewer, mask, tmp_path / f"cine{ending}") is None
    assert len([text for text in said if "cine has 4 dimensions, such as time" in text]) == 3


def test_incomplete_and_doubled_class_names_are_saved_without_losing_a_label(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path
) -> None:
    (image,) = viewer.open(str(write_scan()), plugin=PLUGIN)
    features = {
        "index": [0, 1, 2, 3, np.nan, 5],
        "name": ["background", "lesion", "lesion", None, "nowhere", "lesion 2"],
    }
    array = np.ones(image.data.shape, np.uint8)
    mask = viewer.add_labels(array, scale=image.scale, features=features)
    assert save(viewer, mask, tmp_path / "mask.nii.gz") is not None
    names = json.loads((tmp_path / "mask.nii.gz.labels.json").read_text("utf-8"))["labels"]
    assert names == {"background": 0, "lesion": 1, "lesion 3": 2, "lesion 2": 5}


def test_2d_images_open_as_the_slices_of_one_stack(viewer: Viewer, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 255, (20, 24)).astype(np.uint8) for _ in range(4)]
    files = [tmp_path / f"slice_{index}.png" for index in range(4)]
    for array, file in zip(arrays, files, strict=True):
        Picture.fromarray(array).save(file)
    (layer,) = viewer.open([str(file) for file in files], stack=True, plugin=PLUGIN)
    assert type(layer) is Image
    np.testing.assert_array_equal(layer.data, arrays)


def test_a_stack_of_masks_opens_as_one_mask_and_volumes_are_not_stacked(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path, said: list[str]
) -> None:
    files = [tmp_path / f"mask_{index}.png" for index in range(3)]
    for file in files:
        Picture.fromarray(np.eye(9, dtype=np.uint8) * 255).save(file)
    (layer,) = viewer.open([str(file) for file in files], stack=True, plugin=PLUGIN)
    assert type(layer) is Labels
    assert layer.data.shape == (3, 9, 9)
    assert layer.data.max() == 1
    scans = [str(write_scan("a.nii.gz")), str(write_scan("b.nii.gz"))]
    assert viewer.open(scans, stack=True, plugin=PLUGIN) == []
    assert [text for text in said if "a.nii.gz is a volume" in text]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_mask_saved_as_floats_opens_as_a_mask(viewer: Viewer, tmp_path: Path, dtype) -> None:
    labels = np.zeros((5, 6, 7), dtype)
    labels[1, 2, 3], labels[2] = 2, 1
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "seg.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(labels * 0.3), str(tmp_path / "map.nii.gz"))
    (mask,) = viewer.open(str(tmp_path / "seg.nii.gz"), plugin=PLUGIN)
    assert type(mask) is Labels
    np.testing.assert_array_equal(mask.data, labels)
    (image,) = viewer.open(str(tmp_path / "map.nii.gz"), plugin=PLUGIN)
    assert type(image) is Image


def test_a_mask_from_another_file_is_saved_as_segmentation_of_the_series_it_lies_on(
    viewer: Viewer, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    write_series(tmp_path / "ct")
    (image,) = viewer.open(str(tmp_path / "ct"), plugin=PLUGIN)
    viewer.layers.selection.active = image
    mask = viewer.add_labels(np.zeros(image.data.shape, np.uint8), scale=image.scale)
    mask.data_setitem((np.array([1]), np.array([3]), np.array([4])), 2)
    assert save(viewer, mask, tmp_path / "mask.nii.gz") is not None
    (opened,) = viewer.open(str(tmp_path / "mask.nii.gz"), plugin=PLUGIN)
    assert save(viewer, opened, tmp_path / "mask.dcm") is not None
