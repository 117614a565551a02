"""Classes, names and splits of imported cases."""

import json

import numpy as np
import pytest
from import_cases import (
    assert_no_files_left,
    mask_of,
    names,
    scan,
    texts,
    write_image_2d,
    write_mask_2d,
    write_scans,
)

from napari_graphflow.dataset.cases import read_case_labels
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.labels import IGNORE

# Classes and values


def test_values_with_gaps_are_renumbered_and_recorded(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, values=(250, 7))
    dataset = import_dataset(*folders, tmp_path / "scattered")
    assert dataset.classes == {"background": 0, "class_7": 1, "class_250": 2}
    assert dataset.values == (0, 1, 2)
    assert dataset.record["original_values"] == {"background": 0, "class_7": 7, "class_250": 250}
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, mask_of(scan(0), 2, 1).array)


def test_255_besides_other_classes_is_the_ignore_label(folders, tmp_path):
    """This applies to masks with only 0 and 255 as well."""
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


def test_255_that_is_alone_besides_masks_of_several_classes_is_refused(folders, tmp_path):
    images, masks = folders
    for number, values in enumerate([(255,), (1, 2)]):
        write_volume(images / f"case_{number}.nii.gz", scan(number))
        write_volume(masks / f"case_{number}.nii.gz", mask_of(scan(number), *values))
    with pytest.raises(UserError, match="values 1, 2, so it is unclear what 255 means"):
        import_dataset(images, masks, tmp_path / "class")
    named = {"liver": 1, "cyst": 2, "spleen": 255}
    dataset = import_dataset(images, masks, tmp_path / "class", classes=named)
    assert list(dataset.classes) == ["background", *named]
    with pytest.raises(UserError, match="value 255"):
        import_dataset(images, masks, tmp_path / "named", classes={"liver": 1, "cyst": 2})


@pytest.mark.parametrize(
    "classes", [{"liver": 1, "ignore": 255}, {"liver": 1, "background": 0, "ignore": 255}]
)
def test_the_ignore_label_may_be_given_by_the_user(folders, tmp_path, classes):
    write_scans(folders, count=2, labelled=2, values=(1, 255))
    dataset = import_dataset(*folders, tmp_path / "named", classes=classes)
    assert dataset.classes == {"background": 0, "liver": 1}
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, mask_of(scan(0), 1, IGNORE).array)


def test_two_classes_with_the_same_value_are_refused(folders, tmp_path):
    write_scans(folders, count=1, labelled=1, values=(1,))
    with pytest.raises(UserError, match="same value"):
        import_dataset(*folders, tmp_path / "out", classes={"liver": 1, "spleen": 1})


def test_a_value_without_a_class_is_refused(folders, tmp_path):
    write_scans(folders, count=3, labelled=3, values=(1, 9))
    out = tmp_path / "refused"
    with pytest.raises(UserError, match=r"3 cases .*case_0.* value 9, .*\(0, 1, 2\)"):
        import_dataset(*folders, out, classes={"liver": 1, "spleen": 2})
    assert_no_files_left(out)


def test_named_classes_are_ordered_by_value(folders, tmp_path):
    write_scans(folders, count=2, labelled=2, values=(1, 2))
    dataset = import_dataset(*folders, tmp_path / "named", classes={"lesion": 2, "liver": 1})
    assert dataset.classes == {"background": 0, "liver": 1, "lesion": 2}


def test_the_background_may_have_any_value(folders, tmp_path):
    images, masks = folders
    write_image_2d(images / "a.png", 0)
    drawn = write_mask_2d(masks / "a.png", 255)
    dataset = import_dataset(
        images, masks, tmp_path / "inverted", classes={"background": 255, "cell": 0}
    )
    labels = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(labels.array, drawn == 0)


