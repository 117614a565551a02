"""Which files of the folders are imported, how they are stored, and what is said of others."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from import_cases import (
    assert_no_files_left,
    mask_of,
    names,
    scan,
    texts,
    write_scans,
)

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_volume


def labelled(dataset):
    return sorted(case.name for case in dataset.cases if case.label)


# Links


@pytest.fixture
def linked(folders, tmp_path):
    """Folders of relative links into a store, as git-annex and DVC have them."""
    store = tmp_path / "store"
    store.mkdir()
    for number in range(3):
        for folder, volume in zip(folders, (scan(number), mask_of(scan(number), 1)), strict=True):
            file = store / f"SHA256-{folder.name}-{number}.nii.gz"
            write_volume(file, volume)
            (folder / f"c{number}.nii.gz").symlink_to(Path("..", "store", file.name))
    return folders


def test_links_to_images_are_resolved(linked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "deep" / "below" / "data"
    import_dataset("images", "masks", out)
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    dataset = Dataset.open(out)
    assert len(dataset.cases) == 3
    for case in dataset.cases:
        assert not case.images[0].is_symlink()
        np.testing.assert_array_equal(read_case(case).array, scan(int(case.name[1:])).array)


def test_editing_an_image_leaves_the_imported_one_unchanged(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    (case,) = import_dataset(*folders, tmp_path / "out").cases
    stored = case.images[0].read_bytes()
    with (folders[0] / "case_0.nii.gz").open("r+b") as file:
        file.write(b"edited")
    assert case.images[0].read_bytes() == stored


def test_cases_with_other_channel_numbers_are_refused(folders, tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0002"):
        write_volume(folders[0] / f"{name}.nii.gz", scan(1))
    for name in "ab":
        write_volume(folders[1] / f"{name}.nii.gz", mask_of(scan(1), 1))
    with pytest.raises(UserError, match="b has the channels 0000, 0002, but a has 0000, 0001"):
        import_dataset(*folders, tmp_path / "out")


def test_links_that_lead_nowhere_are_refused(linked, tmp_path):
    (tmp_path / "store" / "SHA256-images-1.nii.gz").unlink()
    with pytest.raises(UserError, match=r"1 file in .*images is only link.*c1\.nii\.gz"):
        import_dataset(*linked, tmp_path / "out")
    assert_no_files_left(tmp_path / "out")


def test_a_copy_that_differs_from_its_source_is_refused(folders, tmp_path, monkeypatch):
    write_scans(folders, count=1, labelled=1)
    monkeypatch.setattr("shutil.copyfile", lambda _, target: Path(target).write_bytes(b"half"))
    with pytest.raises(UserError, match="not copied correctly"):
        import_dataset(*folders, tmp_path / "out")
    assert_no_files_left(tmp_path / "out")


def test_a_dataset_without_its_cases_is_not_left(folders, tmp_path, monkeypatch):
    from napari_graphflow.dataset import importing

    write_scans(folders, count=2, labelled=1)
    monkeypatch.setattr(importing, "_copy", lambda *_: None)
    with pytest.raises(UserError, match="cannot be read back from the new dataset"):
        import_dataset(*folders, tmp_path / "out")
    assert_no_files_left(tmp_path / "out")


# Names


def test_decomposed_names_of_a_mac_match_composed_ones(folders, tmp_path):
    images, masks = folders
    for number, name in enumerate(("Größe", "Müller", "plain")):
        decomposed = unicodedata.normalize("NFD", name)
        write_volume(images / f"{decomposed}.nii.gz", scan(number))
        write_volume(masks / f"{name}_seg.nii.gz", mask_of(scan(number), 1))
    splits = {"train": ["Größe", "plain"], "val": [unicodedata.normalize("NFD", "Müller")]}
    dataset = import_dataset(*folders, tmp_path / "out", splits=splits)
    assert labelled(dataset) == ["Größe", "Müller", "plain"]
    assert names(dataset.labelled("val")) == ["Müller"]


def test_files_of_operating_systems_are_passed_over(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    for folder in folders:
        for name in ("._case_0.nii.gz", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"\x00\x05\x16\x07")
    dataset = import_dataset(*folders, tmp_path / "out")
    assert len(dataset.cases) == 2 and "not_used" not in dataset.record


def test_masks_match_in_other_capitals_if_that_is_unambiguous(folders, tmp_path):
    images, masks = folders
    write_volume(images / "Patient1.nii.gz", scan(1))
    write_volume(masks / "PATIENT1_Mask.nii.gz", mask_of(scan(1), 1))
    assert labelled(import_dataset(*folders, tmp_path / "out")) == ["Patient1"]
    write_volume(images / "patient1.nii.gz", scan(2))
    with pytest.raises(UserError, match="the same name, apart from capital letters"):
        import_dataset(*folders, tmp_path / "again")


VISITS = "followup visit2_seg 2 20190101 pre v2 prior old m6 exam2 POST ART pv liver seg_v2"


@pytest.mark.parametrize("mask", [f"P1_{word}" for word in VISITS.split()])
def test_the_mask_of_another_visit_is_not_taken_for_that_of_the_image(folders, tmp_path, mask):
    images, masks = folders
    for name in ("P1", "P2"):
        write_volume(images / f"{name}.nii.gz", scan(ord(name[1])))
    for name in (mask, "P2"):
        write_volume(masks / f"{name}.nii.gz", mask_of(scan(1), 1))
    dataset = import_dataset(*folders, tmp_path / "out")
    assert labelled(dataset) == ["P2"]
    assert any(f"1 mask without an image was not imported, such as {mask}" in text
               for text in texts(check(dataset)))  # fmt: skip


@pytest.mark.parametrize(
    ("image", "mask"),
    [("P1", "seg-P1"), ("P1", "P1_manual_gt"), ("volume-1", "segmentation-1"), ("P1_img", "P1-roi"),
     ("a_label", "a_label_seg"), ("P1_pre", "mask_P1_pre"), ("P1", "P1_0000")],
)  # fmt: skip
def test_words_for_masks_and_images_at_both_ends_of_a_name_do_not_count(
    folders, tmp_path, image, mask
):
    write_volume(folders[0] / f"{image}.nii.gz", scan(1))
    write_volume(folders[1] / f"{mask}.nii.gz", mask_of(scan(1), 1))
    assert labelled(import_dataset(*folders, tmp_path / "out")) == [image]


def test_drawn_splits_keep_all_scans_of_a_patient_together(folders, tmp_path):
    images, masks = folders
    for number in range(20):
        name = f"P{number // 2:02d}_{'followup' if number % 2 else 'baseline'}"
        write_volume(images / f"{name}.nii.gz", scan(number))
        if number % 2 or number < 12:
            write_volume(masks / f"{name}.nii.gz", mask_of(scan(number), 1))
    dataset = import_dataset(*folders, tmp_path / "out")
    sides = {(case.name[:3], case.split) for case in dataset.cases}
    assert len(sides) == 10
    assert {split for _, split in sides} == {"train", "val", "test"}


# Files that are not used


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("case_{}.mgz", r"case_0\.mgz, case_1\.mgz \(format not supported\)"),
        ("case_{}.npy", r"case_0\.npy, case_1\.npy \(format not supported\)"),
        ("case_{}/notes.txt", r"case_0, case_1 \(contains no mask of a supported format\)"),
        ("", "contains no masks"),
    ],
)
def test_a_folder_without_a_usable_mask_is_refused(folders, tmp_path, name, sentence):
    images, masks = folders
    for number in range(2):
        write_volume(images / f"case_{number}.nii.gz", scan(number))
        if name:
            path = masks / name.format(number)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"mask")
    with pytest.raises(UserError, match=sentence):
        import_dataset(images, masks, tmp_path / "out")
    assert_no_files_left(tmp_path / "out")


def test_folders_with_one_image_or_mask_each_are_cases(folders, tmp_path):
    images, masks = folders
    for number in range(2):
        for folder, file, volume in (
            (images, "deep/scan.nii.gz", scan(number)),
            (masks, "mask.nii.gz", mask_of(scan(number), 1)),
        ):
            path = folder / f"case_{number}" / file
            path.parent.mkdir(parents=True)
            write_volume(path, volume)
    assert labelled(import_dataset(images, masks, tmp_path / "out")) == ["case_0", "case_1"]
    write_volume(masks / "case_1" / "second.nii.gz", mask_of(scan(0), 1))
    dataset = import_dataset(images, masks, tmp_path / "again")
    assert labelled(dataset) == ["case_0"]
    assert dataset.record["not_used"] == ["masks/case_1 (contains 2 masks)"]


def test_what_is_not_imported_is_said_on_the_command_line(folders, tmp_path, capsys):
    images, masks = folders
    write_scans(folders, count=2, labelled=1)
    (masks / "case_1.mgz").write_bytes(b"freesurfer")
    (images / "list.xlsx").write_bytes(b"table")
    (images / "other").mkdir()
    write_volume(images / "other" / "scan.nii.gz", scan(1))
    call = ["datasets", "import", "--images", images, "--masks", masks, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, call), "--json"])
    assert ended.value.code == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    (said,) = (one["text"] for one in findings if one["severity"] == "warning")
    assert "3 files were not imported" in said
    for name in ("images/list.xlsx", "images/other (contains 1 image)", "masks/case_1.mgz"):
        assert name in said
    assert said in texts(check(Dataset.open(tmp_path / "out")))


def test_a_fold_of_nnunet_can_be_imported(folders, tmp_path):
    write_scans(folders, count=3, labelled=3)
    folds = [{"train": ["case_1", "case_2"], "val": [f"case_{n}"]} for n in (0, 1)]
    folds[1]["train"] = ["case_0", "case_2"]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds), "utf-8-sig")
    for key, val in (("", "case_0"), ("#1", "case_1")):
        out = tmp_path / f"out{val}"
        dataset = import_dataset(*folders, out, splits=f"{tmp_path / 'splits_final.json'}{key}")
        assert names(dataset.labelled("val")) == [val]
