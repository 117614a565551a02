import json

import numpy as np
import pytest
from import_cases import mask_of, names, scan, texts, write_image_2d, write_scans

from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume

# Opening datasets of other programs


def test_a_decathlon_dataset_is_read(tmp_path):
    folder = tmp_path / "Task99_Liver"
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    for number in (1, 2):
        write_volume(folder / "imagesTr" / f"liver_{number}.nii.gz", scan(number))
        write_volume(folder / "labelsTr" / f"liver_{number}.nii.gz", mask_of(scan(number), 1, 2))
    write_volume(folder / "imagesTs" / "liver_3.nii.gz", scan(3))
    description = {
        "name": "LIVER",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": [
            {"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"}
            for n in (1, 2)
        ],
        "test": ["./imagesTs/liver_3.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    dataset = Dataset.open(folder)
    assert dataset.name == "LIVER"
    assert dataset.classes == {"background": 0, "liver": 1, "cancer": 2}
    assert dataset.channel_names == ("CT",)
    assert sorted(names([*dataset.labelled("train"), *dataset.labelled("val")])) == [
        "liver_1",
        "liver_2",
    ]
    assert names(dataset.unlabelled("test")) == ["liver_3"]
    image = read_case(dataset.cases[0])
    assert read_case_labels(dataset, dataset.cases[0], image).array.max() == 2
    assert texts(check(dataset), "error") == []


def nnunet_folder(tmp_path, labels=None, **more):
    """Write a dataset in the plain nnU-Net format, without splits."""
    folder = tmp_path / "Dataset042_Pilot"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for name in ("a", "b"):
        write_volume(folder / "imagesTr" / f"{name}_0000.nii.gz", scan(ord(name)))
        write_volume(folder / "labelsTr" / f"{name}.nii.gz", mask_of(scan(0), 1))
    description = {
        "channel_names": {"0": "CT"},
        "labels": labels or {"background": 0, "liver": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_a_plain_nnunet_dataset_is_read(tmp_path):
    dataset = Dataset.open(nnunet_folder(tmp_path))
    assert dataset.name == "Pilot"
    assert sorted(names(dataset.cases)) == ["a", "b"]
    assert all(case.label for case in dataset.cases)
    assert texts(check(dataset), "error") == []


def test_cases_listed_with_paths_outside_the_dataset_are_found(tmp_path):
    folder = nnunet_folder(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_volume(elsewhere / "scan.nii.gz", scan(5))
    write_volume(elsewhere / "mask.nii.gz", mask_of(scan(5), 1))
    description = json.loads((folder / "dataset.json").read_text())
    description["dataset"] = {
        "c": {"images": ["../elsewhere/scan.nii.gz"], "label": str(elsewhere / "mask.nii.gz")}
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    dataset = Dataset.open(folder)
    assert sorted(names(dataset.cases)) == ["a", "b", "c"]
    np.testing.assert_array_equal(read_case(by_name(dataset, "c")).array, scan(5).array)


def test_stored_values_are_mapped_to_class_indices(tmp_path):
    """The values have gaps, and the ignore label is between them."""
    folder = nnunet_folder(tmp_path, labels={"background": 0, "liver": 4, "ignore": 5, "cyst": 9})
    write_volume(folder / "labelsTr" / "a.nii.gz", mask_of(scan(0), 4, 5, 9))
    dataset = Dataset.open(folder)
    assert dataset.classes == {"background": 0, "liver": 1, "cyst": 2}
    labels = read_case_labels(dataset, by_name(dataset, "a"))
    np.testing.assert_array_equal(labels.array, mask_of(scan(0), 1, IGNORE, 2).array)
    with pytest.raises(UserError, match="b contains the value 1, which is not one of the classes"):
        read_case_labels(dataset, by_name(dataset, "b"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is not a dataset: it contains no dataset.json"),
        ("{", "is damaged"),
        ('{"channel_names": {}}', "has no labels"),
        ('{"labels": {"a": "b"}, "file_ending": ".png"}', "is not valid"),
        ('{"labels": {"background": 0}}', "is not valid"),
        ('{"labels": {"a": [], "b": 2}, "file_ending": ".png"}', "is not valid"),
        ('{"labels": {"a": 1, "b": 1}, "file_ending": ".png"}', "have the same value"),
        ('{"labels": {"0": "x", "1": "a", "2": "a"}, "file_ending": ".png"}', "are called a"),
    ],
)
def test_a_folder_that_is_not_a_dataset_is_refused(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        Dataset.open(tmp_path)


def test_splits_with_unknown_cases_are_refused(tmp_path):
    folder = nnunet_folder(tmp_path)
    (folder / "splits.json").write_text('{"train": ["a"], "val": ["x"]}')
    with pytest.raises(UserError, match="1 case that the dataset does not have, such as x"):
        Dataset.open(folder)


# Checking


@pytest.fixture
def pilot(folders, tmp_path):
    """A valid dataset of 6 labelled and 2 unlabelled cases."""
    write_scans(folders, count=8, labelled=6)
    splits = {
        "train": ["case_0", "case_1", "case_2"],
        "val": ["case_3"],
        "test": ["case_4", "case_5"],
    }
    return import_dataset(*folders, tmp_path / "pilot", splits=splits)


def replace_volume(path, volume):
    path.unlink()
    write_volume(path, volume)


def by_name(dataset, name) -> Case:
    return next(case for case in dataset.cases if case.name == name)


def found(dataset, severity):
    return [(one.case, one.text) for one in check(Dataset.open(dataset.folder)) if
            one.severity == severity]  # fmt: skip


def test_check_of_a_valid_dataset_finds_no_errors_or_warnings(pilot):
    findings = check(pilot)
    assert {one.severity for one in findings} == {"info"}
    counts, shapes, spacings = texts(findings)
    assert "training: 3 labelled, 2 unlabelled; validation: 1 labelled" in counts
    assert shapes == "Shapes: 6 x 9 x 11 voxels."
    assert spacings == "Spacings: 5 x 0.8 x 1.2 mm."


def test_check_reports_progress_to_the_end(pilot):
    steps = []
    check(pilot, progress=lambda *step: steps.append(step))
    assert steps == [(done, 8) for done in range(1, 9)]


def test_check_finds_a_mask_of_another_shape(pilot):
    replace_volume(by_name(pilot, "case_1").label, mask_of(scan(1, shape=(6, 9, 10)), 1))
    ((case, text),) = found(pilot, "error")
    assert case == "case_1"
    assert "6 x 9 x 10" in text
    assert "6 x 9 x 11" in text


def test_check_finds_a_mask_with_another_origin(pilot):
    label = by_name(pilot, "case_2").label
    volume = read_volume(label)
    replace_volume(label, Volume(volume.array, volume.spacing, (0.0, 0.0, 0.0), volume.direction))
    ((case, text),) = found(pilot, "error")
    assert case == "case_2"
    assert "does not align" in text


def test_check_finds_values_without_a_class(pilot):
    replace_volume(by_name(pilot, "case_0").label, mask_of(scan(0), 1, 2, 5))
    ((case, text),) = found(pilot, "error")
    assert case == "case_0"
    assert "value 5" in text


def test_check_finds_empty_masks_and_missing_classes(pilot):
    for name in ("case_0", "case_1", "case_2"):
        replace_volume(
            by_name(pilot, name).label, mask_of(scan(0), *([1] if name == "case_0" else []))
        )
    warnings = found(pilot, "warning")
    assert ("case_1", "The mask is empty.") in warnings
    assert ("case_2", "The mask is empty.") in warnings
    assert any("No training mask contains the class class_2" in text for _, text in warnings)
    assert found(pilot, "error") == []


def test_check_finds_damaged_files(pilot):
    path = by_name(pilot, "case_6").images[0]
    stored = path.read_bytes()
    path.unlink()
    path.write_bytes(stored[: len(stored) // 2])
    assert [case for case, _ in found(pilot, "error")] == ["case_6"]


def test_check_finds_missing_channels(pilot):
    path = pilot.folder / "dataset.json"
    description = json.loads(path.read_text())
    description["channel_names"] = {"0": "T1", "1": "T2"}
    path.write_text(json.dumps(description))
    errors = found(pilot, "error")
    assert len(errors) == 8
    assert "has 1 channel, but the dataset has 2 (T1, T2)" in errors[0][1]


def test_check_finds_a_case_in_two_splits(pilot):
    path = pilot.folder / "splits.json"
    splits = json.loads(path.read_text())
    splits["val"].append("case_0")
    path.write_text(json.dumps(splits))
    assert [case for case, text in found(pilot, "error") if "train and val" in text] == ["case_0"]


def test_check_finds_a_case_among_training_and_test_images(pilot):
    for part, ending in (("images", "_0000"), ("labels", "")):
        source = pilot.folder / f"{part}Tr" / f"case_1{ending}.nii.gz"
        (pilot.folder / f"{part}Ts" / source.name).write_bytes(source.read_bytes())
    assert [case for case, text in found(pilot, "error") if "train and test" in text] == ["case_1"]


def test_check_finds_the_same_image_under_two_names(pilot):
    replace_volume(by_name(pilot, "case_4").images[0], scan(2))
    replace_volume(by_name(pilot, "case_7").images[0], scan(6))
    ((case, text),) = found(pilot, "error")
    assert case == "case_2"
    assert "in train and test, under the names case_2 and case_4" in text
    assert found(pilot, "warning") == [("case_6", "case_6 and case_7 are the same image.")]


def test_check_finds_splits_with_too_few_masks(pilot):
    for name in ("case_0", "case_1", "case_3", "case_4"):
        by_name(pilot, name).label.unlink()
    texts_found = [text for _, text in found(pilot, "warning")]
    assert any("Only one training case has a mask." in text for text in texts_found)
    assert any("No validation case has a mask" in text for text in texts_found)
    assert any("1 test case has no mask" in text for text in texts_found)
    by_name(pilot, "case_2").label.unlink()
    assert ("", "No training case has a mask.") in found(pilot, "error")


# Fingerprint


def test_the_fingerprint_summarises_the_training_images(folders, tmp_path):
    images, masks = folders
    for number, (shape, spacing) in enumerate(
        [((4, 8, 10), (5, 1, 1)), ((6, 8, 12), (3, 1, 2)), ((8, 8, 20), (2, 1, 3))]
    ):
        volume = scan(number, shape)
        volume = Volume(volume.array, spacing, volume.origin, volume.direction)
        write_volume(images / f"{number}.nii.gz", volume)
        write_volume(masks / f"{number}.nii.gz", mask_of(volume, 1))
    splits = {"train": ["0", "1", "2"]}
    facts = fingerprint(import_dataset(images, masks, tmp_path / "facts", splits=splits))
    assert facts["cases"] == 3
    assert facts["median_shape"] == [6, 8, 12]
    assert facts["median_spacing"] == pytest.approx([3, 1, 2])
    assert facts["spacing_min"] == pytest.approx([2, 1, 1])
    assert facts["spacing_max"] == pytest.approx([5, 1, 3])
    assert facts["modality"] == "CT"
    assert facts["minimum"][0] < -950
    assert facts["percentiles"]["50"][0] == pytest.approx(-300, abs=30)


def test_the_fingerprint_is_in_anatomical_not_stored_orientation(folders, tmp_path):
    """In a sagittal stack the slowest axis is the left-right axis."""
    images, _ = folders
    sagittal = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    array = np.random.default_rng(0).integers(0, 100, (4, 6, 8)).astype(np.int16)
    write_volume(images / "a.nii.gz", Volume(array, (5.0, 2.0, 1.0), (0.0, 0.0, 0.0), sagittal))
    facts = fingerprint(import_dataset(images, None, tmp_path / "sagittal"))
    assert facts["median_spacing"] == pytest.approx([2.0, 1.0, 5.0])
    assert facts["median_shape"] == [6, 8, 4]
    assert facts["modality"] == "other"


def test_the_fingerprint_reads_at_most_20_cases(folders, tmp_path, monkeypatch):
    from napari_graphflow.dataset import fingerprint as module

    images, _ = folders
    for number in range(30):
        write_image_2d(images / f"{number:02d}.png", number, colour=False)
    dataset = import_dataset(images, None, tmp_path / "many")
    read = []
    monkeypatch.setattr(module, "read_case", lambda case: read.append(case) or read_case(case))
    assert fingerprint(dataset)["cases"] == len(read) == 20
    assert (read[0].name, read[-1].name) == ("00", "29")


def test_classes_that_differ_in_capitals_only_are_refused(tmp_path):
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "A": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="a and A of the dataset have the same name"):
        Dataset.open(tmp_path)
