import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graphflow.dataset import (
    IGNORE,
    check,
    fingerprint,
    import_dataset,
    read_case,
    read_case_labels,
)
from napari_graphflow.errors import UserError
from napari_graphflow.volume import Volume, read_volume, write_volume

OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
SPACING = (5.0, 0.8, 1.2)


def scan(seed, shape=(6, 9, 11), low=-1000):
    array = np.random.default_rng(seed).integers(low, 400, shape).astype(np.int16)
    return Volume(array, SPACING, (10.0, -20.0, 300.0), OBLIQUE)


def mask_of(volume, *values):
    """A mask with a small box of each value."""
    array = np.zeros(volume.shape, np.uint8)
    for row, value in enumerate(values):
        array[2:4, row * 2 : row * 2 + 2, 3:7] = value
    return volume.with_array(array)


def picture(path, seed, colour=True):
    shape = (20, 30, 3) if colour else (20, 30)
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(array).save(path)
    return array


def picture_mask(path, *values):
    array = np.zeros((20, 30), np.uint8)
    for row, value in enumerate(values):
        array[4 * row : 4 * row + 3, 5:20] = value
    Image.fromarray(array).save(path)
    return array


@pytest.fixture
def folders(tmp_path):
    """Two empty folders, for images and masks."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    return images, masks


def write_scans(folders, count, labelled, values=(1, 2), ending=".nii.gz"):
    images, masks = folders
    for number in range(count):
        volume = scan(number)
        write_volume(images / f"case_{number}{ending}", volume)
        if number < labelled:
            write_volume(masks / f"case_{number}{ending}", mask_of(volume, *values))


def names(cases):
    return [case.name for case in cases]


def texts(findings, severity=None):
    return [one.text for one in findings if severity in (None, one.severity)]


def assert_nothing_left(out):
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir() if "importing" in path.name] == []


# Importing volumes


def test_volumes_go_in_with_their_geometry_and_unlabelled_cases_are_found(folders, tmp_path):
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


def test_the_folder_is_one_that_nnunet_reads(folders, tmp_path):
    """The keys that nnU-Net asks for; only cases with a mask are named to it."""
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


def test_bytes_that_can_stay_are_shared_or_copied(folders, tmp_path):
    write_scans(folders, count=2, labelled=1)
    dataset = import_dataset(*folders, tmp_path / "pilot")
    given = folders[0] / "case_0.nii.gz"
    stored = next(case.images[0] for case in dataset.cases if case.name == "case_0")
    assert stored.read_bytes() == given.read_bytes()


def test_a_disk_that_cannot_share_gets_copies(folders, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    write_scans(folders, count=2, labelled=1)
    monkeypatch.setattr(os, "link", refuse)
    dataset = import_dataset(*folders, tmp_path / "pilot")
    assert len(dataset.cases) == 2
    assert read_case(dataset.cases[0]).array.size


def test_mixed_formats_become_one(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nrrd", scan(1))
    write_volume(images / "b.mha", scan(2))
    write_volume(masks / "b.nii.gz", mask_of(scan(2), 3))
    dataset = import_dataset(images, masks, tmp_path / "mixed")
    assert dataset.file_ending == ".nii.gz"
    for case, seed in zip(sorted(dataset.cases, key=lambda one: one.name), (1, 2), strict=True):
        np.testing.assert_array_equal(read_case(case).array, scan(seed).array)
        assert read_case(case).same_grid(scan(seed), tolerance=1e-4)


def test_one_format_is_kept(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, ending=".nrrd")
    dataset = import_dataset(*folders, tmp_path / "kept")
    assert dataset.file_ending == ".nrrd"
    assert {path.suffix for path in dataset.folder.rglob("case*")} == {".nrrd"}


def test_channels_in_files_of_their_own_are_stacked(folders, tmp_path):
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


def test_a_4d_file_becomes_one_file_for_each_channel(folders, tmp_path):
    images, masks = folders
    array = np.stack([scan(1).array, scan(2).array], axis=-1)
    write_volume(images / "a.nrrd", scan(1).with_array(array, channels=True))
    write_volume(masks / "a.nrrd", mask_of(scan(1), 1))
    dataset = import_dataset(images, masks, tmp_path / "two")
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nrrd", "a_0001.nrrd"]
    np.testing.assert_array_equal(read_case(dataset.cases[0]).array, array)


def test_numbered_files_are_cases_unless_masks_say_otherwise(folders, tmp_path):
    images, masks = folders
    for number in range(3):
        write_volume(images / f"scan_{number:04d}.nii.gz", scan(number))
        write_volume(masks / f"scan_{number:04d}.nii.gz", mask_of(scan(number), 1))
    assert len(import_dataset(images, masks, tmp_path / "three").cases) == 3


# Importing pictures


def test_colour_pictures_become_one_png_each(folders, tmp_path):
    images, masks = folders
    given = {name: picture(images / f"{name}.bmp", seed) for seed, name in enumerate("abc")}
    drawn = picture_mask(masks / "a.png", 255)
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


def test_grey_pictures_of_16_bits_stay_so(folders, tmp_path):
    images, masks = folders
    array = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)
    Image.fromarray(array).save(images / "a.png")
    picture_mask(masks / "a.png", 1)
    dataset = import_dataset(images, masks, tmp_path / "grey")
    np.testing.assert_array_equal(read_case(dataset.cases[0]).array, array)


def test_pictures_of_fractions_are_kept_as_tiff(folders, tmp_path):
    import tifffile

    images, masks = folders
    array = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    tifffile.imwrite(images / "a.tif", array)
    picture_mask(masks / "a.png", 1, 2)
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
def test_a_single_class_may_be_named_by_1_or_255(folders, tmp_path, value):
    images, masks = folders
    for name in "ab":
        picture(images / f"{name}.png", ord(name))
        picture_mask(masks / f"{name}.png", 255)
    dataset = import_dataset(images, masks, tmp_path / "named", classes={"vessel": value})
    assert dataset.classes == {"background": 0, "vessel": 1}
    assert read_case_labels(dataset, dataset.cases[0]).array.max() == 1


def test_white_may_be_1_in_some_masks_and_255_in_others(folders, tmp_path):
    images, masks = folders
    for name, value in (("a", 1), ("b", 255), ("c", 0)):
        picture(images / f"{name}.png", ord(name))
        picture_mask(masks / f"{name}.png", value)
    dataset = import_dataset(images, masks, tmp_path / "white")
    assert dataset.classes == {"background": 0, "foreground": 1}
    assert dataset.ignore is None
    highest = {case.name: read_case_labels(dataset, case).array.max() for case in dataset.cases}
    assert highest == {"a": 1, "b": 1, "c": 0}


# Classes and values


def test_scattered_values_are_numbered_and_remembered(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, values=(250, 7))
    dataset = import_dataset(*folders, tmp_path / "scattered")
    assert dataset.classes == {"background": 0, "class_7": 1, "class_250": 2}
    assert dataset.values == (0, 1, 2)
    assert dataset.record["original_values"] == {"background": 0, "class_7": 7, "class_250": 250}
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, mask_of(scan(0), 2, 1).array)


def test_255_beside_classes_means_not_judged(folders, tmp_path):
    """Also in a mask that holds 0 and 255 alone."""
    images, masks = folders
    for number, values in enumerate([(1, 255), (255,), (1, 2)]):
        write_volume(images / f"case_{number}.nii.gz", scan(number))
        write_volume(masks / f"case_{number}.nii.gz", mask_of(scan(number), *values))
    dataset = import_dataset(images, masks, tmp_path / "ignore")
    assert dataset.classes == {"background": 0, "class_1": 1, "class_2": 2}
    assert dataset.ignore == 3
    stored = json.loads((dataset.folder / "dataset.json").read_text())["labels"]
    assert stored == {"background": 0, "class_1": 1, "class_2": 2, "ignore": 3}
    by_name = {case.name: case for case in dataset.cases}
    for name, values in (("case_0", [0, 1, 255]), ("case_1", [0, 255]), ("case_2", [0, 1, 2])):
        labels = read_case_labels(dataset, by_name[name])
        assert np.unique(labels.array).tolist() == values
    assert read_volume(by_name["case_1"].label).array.max() == 3
    assert IGNORE == 255


def test_255_that_is_never_beside_a_class_is_a_class(folders, tmp_path):
    images, masks = folders
    for number, values in enumerate([(255,), (1, 2)]):
        write_volume(images / f"case_{number}.nii.gz", scan(number))
        write_volume(masks / f"case_{number}.nii.gz", mask_of(scan(number), *values))
    dataset = import_dataset(images, masks, tmp_path / "class")
    assert list(dataset.classes) == ["background", "class_1", "class_2", "class_255"]
    with pytest.raises(UserError, match="value 255"):
        import_dataset(images, masks, tmp_path / "named", classes={"liver": 1, "cyst": 2})


@pytest.mark.parametrize(
    "classes", [{"liver": 1, "ignore": 255}, {"liver": 1, "background": 0, "ignore": 255}]
)
def test_ignore_may_be_named(folders, tmp_path, classes):
    write_scans(folders, count=2, labelled=2, values=(1, 255))
    dataset = import_dataset(*folders, tmp_path / "named", classes=classes)
    assert dataset.classes == {"background": 0, "liver": 1}
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, mask_of(scan(0), 1, IGNORE).array)


def test_two_classes_of_one_value_are_refused(folders, tmp_path):
    write_scans(folders, count=1, labelled=1, values=(1,))
    with pytest.raises(UserError, match="same value"):
        import_dataset(*folders, tmp_path / "out", classes={"liver": 1, "spleen": 1})


def test_a_value_that_was_not_named_is_refused(folders, tmp_path):
    write_scans(folders, count=3, labelled=3, values=(1, 9))
    out = tmp_path / "refused"
    with pytest.raises(UserError, match=r"3 cases .*case_0.* value 9, .*\(0, 1, 2\)"):
        import_dataset(*folders, out, classes={"liver": 1, "spleen": 2})
    assert_nothing_left(out)


def test_named_classes_keep_their_names_and_the_order_of_their_values(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, values=(1, 2))
    dataset = import_dataset(*folders, tmp_path / "named", classes={"lesion": 2, "liver": 1})
    assert dataset.classes == {"background": 0, "liver": 1, "lesion": 2}


def test_the_background_may_be_any_value(folders, tmp_path):
    images, masks = folders
    picture(images / "a.png", 0)
    drawn = picture_mask(masks / "a.png", 255)
    dataset = import_dataset(
        images, masks, tmp_path / "inverted", classes={"background": 255, "cell": 0}
    )
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, drawn == 0)


def test_without_masks_everything_is_unlabelled(folders, tmp_path):
    write_scans(folders, count=3, labelled=0)
    dataset = import_dataset(folders[0], None, tmp_path / "bare", classes={"liver": 1})
    assert dataset.classes == {"background": 0, "liver": 1}
    assert len(dataset.unlabelled("train")) == 3
    assert "No training case has a mask." in texts(check(dataset), "error")


# Names and splits


def test_masks_may_have_longer_names(folders, tmp_path):
    images, masks = folders
    for name in ("a", "a_b", "c_image"):
        write_volume(images / f"{name}.nii.gz", scan(1))
    for name, value in (("a_seg", 1), ("a_b-manual", 2), ("c_label", 3)):
        write_volume(masks / f"{name}.nii.gz", mask_of(scan(1), value))
    dataset = import_dataset(images, masks, tmp_path / "longer")
    held = {
        case.name: int(read_case_labels(dataset, case).array.max())
        for case in dataset.cases
        if case.label
    }
    assert held == {"a": 1, "a_b": 2, "c_image": 3}


def test_two_masks_for_one_image_are_refused_until_one_is_chosen(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nii.gz", scan(1))
    for observer in ("1st", "2nd"):
        write_volume(masks / f"a_{observer}.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match=r"a_1st\.nii\.gz and a_2nd\.nii\.gz"):
        import_dataset(images, masks, tmp_path / "two")
    dataset = import_dataset(images, masks, tmp_path / "two", mask_suffix="_2nd")
    assert len([case for case in dataset.cases if case.label]) == 1


def test_masks_with_other_names_altogether_are_refused(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nii.gz", scan(1))
    write_volume(masks / "b.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match="None of the 1 masks has the name of an image"):
        import_dataset(images, masks, tmp_path / "other")


def test_labelled_images_beyond_the_splits_are_left_out_and_noted(folders, tmp_path):
    write_scans(folders, count=5, labelled=4)
    write_volume(folders[1] / "stranger.nii.gz", mask_of(scan(1), 1))
    splits = {"train": ["case_0", "case_1"], "val": ["case_2"]}
    dataset = import_dataset(*folders, tmp_path / "pilot", splits=splits)
    assert names(dataset.cases) == ["case_0", "case_1", "case_4", "case_2"]
    assert dataset.record["left_out"] == ["case_3"]
    findings = texts(check(dataset))
    assert any("1 labelled image was left out" in text for text in findings)
    assert any("1 mask had no image" in text and "stranger" in text for text in findings)


@pytest.mark.parametrize(
    ("content", "reference"),
    [
        ({"train": ["case_0.nii.gz"], "val": ["case_1"], "test": ["case_2"]}, ""),
        ({"other": {"train": []}, "mine": {"train": ["case_0"], "val": ["case_1"],
                                           "test": ["case_2"]}}, "#mine"),
        ({"training": ["case_0"], "validation": ["case_1"], "testing": ["case_2"]}, ""),
    ],
)  # fmt: skip
def test_splits_come_from_a_file(folders, tmp_path, content, reference):
    write_scans(folders, count=3, labelled=3)
    file = tmp_path / "splits #1.json"
    file.write_text(json.dumps(content))
    dataset = import_dataset(*folders, tmp_path / "pilot", splits=f"{file}{reference}")
    assert [(case.name, case.split) for case in dataset.cases] == [
        ("case_0", "train"),
        ("case_1", "val"),
        ("case_2", "test"),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"a": {"train": []}, "b": {"train": []}}', "splits of several datasets: a, b"),
        ('{"train": ["case_0"], "test": ["case_0"]}', "case_0 into both train and test"),
        ('{"train": ["case_0", "case_9", "case_8"]}', "2 cases without an image.*case_8"),
        ('{"fold": ["case_0"]}', "“fold”, which is no list of cases"),
        ('{"train": "case_0"}', "“train”, which is no list of cases"),
        ("[1, 2]", "holds no splits"),
        ("train: case_0", "is no JSON file of splits"),
    ],
)
def test_splits_that_do_not_fit_are_refused(folders, tmp_path, content, sentence):
    write_scans(folders, count=1, labelled=1)
    file = tmp_path / "splits.json"
    file.write_text(content)
    out = tmp_path / "pilot"
    with pytest.raises(UserError, match=sentence):
        import_dataset(*folders, out, splits=file)
    assert_nothing_left(out)


def test_without_splits_a_fifth_each_goes_to_validation_and_test(folders, tmp_path):
    write_scans(folders, count=14, labelled=10)
    first = import_dataset(*folders, tmp_path / "first")
    counts = {split: len(first.labelled(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 6, "val": 2, "test": 2}
    assert len(first.unlabelled("train")) == 4
    again = import_dataset(*folders, tmp_path / "again")
    assert [(a.name, a.split) for a in first.cases] == [(a.name, a.split) for a in again.cases]


# Refusals


def test_a_bad_case_among_good_ones_leaves_nothing_behind(folders, tmp_path):
    write_scans(folders, count=3, labelled=3)
    smaller = scan(1, shape=(5, 9, 11))
    write_volume(folders[1] / "case_1.nii.gz", mask_of(smaller, 1, 2))
    out = tmp_path / "pilot"
    with pytest.raises(UserError, match=r"case_1 .*5 x 9 x 11.*6 x 9 x 11"):
        import_dataset(*folders, out)
    assert_nothing_left(out)


def test_a_mask_that_lies_elsewhere_is_refused(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    volume = mask_of(scan(1), 1, 2)
    moved = Volume(volume.array, volume.spacing, (15.0, -20.0, 300.0), volume.direction)
    write_volume(folders[1] / "case_1.nii.gz", moved)
    with pytest.raises(UserError, match="5 mm apart"):
        import_dataset(*folders, tmp_path / "pilot")


def test_a_damaged_image_is_refused(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    broken = folders[0] / "case_1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"case_1 cannot be imported: case_1\.nii\.gz"):
        import_dataset(*folders, tmp_path / "pilot")


def test_pictures_and_volumes_do_not_mix(folders, tmp_path):
    images, masks = folders
    write_scans(folders, count=1, labelled=1)
    picture(images / "photo.png", 0, colour=False)
    with pytest.raises(UserError, match=r"photo\.png is a 2D picture, but case_0 is a volume"):
        import_dataset(images, masks, tmp_path / "both")


def test_grey_and_colour_do_not_mix(folders, tmp_path):
    images, masks = folders
    picture(images / "a.png", 0)
    picture(images / "b.png", 1, colour=False)
    with pytest.raises(
        UserError, match="b cannot be imported: The case has 1 channel, but a has 3"
    ):
        import_dataset(images, None, tmp_path / "both")
    assert masks.is_dir()


def test_nothing_is_overwritten(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    out = tmp_path / "there"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already something"):
        import_dataset(*folders, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    assert len(import_dataset(*folders, out).cases) == 1


def test_folders_that_hold_nothing_are_named(folders, tmp_path):
    images, masks = folders
    with pytest.raises(UserError, match=f"{images} holds no images"):
        import_dataset(images, masks, tmp_path / "out")
    with pytest.raises(UserError, match="There is no folder"):
        import_dataset(tmp_path / "nowhere", masks, tmp_path / "out")


def test_masks_among_the_images_are_refused(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    with pytest.raises(UserError, match="in one folder"):
        import_dataset(folders[0], folders[0], tmp_path / "out")


def test_progress_reaches_its_end(folders, tmp_path):
    write_scans(folders, count=3, labelled=2)
    steps = []
    import_dataset(*folders, tmp_path / "pilot", progress=lambda *step: steps.append(step))
    assert steps == [(done, 5) for done in range(1, 6)]


# Real data


@pytest.mark.parametrize(
    ("name", "images", "masks", "counts", "kind"),
    [
        ("hippocampus_msd", "images", "masks", (120, 25, 35), (3, 1, 3, ".nii.gz")),
        pytest.param(
            *("kvasir_seg", "train_256/images", "train_256/masks"),
            *((200, 40, 60), (2, 3, 2, ".png")),
            marks=pytest.mark.slow,
        ),
        ("hrf_quarter", "images", "masks", (21, 3, 6), (2, 3, 2, ".png")),
        ("hrf_quarter", "images", "masks_av", (21, 3, 6), (2, 3, 4, ".png")),
    ],
)
def test_real_data_go_in_with_one_call(shared_data, tmp_path, name, images, masks, counts, kind):
    source = shared_data / name
    dataset = import_dataset(
        source / images,
        source / masks,
        tmp_path / name,
        splits=f"{shared_data / 'splits.json'}#{name}",
    )
    assert tuple(len(dataset.labelled(split)) for split in ("train", "val", "test")) == counts
    assert len(dataset.cases) == sum(counts)
    ndim, channels, classes, ending = kind
    facts = fingerprint(dataset)
    assert (facts["ndim"], facts["channels"]) == (ndim, channels)
    assert (len(dataset.classes), dataset.file_ending) == (classes, ending)
    case = dataset.labelled("test")[0]
    given = next((source / images).glob(f"{case.name}.*"))
    image = read_case(case)
    np.testing.assert_array_equal(image.array, read_volume(given).array)
    labels = read_case_labels(dataset, case, image)
    assert set(np.unique(labels.array).tolist()) == set(range(classes))


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("shape_mismatch_label", r"shape"),
        ("affine_mismatch_label", r"elsewhere"),
        ("negative_label", r"negative"),
        ("extra_class_label", r"value 9"),
    ],
)
def test_bad_masks_are_refused(shared_data, tmp_path, label, sentence):
    images, masks = bad_pair(shared_data, tmp_path, label)
    with pytest.raises(UserError, match=sentence):
        import_dataset(images, masks, tmp_path / "out", classes={"anterior": 1, "posterior": 2})
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("float_label", [0, 1, 2]),
        ("noncontiguous_label", [0, 1, 2]),
        ("ignore_255_label", [0, 1, 2, 255]),
        ("empty_label", [0]),
    ],
)
def test_odd_masks_go_in(shared_data, tmp_path, label, values):
    dataset = import_dataset(*bad_pair(shared_data, tmp_path, label), tmp_path / "out")
    labels = read_case_labels(dataset, dataset.cases[0])
    assert np.unique(labels.array).tolist() == values


def bad_pair(shared_data: Path, tmp_path: Path, label: str) -> tuple[Path, Path]:
    """Folders with the image that the crafted masks belong to and one of those masks."""
    image = "hippocampus_001.nii.gz"
    for folder, source in (
        ("images", shared_data / "hippocampus_msd" / "images" / image),
        ("masks", shared_data / "bad_input" / "crafted" / "labels" / f"{label}.nii.gz"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / image).symlink_to(source)
    return tmp_path / "images", tmp_path / "masks"
