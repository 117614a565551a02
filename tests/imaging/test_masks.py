"""Masks of other programs are read as labels, or refused with one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from cases import itk, same
from numpy.typing import NDArray
from PIL import Image

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume, write_labels, write_volume
from napari_graphflow.imaging.volume import Volume

OBLIQUE = tuple(sitk.VersorTransform((0.6, 0.48, 0.64), 0.5).GetMatrix())


def make(dtype: str = "int16") -> Volume:
    """An oblique volume of random values with no two axes of the same length."""
    values = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(dtype)
    return Volume(values, (2.5, 0.81, 0.7), (-123.456, 78.9, -1234.5), OBLIQUE)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (70000, "uint32")]
)
def test_labels_are_written_in_the_smallest_type_with_the_geometry(
    tmp_path: Path, largest: int, dtype: str
) -> None:
    like = make("float32")
    labels = np.zeros(like.shape, np.int64)
    labels[0, 1] = largest
    labels[1, 1] = min(largest, 2)
    write_labels(tmp_path / "mask.nii.gz", labels, like)
    back = read_labels(tmp_path / "mask.nii.gz", like)
    same(back, like.with_array(labels))
    alone = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz")))
    assert back.array.dtype == alone.dtype == dtype


def test_labels_of_a_colour_image_are_kept(tmp_path: Path) -> None:
    array = np.zeros((5, 6, 3), np.uint8)
    like = Volume(array, (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), channels=True)
    write_labels(tmp_path / "mask.png", np.eye(5, 6, dtype=np.uint8), like)
    assert read_labels(tmp_path / "mask.png", like).array.sum() == 5


@pytest.mark.parametrize("labels", [np.full((4, 5, 6), -1), np.full((4, 5, 6), 0.5)])
def test_negative_and_fractional_labels_are_not_written(
    tmp_path: Path, labels: NDArray[Any]
) -> None:
    with pytest.raises(ValueError, match="non-negative integers"):
        write_labels(tmp_path / "mask.nii", labels, make())


@pytest.mark.parametrize("code", ["RAS", "SPL", "AIR"])
def test_a_mask_in_another_orientation_is_reoriented_to_its_image(
    tmp_path: Path, code: str
) -> None:
    like = make()
    labels = like.with_array((like.array > 50).astype(np.uint8))
    write_volume(tmp_path / "mask.nrrd", labels.oriented(code))
    same(read_labels(tmp_path / "mask.nrrd", like), labels)


def test_a_rounded_origin_is_accepted_and_a_shifted_one_refused(tmp_path: Path) -> None:
    like = make()
    labels = (like.array > 50).astype(np.uint8)
    spacing, origin, direction = like.spacing, like.origin, like.direction
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
        ([0.0, np.nan, 1.0], "NaN or infinite"),
        ([0.0, -1.0, 1.0], "negative"),
        ([0.0, 1e12, 1.0], "above 4294967295"),
    ],
)
def test_values_that_are_not_labels_are_refused(
    tmp_path: Path, values: list[float], message: str
) -> None:
    array = np.resize(values, (4, 5, 6))
    write_volume(tmp_path / "mask.nii.gz", make().with_array(array))
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "mask.nii.gz")


def test_many_classes_of_a_2d_image_are_not_mistaken_for_blurred_edges(tmp_path: Path) -> None:
    labels = np.resize(np.append(np.arange(34), 255), (35, 35)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "street.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "street.png").array, labels)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(labels).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="256 grey levels"):
        read_labels(tmp_path / "grey.png")


def write_channels(path: Path, *channels: NDArray[Any]) -> Path:
    like = make("uint8")
    write_volume(path, like.with_array(np.stack(channels, axis=-1), channels=True))
    return path


@pytest.mark.parametrize("white", [1, 255])
def test_binary_masks_in_channels_are_converted_to_labels(tmp_path: Path, white: int) -> None:
    labels = np.random.default_rng(2).integers(0, 3, (4, 5, 6))
    masks = [(labels == value).astype(np.uint8) * white for value in range(3)]
    with_background = read_labels(write_channels(tmp_path / "all.nrrd", *masks))
    np.testing.assert_array_equal(with_background.array, labels)
    assert "one-hot encoded (3 classes)" in with_background.warnings[0]
    without = read_labels(write_channels(tmp_path / "foreground.nrrd", *masks[1:]))
    np.testing.assert_array_equal(without.array, labels)
    assert "converted to the labels 1 to 2" in without.warnings[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 1], "2 channels, but is not one-hot encoded: they overlap"),
        ([0, 2], "2 channels, but is not one-hot"),
        ([0.4, 0.6], "2 channels of probabilities"),
    ],
)
def test_other_channels_of_a_mask_are_refused(
    tmp_path: Path, values: list[float], message: str
) -> None:
    dtype = np.float32 if isinstance(values[0], float) else np.uint8
    channels = [np.full((4, 5, 6), value, dtype) for value in values]
    with pytest.raises(UserError, match=message):
        read_labels(write_channels(tmp_path / "mask.nrrd", *channels))


def test_binary_volumes_of_a_4d_file_are_refused_unless_one_is_the_background(
    tmp_path: Path,
) -> None:
    """They may be time points: the standard says so of the fourth axis of NIfTI."""
    points = [np.zeros((4, 5, 6), np.uint8) for _ in range(2)]
    points[0][1, 1], points[1][2, 3] = 1, 1
    for name, some in (("time", points), ("classes", [1 - sum(points), *points])):
        image = sitk.JoinSeries([sitk.GetImageFromArray(one.astype(np.uint8)) for one in some])
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    assert read_labels(tmp_path / "classes.nii.gz").array.max() == 2
    with pytest.raises(UserError, match=r"2 volumes \(4D\), which may be time points"):
        read_labels(tmp_path / "time.nii.gz")


def test_complex_masks_are_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.ones((4, 5, 6), np.complex64))
    sitk.WriteImage(image, str(tmp_path / "mask.nii"))
    with pytest.raises(UserError, match="complex numbers"):
        read_labels(tmp_path / "mask.nii")


def test_labels_are_read_into_a_writable_array(tmp_path: Path) -> None:
    write_labels(tmp_path / "mask.nii.gz", make().array.astype(np.uint8), make())
    assert read_labels(tmp_path / "mask.nii.gz").array.flags.writeable


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("shape_mismatch", "has the shape 34 x 51 x 35, but the image 35 x 51 x 35"),
        ("affine_mismatch", "does not align with the image"),
        ("negative", "negative values, down to -1"),
        ("empty", [0]),
        ("float", [0, 1, 2]),
        ("noncontiguous", [0, 7, 250]),
        ("extra_class", [0, 1, 9]),
        ("ignore_255", [0, 1, 2, 255]),
        ("onehot_4d", [0, 1, 2]),
    ],
)
def test_unusual_labels_are_converted_or_refused(
    shared_data: Path, name: str, outcome: str | list[int]
) -> None:
    like = read_volume(shared_data / "hippocampus_msd/images/hippocampus_001.nii.gz")
    path = shared_data / f"bad_input/crafted/labels/{name}_label.nii.gz"
    if isinstance(outcome, str):
        with pytest.raises(UserError) as caught:
            read_labels(path, like)
        assert outcome in caught.value.text
        return
    labels = read_labels(path, like)
    assert labels.array.dtype == np.uint8 and np.unique(labels.array).tolist() == outcome
    reference = read_labels(shared_data / "hippocampus_msd/masks/hippocampus_001.nii.gz", like)
    if name in ("float", "onehot_4d"):
        np.testing.assert_array_equal(labels.array, reference.array)
    if name == "ignore_255":
        seen = labels.array != 255
        np.testing.assert_array_equal(labels.array[seen], reference.array[seen])


@pytest.mark.parametrize(
    "name", ["mask_ok_0_255.png", "mask_0_1.png", "mask_1bit.png", "mask_palette.png",
             "mask_rgba.png", "mask_jpeg_artifacts.jpg", "mask_inverted.png"],
)  # fmt: skip
def test_a_mask_is_read_the_same_from_every_encoding(shared_data: Path, name: str) -> None:
    folder = shared_data / "bad_input/crafted/2d"
    image = read_volume(folder / "rgb_ok.png")
    expected = np.array(Image.open(folder / "mask_0_1.png"))
    labels = read_labels(folder / name, image)
    if name == "mask_inverted.png":
        expected = 1 - expected
        assert "foreground" in labels.warnings[-1] and "89%" in labels.warnings[-1]
    np.testing.assert_array_equal(labels.array, expected)
    assert any("grey levels" in text for text in labels.warnings) == name.endswith(".jpg")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mask_rgb_colour.png", "is a colour image"),
        ("mask_wrong_size.png", "has the shape 128 x 160, but the image 256 x 320"),
        ("mask_transposed.png", "has the shape 320 x 256, but the image 256 x 320"),
    ],
)
def test_2d_masks_in_colour_or_of_another_size_are_refused(
    shared_data: Path, name: str, words: str
) -> None:
    folder = shared_data / "bad_input/crafted/2d"
    with pytest.raises(UserError) as caught:
        read_labels(folder / name, read_volume(folder / "rgb_ok.png"))
    assert words in caught.value.text and name in caught.value.text
