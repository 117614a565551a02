"""Labelling a dataset: what each step writes, on real files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from labelling_cases import (
    CLASSES,
    MODEL,
    OTHER_MODEL,
    box,
    contents,
    make_dataset,
    propose,
    stored,
    training_names,
    volume,
)

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_labels
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans")


@pytest.fixture
def labelling(folder: Path) -> Labelling:
    return Labelling(folder, "Ada")


def test_a_dataset_without_labelling_is_opened_as_it_is(folder: Path) -> None:
    before = contents(folder)
    labelling = Labelling(folder, "Ada")
    assert [labelling.facts(f"scan_{n}").status for n in range(4)] == [
        "labelled", "labelled", "unlabelled", "unlabelled",
    ]  # fmt: skip
    assert labelling.open_case("scan_0").origin == "mask"
    assert labelling.open_case("scan_3").origin == "empty"
    assert contents(folder) == before


def test_a_saved_mask_is_where_training_finds_it_with_the_geometry_of_its_image(
    labelling: Labelling, folder: Path
) -> None:
    opened = labelling.open_case("scan_2")
    saved = labelling.save(opened, box(2), seconds=61.5)
    assert saved.facts.status == "labelled" and saved.facts.reader == "Ada"
    np.testing.assert_array_equal(stored(folder, "scan_2"), box(2))
    image = sitk.ReadImage(str(folder / "imagesTr" / "scan_2_0000.nii.gz"))
    mask = sitk.ReadImage(str(folder / "labelsTr" / "scan_2.nii.gz"))
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    assert training_names(folder) == {"scan_0", "scan_1", "scan_2"}
    [entry] = labelling.entries()
    assert (entry.what, entry.who, entry.case) == ("save", "Ada", "scan_2")
    assert entry.status == ("unlabelled", "labelled")
    assert (entry.from_mask, entry.to_mask) == ("", saved.facts.mask)
    assert entry.voxels == np.count_nonzero(box(2)) and entry.seconds == 61.5


def test_dataset_json_lists_exactly_the_masks_that_count(
    labelling: Labelling, folder: Path
) -> None:
    def listed() -> set[str]:
        description = json.loads((folder / "dataset.json").read_text("utf-8"))
        assert description["numTraining"] == len(description["dataset"])
        for entry in description["dataset"].values():
            assert all((folder / image).is_file() for image in entry["images"])
            assert (folder / entry["label"]).is_file()
        return set(description["dataset"])

    labelling.save(labelling.open_case("scan_2"), box(2))
    assert listed() == {"scan_0", "scan_1", "scan_2"}
    labelling.step("scan_0", "flag", note="motion")
    assert listed() == {"scan_1", "scan_2"}
    labelling.step("scan_0", "reopen")
    assert listed() == {"scan_0", "scan_1", "scan_2"}


def test_the_mask_before_is_kept_and_a_draft_does_not_count(
    labelling: Labelling, folder: Path
) -> None:
    old = (folder / "labelsTr" / "scan_0.nii.gz").read_bytes()
    opened = labelling.save_draft(labelling.open_case("scan_0"), box(2))
    assert (folder / "labelsTr" / "scan_0.nii.gz").read_bytes() == old
    again = Labelling(folder, "Ada").open_case("scan_0")
    assert again.origin == "draft"
    np.testing.assert_array_equal(again.labels, box(2))
    assert Labelling(folder, "Bea").open_case("scan_0").origin == "mask"
    labelling.save(opened, box(1))
    assert not labelling.paths.readers("scan_0")
    found, saved = list(labelling.entries())
    assert found.what == "found" and found.note == "It was there before."
    assert labelling.paths.version(saved.from_mask).read_bytes() == old
    assert saved.voxels == np.count_nonzero(box(1) != box(0))


def test_an_accepted_proposal_is_the_very_file_of_the_model(
    labelling: Labelling, folder: Path
) -> None:
    made = propose(labelling, "scan_2")
    assert labelling.facts("scan_2").status == "proposed"
    assert training_names(folder) == {"scan_0", "scan_1"}
    labelling.accept("scan_2", seconds=3)
    proposal = labelling.paths.proposal("scan_2", MODEL)
    assert (folder / "labelsTr" / "scan_2.nii.gz").read_bytes() == proposal.read_bytes()
    assert training_names(folder) == {"scan_0", "scan_1", "scan_2"}
    proposed, accepted = labelling.entries()
    assert proposed.what == "propose" and proposed.proposal == MODEL
    assert (accepted.what, accepted.voxels, accepted.proposal) == ("accept", 0, MODEL)
    assert accepted.to_mask == made.mask


def test_an_edited_proposal_is_logged_with_the_voxels_that_were_changed(
    labelling: Labelling,
) -> None:
    propose(labelling, "scan_2")
    opened = labelling.open_case("scan_2")
    assert opened.origin == "proposal"
    opened.labels[0, 0, :4] = 1  # as the window paints
    labelling.save_draft(opened, opened.labels)
    assert labelling.facts("scan_2").status == "in progress"
    later = Labelling(labelling.dataset.folder, "Ada")
    opened = later.open_case("scan_2")
    later.save(opened, opened.labels)
    entry = list(later.entries())[-1]
    assert (entry.what, entry.voxels, entry.proposal) == ("save", 4, MODEL)


def test_a_rejected_proposal_is_not_offered_again_but_another_one_is(
    labelling: Labelling,
) -> None:
    propose(labelling, "scan_2")
    labelling.reject("scan_2", note="wrong side")
    assert labelling.facts("scan_2").status == "unlabelled"
    assert labelling.open_case("scan_2").origin == "empty"
    propose(labelling, "scan_2", OTHER_MODEL, number=2)
    opened = labelling.open_case("scan_2")
    assert opened.proposal is not None and opened.proposal.sha256 == OTHER_MODEL
    rejected = labelling.open_case("scan_2", proposal=MODEL[:12])
    np.testing.assert_array_equal(rejected.labels, box(0))


@pytest.mark.parametrize("action", ["flag", "exclude", "review"])
def test_a_mask_that_does_not_count_leaves_the_folder_of_nnunet_and_comes_back(
    labelling: Labelling, folder: Path, action: str
) -> None:
    mask = folder / "labelsTr" / "scan_1.nii.gz"
    content = mask.read_bytes()
    labelling.step("scan_1", action, note="motion")
    assert not mask.exists() and "scan_1" not in training_names(folder)
    assert labelling.facts("scan_1").comment == "motion"
    labelling.step("scan_1", "approve" if action == "review" else "reopen")
    assert mask.read_bytes() == content and "scan_1" in training_names(folder)


def test_slices_that_are_not_done_are_ignored_in_training_and_kept_as_they_were(
    labelling: Labelling, folder: Path
) -> None:
    saved = labelling.save(labelling.open_case("scan_2"), box(2), slices=[3, 4, 4])
    assert saved.facts.slices == (3, 4)
    labels = json.loads((folder / "dataset.json").read_text("utf-8"))["labels"]
    assert labels == CLASSES | {"ignore": 3}
    written = stored(folder, "scan_2")
    np.testing.assert_array_equal(written[3:5], box(2)[3:5])
    assert (np.delete(written, [3, 4], axis=0) == 3).all()
    again = Labelling(folder, "Bea").open_case("scan_2")
    np.testing.assert_array_equal(again.labels, box(2))
    assert again.facts.slices == (3, 4)


def test_slices_are_counted_along_the_axis_that_was_annotated(
    labelling: Labelling, folder: Path
) -> None:
    labelling.save(labelling.open_case("scan_2"), box(2), slices=[1], axis=2)
    written = stored(folder, "scan_2")
    np.testing.assert_array_equal(written[..., 1], box(2)[..., 1])
    assert (np.delete(written, 1, axis=2) == 3).all()


def test_all_slices_done_is_a_whole_mask(labelling: Labelling, folder: Path) -> None:
    saved = labelling.save(labelling.open_case("scan_2"), box(2), slices=range(10))
    assert saved.facts.slices is None
    assert Dataset.open(folder).ignore is None


@pytest.mark.parametrize(("slices", "words"), [([], "No slice"), ([10], "no slice 10")])
def test_wrong_slices_are_refused_and_nothing_is_written(
    labelling: Labelling, folder: Path, slices: list[int], words: str
) -> None:
    before = contents(folder)
    with pytest.raises(UserError, match=words):
        labelling.save(labelling.open_case("scan_2"), box(2), slices=slices)
    assert contents(folder) == before


def test_another_window_sees_the_new_ignore_label(labelling: Labelling, folder: Path) -> None:
    other = Labelling(folder, "Bea")
    labelling.save(labelling.open_case("scan_2"), box(2), slices=[3])
    assert (other.open_case("scan_2").labels == box(2)).all()


def test_a_mask_placed_by_another_program_counts_and_is_kept_when_it_is_replaced(
    labelling: Labelling, folder: Path
) -> None:
    path = folder / "labelsTr" / "scan_3.nii.gz"
    write_labels(path, box(1), volume(box(1)))
    foreign = path.read_bytes()
    assert labelling.facts("scan_3").status == "labelled"
    saved = labelling.save(labelling.open_case("scan_3"), box(2), source="3D Slicer")
    entry = list(labelling.entries())[-1]
    assert labelling.paths.version(entry.from_mask).read_bytes() == foreign
    assert entry.source == "3D Slicer" and saved.facts.status == "labelled"


def test_a_mask_removed_by_another_program_is_still_opened(
    labelling: Labelling, folder: Path
) -> None:
    labelling.save(labelling.open_case("scan_2"), box(2))
    (folder / "labelsTr" / "scan_2.nii.gz").unlink()
    assert labelling.facts("scan_2").status == "unlabelled"
    np.testing.assert_array_equal(labelling.open_case("scan_2").labels, box(2))
    labelling.save(labelling.open_case("scan_2"), box(1))
    np.testing.assert_array_equal(stored(folder, "scan_2"), box(1))


def test_stored_values_of_the_dataset_are_written(tmp_path: Path) -> None:
    labels = {"background": 0, "liver": 5, "lesion": 9}
    folder = make_dataset(tmp_path / "odd", labelled=0, labels=labels)
    labelling = Labelling(folder)
    labelling.save(labelling.open_case("scan_0"), box())
    assert sorted(np.unique(stored(folder, "scan_0"))) == [0, 5, 9]
    np.testing.assert_array_equal(labelling.open_case("scan_0").labels, box())


def test_bad_input_is_refused_in_one_sentence_and_nothing_changes(
    labelling: Labelling, folder: Path
) -> None:
    propose(labelling, "scan_3")
    opened = labelling.open_case("scan_2")
    before = contents(folder, "versions", "locks")
    for words, attempt in {
        "no case scan_9": lambda: labelling.open_case("scan_9"),
        "shape 10 x 7 x 5": lambda: labelling.save(opened, box()[..., :5]),
        "contains the value 7": lambda: labelling.save(opened, np.full((10, 7, 6), 7, np.uint8)),
        "unlabelled and cannot be approved": lambda: labelling.step("scan_2", "approve"),
        "unlabelled and cannot be accepted": lambda: labelling.accept("scan_2"),
        "no proposal of a model cc": lambda: labelling.accept("scan_3", proposal="cc"),
        "7 is not a difficulty": lambda: labelling.describe("scan_2", difficulty=7),
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            attempt()
        assert caught.value.remedy.endswith(".")
    assert contents(folder, "versions", "locks") == before


@pytest.mark.parametrize(
    ("shape", "words"), [((13, 14, 15), "13 x 14 x 15"), ((10, 7, 6), "not the one that")]
)
def test_a_proposal_that_was_exchanged_is_not_accepted(
    labelling: Labelling, shape: tuple[int, ...], words: str
) -> None:
    propose(labelling, "scan_2")
    path = labelling.paths.proposal("scan_2", MODEL)
    write_labels(path, np.ones(shape, np.uint8), volume(np.zeros(shape, np.uint8)))
    with pytest.raises(UserError, match=words):
        labelling.accept("scan_2")
    assert labelling.facts("scan_2").status == "proposed"


def test_a_case_whose_image_is_gone_is_refused_by_name(labelling: Labelling, folder: Path) -> None:
    (folder / "imagesTr" / "scan_2_0000.nii.gz").unlink()
    with pytest.raises(UserError, match="scan_2_0000"):
        labelling.open_case("scan_2")


def test_difficulty_comment_and_readers_are_kept(labelling: Labelling, folder: Path) -> None:
    labelling.describe("scan_0", difficulty=3, comment="portal vein?", readers=("Ada", "Bea"))
    facts = Labelling(folder).facts("scan_0")
    assert (facts.difficulty, facts.comment) == (3, "portal vein?")
    assert facts.readers == ("Ada", "Bea") and facts.status == "labelled"


def test_2d_images_are_labelled_in_their_own_format(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(folder / "imagesTr" / "a_0000.png"))
    description = {"labels": {"background": 0, "cell": 1}, "channel_names": {"0": "grey"}}
    content = json.dumps(description | {"file_ending": ".png", "numTraining": 0})
    (folder / "dataset.json").write_text(content, "utf-8")
    labelling = Labelling(folder)
    mask = (picture > 99).astype(np.uint8)
    opened = labelling.save_draft(labelling.open_case("a"), mask)
    labelling.save(opened, mask)
    np.testing.assert_array_equal(read_volume(folder / "labelsTr" / "a.png").array, mask)
    assert labelling.open_case("a").origin == "mask"


def test_a_new_mask_is_added_to_the_folds_of_nnunet_which_leave_out_all_others(
    tmp_path: Path,
) -> None:
    folder = make_dataset(tmp_path / "scans", count=4, labelled=2)
    folds = [{"train": ["scan_0"], "val": ["scan_1"]}, {"train": ["scan_1"], "val": ["scan_0"]}]
    (folder / "splits_final.json").write_text(json.dumps(folds), "utf-8")
    labelling = Labelling(folder)
    labelling.save(labelling.open_case("scan_2"), box(2))
    assert training_names(folder) == {"scan_0", "scan_1", "scan_2"}
    found = json.loads((folder / "splits_final.json").read_text("utf-8"))
    assert [fold["train"] for fold in found] == [["scan_0", "scan_2"], ["scan_1", "scan_2"]]
    assert [fold["val"] for fold in found] == [["scan_1"], ["scan_0"]]


@pytest.mark.parametrize("backslashes", [False, True])
def test_a_new_mask_is_listed_in_the_description_of_nnunet_v1_with_a_byte_order_mark(
    tmp_path: Path, backslashes: bool
) -> None:
    folder = make_dataset(tmp_path / "v1", labelled=2)
    for path in (folder / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    slash = "\\" if backslashes else "/"
    training: list[Any] = [
        {"image": f".{slash}imagesTr{slash}scan_{n}.nii.gz", "label": f"./labelsTr/scan_{n}.nii.gz"}
        for n in range(2)
    ]
    training += [f".{slash}imagesTr{slash}scan_{n}.nii.gz" for n in (2, 3)]
    described = {
        "name": "old", "modality": {"0": "MR"},
        "labels": {"0": "background", "1": "liver", "2": "lesion"},
        "numTraining": 2, "training": training, "test": [],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8-sig")
    labelling = Labelling(folder)
    labelling.save(labelling.open_case("scan_3"), box(3))
    listed = json.loads((folder / "dataset.json").read_bytes())["training"]
    assert listed[3]["label"] == "./labelsTr/scan_3.nii.gz"
    assert listed[:3] == training[:3]
    labelled = {case.name for case in Dataset.open(folder).cases if case.label}
    assert labelled == {"scan_0", "scan_1", "scan_3"}


def test_regions_are_written_as_the_values_that_nnunet_stores(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder = make_dataset(tmp_path / "scans", labelled=0, labels=labels, regions_class_order=[1, 2])
    labelling = Labelling(folder)
    labelling.save(labelling.open_case("scan_0"), box())
    np.testing.assert_array_equal(stored(folder, "scan_0"), box())


def test_a_mask_whose_stored_values_would_be_merged_is_not_written_back(tmp_path: Path) -> None:
    folder = make_dataset(
        tmp_path / "scans", labelled=0, labels={"background": 0, "whole": [1, 2], "core": 3}
    )
    labelling = Labelling(folder)
    with pytest.raises(UserError, match="merges several stored values"):
        labelling.save(labelling.open_case("scan_0"), box())
