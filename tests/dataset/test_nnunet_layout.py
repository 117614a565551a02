"""Folders in the layouts of nnU-Net v1 and v2, as users have them."""

import json
import unicodedata

import numpy as np
import pytest
from import_cases import mask_of, names, scan, texts
from nnunet_cases import NAMES, V1, V2, nnunet, write_unlabelled

from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.checks import check
from napari_graphflow.imaging.files import write_labels, write_volume


def labelled(dataset):
    return sorted(case.name for case in dataset.cases if case.label)


def said(dataset, *words):
    """The one warning of opening the dataset, which contains the words."""
    (text,) = texts(dataset.findings, "warning")
    assert text in texts(check(dataset), "warning")
    return all(word in text for word in words)


def v1(folder, entry):
    training = [{"image": entry("images", n), "label": entry("labels", n)} for n in NAMES]
    return nnunet(folder, V1 | {"training": training, "test": []})


@pytest.mark.parametrize(
    "entry",
    [
        lambda kind, name: f"./{kind}Tr/{name}.nii.gz",
        lambda kind, name: f".\\{kind}Tr\\{name}.nii.gz",
    ],
)
def test_the_list_of_nnunet_v1_finds_images_with_channel_numbers(tmp_path, entry):
    folder = v1(tmp_path, entry)
    for name in NAMES:
        write_volume(folder / "imagesTr" / f"{name}_0001.nii.gz", scan(9))
    dataset = Dataset.open(folder)
    assert labelled(dataset) == list(NAMES)
    assert dataset.channel_names == ("T1", "T2")
    assert dataset.classes == {"background": 0, "organ": 1, "core": 2}
    assert read_case(dataset.cases[0]).array.shape[-1] == 2
    assert texts(check(dataset), "error") == []


def test_a_listed_mask_that_is_missing_is_reported(tmp_path):
    folder = v1(tmp_path, lambda kind, name: f"{kind}Tr/{name}.nii.gz")
    (folder / "labelsTr" / "case_01.nii.gz").unlink()
    dataset = Dataset.open(folder)
    assert len(labelled(dataset)) == 4
    assert said(dataset, "1 mask listed in dataset.json is missing", "case_01.nii.gz")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_files_with_a_byte_order_mark_are_read(tmp_path, encoding):
    folder = nnunet(tmp_path)
    (folder / "dataset.json").write_text(json.dumps(V2), encoding)
    (folder / "splits.json").write_text(json.dumps({"val": ["case_00"]}), encoding)
    assert names(Dataset.open(folder).labelled("val")) == ["case_00"]


@pytest.mark.parametrize("ending", ["nii.gz", ".NII.GZ", " .nii.gz"])
def test_the_file_ending_may_lack_its_dot_or_be_in_capitals(tmp_path, ending):
    dataset = Dataset.open(nnunet(tmp_path, V2 | {"file_ending": ending}))
    assert labelled(dataset) == list(NAMES)


def test_labels_of_nnunet_v2_may_be_names_by_value(tmp_path):
    swapped = {"0": "background", "1": "organ", "2": "core"}
    assert Dataset.open(nnunet(tmp_path, V2 | {"labels": swapped})).classes == V2["labels"]


@pytest.mark.parametrize("mask", ["{}_0000.nii.gz", "{}.nii", "{}.nrrd"])
def test_masks_with_a_channel_number_or_another_suffix_are_used_and_reported(tmp_path, mask):
    dataset = Dataset.open(nnunet(tmp_path, mask=mask))
    assert labelled(dataset) == list(NAMES)
    assert said(dataset, "5 masks are not named", "are used", mask.format("case_00"))


def test_a_mask_without_an_image_is_reported(tmp_path):
    folder = nnunet(tmp_path)
    (folder / "labelsTr" / "case_04.nii.gz").rename(folder / "labelsTr" / "case_4.nii.gz")
    (folder / "labelsTr" / "._case_04.nii.gz").write_bytes(b"resource fork")
    dataset = Dataset.open(folder)
    assert len(labelled(dataset)) == 4
    assert said(dataset, "1 mask in labelsTr without an image is not used", "case_4.nii.gz")


