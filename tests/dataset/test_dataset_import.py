"""Volumes and 2D images are imported with their geometry and values."""

import json

import nibabel as nib
import numpy as np
import pytest
from import_cases import (
    mask_of,
    names,
    scan,
    texts,
    write_image_2d,
    write_mask_2d,
    write_scans,
)
from PIL import Image

from napari_graphflow.dataset.cases import read_case, read_case_labels
from napari_graphflow.dataset.checks import check, check_record
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.formats.endings import FLAT

# Importing volumes


def test_volumes_are_imported_with_geometry_masks_and_splits(folders, tmp_path):
    write_scans(folders, count=5, labelled=3)
    splits = {"train": ["case_0"], "val": ["case_1"], "test": ["case_2"]}
    dataset = import_dataset(*folders, tmp_path / "pilot", splits=splits)
    assert dataset.name == "pilot"
    assert names(dataset.labelled("train")) == ["case_0"]
    assert names(dataset.unlabelled("train")) == ["case_3", "case_4"]
    assert names(dataset.labelled("val")) == ["case_1"]
    assert names(dataset.labelled("test")) == ["case_2"]
    assert dataset.classes == {"background": 0, "class_1": 1, "class_2": 2}
    for number, case in enumerate(sorted(dataset.cases, key=lambda case: case.name)):
        image = read_case(case)
        np.testing.assert_array_equal(image.array, scan(number).array)
        assert image.same_grid(scan(number), tolerance=1e-4)
        if case.label is not None:
            labels = read_case_labels(dataset, case, image)
            np.testing.assert_array_equal(labels.array, mask_of(image, 1, 2).array)
            assert read_volume(case.label).same_grid(image, tolerance=1e-6)
    assert (dataset.folder / "imagesTs" / "case_2_0000.nii.gz").is_file()
    assert (dataset.folder / "labelsTs" / "case_2.nii.gz").is_file()


def test_an_imported_folder_is_in_the_nnunet_format(folders, tmp_path):
    """It has the keys that nnU-Net requires, and lists only cases with a mask."""
    write_scans(folders, count=5, labelled=3)
    splits = {"train": ["case_0"], "val": ["case_1"], "test": ["case_2"]}
    folder = import_dataset(*folders, tmp_path / "pilot", splits=splits).folder
    description = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert description["labels"] == {"background": 0, "class_1": 1, "class_2": 2}
    assert description["channel_names"] == {"0": "CT"}
    assert description["file_ending"] == ".nii.gz"
    assert description["numTraining"] == len(description["dataset"]) == 2
    for case in description["dataset"].values():
        assert (folder / case["label"]).is_file()
        assert all((folder / image).is_file() for image in case["images"])


def test_files_in_a_kept_format_are_copied(folders, tmp_path):
    write_scans(folders, count=2, labelled=1)
    dataset = import_dataset(*folders, tmp_path / "pilot")
    given = folders[0] / "case_0.nii.gz"
    stored = next(case.images[0] for case in dataset.cases if case.name == "case_0")
    assert stored.read_bytes() == given.read_bytes()