def test_without_masks_all_cases_are_unlabelled(folders, tmp_path):
    write_scans(folders, count=3, labelled=0)
    dataset = import_dataset(folders[0], None, tmp_path / "bare", classes={"liver": 1})
    assert dataset.classes == {"background": 0, "liver": 1}
    assert len(dataset.unlabelled("train")) == 3
    assert "No training case has a mask." in texts(check(dataset), "error")


# Names and splits


def test_masks_may_extend_the_names_of_their_images(folders, tmp_path):
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


def test_two_masks_of_one_image_are_refused_without_a_mask_suffix(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nii.gz", scan(1))
    for observer in ("1st", "2nd"):
        write_volume(masks / f"a_{observer}.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match=r"None of the 2 masks.* mask_suffix"):
        import_dataset(images, masks, tmp_path / "two")
    for word in ("seg", "gt"):
        write_volume(masks / f"a_{word}.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match=r"a_gt\.nii\.gz and a_seg\.nii\.gz"):
        import_dataset(images, masks, tmp_path / "two")
    dataset = import_dataset(images, masks, tmp_path / "two", mask_suffix="_2nd")
    assert len([case for case in dataset.cases if case.label]) == 1


def test_masks_without_the_name_of_an_image_are_refused(folders, tmp_path):
    images, masks = folders
    write_volume(images / "a.nii.gz", scan(1))
    write_volume(masks / "b.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match="None of the 1 masks has the name of an image"):
        import_dataset(images, masks, tmp_path / "other")


def test_labelled_images_outside_the_splits_are_left_out_and_recorded(folders, tmp_path):
    write_scans(folders, count=5, labelled=4)
    write_volume(folders[1] / "stranger.nii.gz", mask_of(scan(1), 1))
    splits = {"train": ["case_0", "case_1"], "val": ["case_2"]}
    dataset = import_dataset(*folders, tmp_path / "pilot", splits=splits)
    assert names(dataset.cases) == ["case_0", "case_1", "case_4", "case_2"]
    assert dataset.record["left_out"] == ["case_3"]
    findings = texts(check(dataset))
    assert any("1 labelled image was not imported" in text for text in findings)
    assert any("1 mask without an image" in text and "stranger" in text for text in findings)


@pytest.mark.parametrize(
    ("content", "reference"),
    [
        ({"train": ["case_0.nii.gz"], "val": ["case_1"], "test": ["case_2"]}, ""),
        ({"other": {"train": []}, "mine": {"train": ["case_0"], "val": ["case_1"],
                                           "test": ["case_2"]}}, "#mine"),
        ({"training": ["case_0"], "validation": ["case_1"], "testing": ["case_2"]}, ""),
    ],
)  # fmt: skip
def test_splits_are_read_from_a_file(folders, tmp_path, content, reference):
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
        ('{"train": ["case_0"], "test": ["case_0"]}', "case_0 is in both train and test"),
        ('{"train": ["case_0", "case_9", "case_8"]}', "2 cases without an image.*case_8"),
        ('{"fold": ["case_0"]}', "“fold” is not a list of cases"),
        ('{"train": "case_0"}', "“train” is not a list of cases"),
        ("[1, 2]", "is not a valid list of splits"),
        ("train: case_0", "is not a JSON file of splits"),
    ],
)
def test_invalid_splits_are_refused(folders, tmp_path, content, sentence):
    write_scans(folders, count=1, labelled=1)
    file = tmp_path / "splits.json"
    file.write_text(content)
    out = tmp_path / "pilot"
    with pytest.raises(UserError, match=sentence):
        import_dataset(*folders, out, splits=file)
    assert_no_files_left(out)


def test_without_splits_a_fifth_each_is_drawn_for_validation_and_test(folders, tmp_path):
    write_scans(folders, count=14, labelled=10)
    first = import_dataset(*folders, tmp_path / "first")
    counts = {split: len(first.labelled(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 6, "val": 2, "test": 2}
    assert len(first.unlabelled("train")) == 4
    again = import_dataset(*folders, tmp_path / "again")
    assert [(a.name, a.split) for a in first.cases] == [(a.name, a.split) for a in again.cases]