@pytest.mark.parametrize("name", ["case_9.nii.gz", "case_9_0000.nii", "notes.txt"])
def test_images_that_do_not_fit_the_file_ending_are_reported(tmp_path, name):
    folder = nnunet(tmp_path)
    write_unlabelled(folder / "imagesTr", "case_9.nii.gz")
    (folder / "imagesTr" / "case_9.nii.gz").rename(folder / "imagesTr" / name)
    assert said(Dataset.open(folder), "1 file in imagesTr is not used", name)


def test_composed_and_decomposed_names_are_the_same_case(tmp_path):
    decomposed = [unicodedata.normalize("NFD", name) for name in ("Größe", "Müller")]
    folder = nnunet(tmp_path, names=decomposed)
    for path in (folder / "labelsTr").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFC", path.name)))
    (folder / "splits.json").write_text(json.dumps({"train": ["Größe"], "val": ["Müller"]}))
    dataset = Dataset.open(folder)
    assert labelled(dataset) == ["Größe", "Müller"]
    assert names(dataset.labelled("val")) == ["Müller"]


def test_test_images_without_a_mask_are_unlabelled_cases_on_request(tmp_path):
    folder = nnunet(tmp_path)
    write_unlabelled(folder / "imagesTs", "x_0000.nii.gz")
    write_unlabelled(folder / "imagesTs", "y_0000.nii.gz")
    (folder / "labelsTs").mkdir()
    write_volume(folder / "labelsTs" / "y.nii.gz", mask_of(scan(1), 1))
    assert Dataset.open(folder).unlabelled("train") == []
    dataset = Dataset.open(folder, test_images=True)
    assert names(dataset.unlabelled("train")) == ["x"]
    assert names(dataset.labelled("test")) == ["y"]
    assert "1 image of imagesTs is used" in texts(dataset.findings)[0]


def test_masks_that_cover_every_voxel_but_the_ignored_are_not_called_swapped(tmp_path):
    labels = {"background": 0, "organ": 1, "ignore": 2}
    folder = nnunet(tmp_path / "data", V2 | {"labels": labels})
    array = np.full(scan(0).shape, 2, np.uint8)
    array[3, 2:5, 2:5] = 1
    write_labels(folder / "labelsTr" / "case_00.nii.gz", array, scan(0))
    dataset = Dataset.open(folder)
    case = next(case for case in dataset.cases if case.name == "case_00")
    assert read_case_labels(dataset, case, read_case(case)).warnings == ()


# Regions of several labels


def regions(folder, **more):
    """Values as in BraTS: edema, necrosis, enhancing tumour."""
    labels = {"background": 0, "whole": [1, 2, 4], "core": [2, 4], "enhancing": [4], **more}
    description = V2 | {"labels": labels, "regions_class_order": [1, 2, 4]}
    return Dataset.open(nnunet(folder, description, values=(1, 2, 4, *more.values())))


def test_regions_become_classes_that_do_not_overlap(tmp_path):
    dataset = regions(tmp_path)
    assert dataset.classes == {"background": 0, "whole only": 1, "core only": 2, "enhancing": 3}
    assert dataset.regions == {
        "whole": ("whole only", "core only", "enhancing"),
        "core": ("core only", "enhancing"),
    }
    found = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(found.array, mask_of(scan(0), 1, 2, 3).array)
    assert any("innermost region" in text for text in texts(check(dataset)))
    assert texts(check(dataset), "error") == []


def test_regions_may_have_an_ignore_label(tmp_path):
    dataset = regions(tmp_path, ignore=5)
    assert dataset.ignore == 5
    assert read_case_labels(dataset, dataset.cases[0]).array.max() == 255


def test_labels_in_the_same_regions_are_one_class(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [3]}
    folder = nnunet(tmp_path, V2 | {"labels": labels}, values=(1, 2, 3))
    dataset = Dataset.open(folder)
    assert dataset.classes == {"background": 0, "whole only": 1, "core": 2}
    found = read_case_labels(dataset, dataset.cases[0])
    np.testing.assert_array_equal(found.array, mask_of(scan(0), 1, 1, 2).array)