def test_mixed_formats_are_converted_to_nifti(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nrrd", scan(1))
    write_volume(images / "b.mha", scan(2))
    write_volume(masks / "b.nii.gz", mask_of(scan(2), 3))
    dataset = import_dataset(images, masks, tmp_path / "mixed")
    assert dataset.file_ending == ".nii.gz"
    for case, seed in zip(sorted(dataset.cases, key=lambda one: one.name), (1, 2), strict=True):
        np.testing.assert_array_equal(read_case(case).array, scan(seed).array)
        assert read_case(case).same_grid(scan(seed), tolerance=1e-4)


def test_a_common_format_is_kept(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, ending=".nrrd")
    dataset = import_dataset(*folders, tmp_path / "kept")
    assert dataset.file_ending == ".nrrd"
    assert {path.suffix for path in dataset.folder.rglob("case*")} == {".nrrd"}


def test_channels_in_separate_files_are_stacked(folders, tmp_path):
    images, masks = folders
    for name in ("a", "b"):
        for channel in (0, 1):
            write_volume(images / f"{name}_{channel:04d}.nii.gz", scan(ord(name) + channel))
        write_volume(masks / f"{name}.nii.gz", mask_of(scan(0), 1))
    dataset = import_dataset(images, masks, tmp_path / "two")
    assert len(dataset.channel_names) == 2
    image = read_case(dataset.cases[0])
    assert image.channels
    np.testing.assert_array_equal(image.array[..., 0], scan(ord(dataset.cases[0].name)).array)
    np.testing.assert_array_equal(image.array[..., 1], scan(ord(dataset.cases[0].name) + 1).array)
    assert texts(check(dataset), "error") == []


def test_a_4d_file_is_split_into_one_file_per_channel(folders, tmp_path):
    images, masks = folders
    array = np.stack([scan(1).array, scan(2).array], axis=-1)
    write_volume(images / "a.nrrd", scan(1).with_array(array, channels=True))
    write_volume(masks / "a.nrrd", mask_of(scan(1), 1))
    dataset = import_dataset(images, masks, tmp_path / "two")
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nrrd", "a_0001.nrrd"]
    np.testing.assert_array_equal(read_case(dataset.cases[0]).array, array)


def test_numbered_files_with_numbered_masks_are_separate_cases(folders, tmp_path):
    images, masks = folders
    for number in range(3):
        write_volume(images / f"scan_{number:04d}.nii.gz", scan(number))
        write_volume(masks / f"scan_{number:04d}.nii.gz", mask_of(scan(number), 1))
    assert len(import_dataset(images, masks, tmp_path / "three").cases) == 3


# Importing 2D images


def test_2d_colour_images_become_one_png_each(folders, tmp_path):
    images, masks = folders
    given = {name: write_image_2d(images / f"{name}.bmp", seed) for seed, name in enumerate("abc")}
    drawn = write_mask_2d(masks / "a.png", 255)
    dataset = import_dataset(images, masks, tmp_path / "rgb", splits={"train": ["a"], "val": []})
    assert dataset.file_ending == ".png"
    assert dataset.channel_names == ("R", "G", "B")
    assert dataset.classes == {"background": 0, "foreground": 1}
    assert names(dataset.unlabelled("train")) == ["b", "c"]
    for case in dataset.cases:
        assert [path.name for path in case.images] == [f"{case.name}_0000.png"]
        np.testing.assert_array_equal(read_case(case).array, given[case.name])
    stored = np.asarray(Image.open(dataset.labelled("train")[0].label))
    np.testing.assert_array_equal(stored, drawn // 255)


def test_16_bit_grey_images_keep_16_bits(folders, tmp_path):
    images, masks = folders
    array = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)
    Image.fromarray(array).save(images / "a.png")
    write_mask_2d(masks / "a.png", 1)
    dataset = import_dataset(images, masks, tmp_path / "grey")
    np.testing.assert_array_equal(read_case(dataset.cases[0]).array, array)


def test_2d_float_images_are_stored_as_tiff(folders, tmp_path):
    import tifffile

    images, masks = folders
    array = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    tifffile.imwrite(images / "a.tif", array)
    write_mask_2d(masks / "a.png", 1, 2)
    dataset = import_dataset(images, masks, tmp_path / "float")
    assert dataset.file_ending == ".tif"
    np.testing.assert_array_equal(read_case(dataset.cases[0]).array, array)
    labels = read_case_labels(dataset, dataset.cases[0], read_case(dataset.cases[0]))
    assert np.unique(labels.array).tolist() == [0, 1, 2]


def test_jpeg_masks_are_thresholded(folders, tmp_path):
    images, masks = folders
    array = np.zeros((64, 64), np.uint8)
    array[13:45, 18:39] = 255
    Image.fromarray(np.zeros((64, 64, 3), np.uint8) + 7).save(images / "a.png")
    Image.fromarray(array).save(masks / "a.jpg", quality=60)
    assert len(np.unique(np.asarray(Image.open(masks / "a.jpg")))) > 2
    dataset = import_dataset(images, masks, tmp_path / "jpeg")
    labels = read_case_labels(dataset, dataset.cases[0])
    assert np.unique(labels.array).tolist() == [0, 1]
    assert (labels.array != array // 255).mean() < 0.01


@pytest.mark.parametrize("value", [1, 255])
def test_the_class_of_binary_masks_may_be_given_as_1_or_255(folders, tmp_path, value):
    images, masks = folders
    for name in "ab":
        write_image_2d(images / f"{name}.png", ord(name))
        write_mask_2d(masks / f"{name}.png", 255)
    dataset = import_dataset(images, masks, tmp_path / "named", classes={"vessel": value})
    assert dataset.classes == {"background": 0, "vessel": 1}
    assert read_case_labels(dataset, dataset.cases[0]).array.max() == 1


def test_foreground_may_be_1_in_some_masks_and_255_in_others(folders, tmp_path):
    images, masks = folders
    for name, value in (("a", 1), ("b", 255), ("c", 0)):
        write_image_2d(images / f"{name}.png", ord(name))
        write_mask_2d(masks / f"{name}.png", value)
    dataset = import_dataset(images, masks, tmp_path / "white")
    assert dataset.classes == {"background": 0, "foreground": 1}
    assert dataset.ignore is None
    highest = {case.name: read_case_labels(dataset, case).array.max() for case in dataset.cases}
    assert highest == {"a": 1, "b": 1, "c": 0}


@pytest.mark.parametrize("ending", sorted(FLAT))
def test_2d_images_of_every_format_can_be_imported(folders, tmp_path, ending):
    images, masks = folders
    for name in ("a", "b"):
        write_image_2d(images / f"{name}{ending}", 1, colour=False)
    write_mask_2d(masks / "a.png", 1, 2)
    dataset = import_dataset(images, masks, tmp_path / "flat")
    assert names(dataset.cases) == ["a", "b"]
    assert read_case(dataset.cases[0]).shape == (20, 30)


def test_warnings_of_images_and_masks_are_findings_of_the_import(folders, tmp_path):
    for name in ("a", "b", "c"):
        image = nib.Nifti1Image(scan(1).array, np.eye(4))
        if name != "c":
            image.set_qform(None, 0)
            image.set_sform(None, 0)
        nib.save(image, folders[0] / f"{name}.nii.gz")
    array = np.ones(scan(1).shape, np.uint8)
    nib.save(nib.Nifti1Image(array, np.eye(4)), folders[1] / "c.nii.gz")
    found = texts(check_record(import_dataset(*folders, tmp_path / "out")), "warning")
    assert any(text.startswith("At the import, a, b (2 cases):") for text in found)
    assert any("100% of the mask is foreground" in text for text in found)
