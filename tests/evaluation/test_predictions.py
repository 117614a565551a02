"""Folders of masks are scored by the names of their classes, else by the values of the dataset."""

import json

import numpy as np
import pytest
from import_cases import mask_of, scan
from nnunet_cases import NAMES, V2, nnunet

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.inference.evaluate import evaluate_split

GAPS = V2 | {"labels": {"background": 0, "organ": 2, "core": 4}}
SPLITS = {"test": list(NAMES[:2]), "train": list(NAMES[2:4]), "val": [NAMES[4]]}


@pytest.fixture
def gaps(tmp_path):
    """Labels 0, 2 and 4; two test cases."""
    folder = nnunet(tmp_path / "gaps", GAPS, values=(2, 4))
    (folder / "splits.json").write_text(json.dumps(SPLITS))
    return folder


def predict(folder, values, names=None, ending=".nii.gz", cases=NAMES[:2]):
    """Write the reference of each case with other values."""
    folder.mkdir(exist_ok=True)
    for name in cases:
        like = scan(NAMES.index(name)) if name in NAMES else scan(0)
        write_labels(folder / f"{name}{ending}", mask_of(like, *values).array, like, classes=names)
    return folder


def dice(scores):
    return {name: one["dice_score"]["mean"] for name, one in scores["summary"].items()}


PERFECT = {"organ": 1.0, "core": 1.0, "mean": 1.0}


def test_masks_without_names_have_the_values_of_the_dataset(gaps, tmp_path):
    scores = evaluate_split(gaps, predictions=predict(tmp_path / "out", (2, 4)))
    assert dice(scores) == PERFECT and scores["notes"] == []
    assert dice(evaluate_split(gaps, "train", predictions=gaps / "labelsTr")) == PERFECT


def test_names_beside_a_mask_decide_what_its_values_mean(gaps, tmp_path):
    """As `segment` writes them; 2 is the core here, and the organ in the dataset."""
    names = {"background": 0, "Organ": 1, "core": 2}
    assert dice(evaluate_split(gaps, predictions=predict(tmp_path / "o", (1, 2), names))) == PERFECT


def test_the_description_that_nnunet_writes_with_its_masks_names_their_classes(gaps, tmp_path):
    out = predict(tmp_path / "out", (1, 2))
    (out / "dataset.json").write_text(json.dumps(V2), "utf-8-sig")
    (out / "case_00.pkl").write_bytes(b"")
    scores = evaluate_split(gaps, predictions=out)
    assert dice(scores) == PERFECT and scores["notes"] == []


def test_classes_that_the_dataset_does_not_have_are_background_and_said(gaps, tmp_path):
    names = {"spleen": 1, "core": 2}
    scores = evaluate_split(gaps, predictions=predict(tmp_path / "out", (1, 2), names))
    assert dice(scores)["core"] == 1 and dice(scores)["organ"] == 0
    assert scores["notes"] == ["Not classes of gaps, so counted as background: spleen."]


@pytest.mark.parametrize(
    ("values", "names", "sentence"),
    [
        ((1, 2), None, r"holds the value 1, which is not one of the dataset's \(0, 2, 4\)"),
        ((2, 255), None, "holds the value 255"),
        ((255, 255), None, "holds the value 255"),
        ((255, 255), {"organ": 1, "core": 2}, "holds the value 255"),
        ((1, 2), {"core": 2}, "holds the value 1, which has no class name, although others have"),
        ((1, 2), {"lung": 1, "rib": 2}, r"\(lung, rib\) are none of gaps"),
    ],
)
def test_masks_whose_values_are_not_known_are_refused(gaps, tmp_path, values, names, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate_split(gaps, predictions=predict(tmp_path / "out", values, names))


@pytest.mark.parametrize("value", [1, 255, 1000])
def test_the_only_foreground_may_be_1_or_255(tmp_path, value):
    labels = {"background": 0, "liver": 1000}
    folder = tmp_path / "one"
    nnunet(folder, V2 | {"labels": labels})
    for number, name in enumerate(NAMES):
        array = mask_of(scan(number), 1).array.astype(np.uint16) * 1000
        write_labels(folder / "labelsTr" / f"{name}.nii.gz", array, scan(number))
    (folder / "splits.json").write_text(json.dumps(SPLITS))
    out = tmp_path / "out"
    out.mkdir()
    for number, name in enumerate(NAMES[:2]):
        array = mask_of(scan(number), 1).array.astype(np.uint16) * value
        write_volume(out / f"{name}.nii.gz", scan(number).with_array(array))
    assert dice(evaluate_split(folder, predictions=out)) == {"liver": 1.0, "mean": 1.0}


def test_all_cases_without_a_mask_are_counted(gaps, tmp_path):
    with pytest.raises(UserError, match="no mask for 1 of 2 cases: case_01"):
        evaluate_split(gaps, predictions=predict(tmp_path / "out", (2, 4), cases=["case_00"]))
    out = predict(tmp_path / "out", (2, 4))
    predict(out, (2, 4), ending=".nrrd", cases=["case_00"])
    with pytest.raises(UserError, match="several masks for 1 of 2 cases: case_00"):
        evaluate_split(gaps, predictions=out)


def test_masks_of_other_cases_are_counted_and_said(gaps, tmp_path):
    out = predict(tmp_path / "out", (2, 4), cases=[*NAMES[:3], "case_00.b"])
    (out / "._case_00.nii.gz").write_bytes(b"resource fork")
    (note,) = evaluate_split(gaps, predictions=out)["notes"]
    assert note.startswith("2 files of out are not scored")
    assert "case_00.b.nii.gz, case_02.nii.gz" in note


def test_regions_are_scored_as_a_whole(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    folder = nnunet(tmp_path / "regions", V2 | {"labels": labels})
    out = predict(tmp_path / "out", (1, 1), cases=NAMES)
    found = dice(evaluate_split(folder, "train", predictions=out))
    assert found["whole"] == 1 and found["core"] == 0 and 0 < found["whole only"] < 1


def test_names_of_regions_mean_their_outer_part(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    folder = nnunet(tmp_path / "regions", V2 | {"labels": labels}, values=(1, 2))
    names = {"background": 0, "Core": 1, "whole": 2}
    out = predict(tmp_path / "out", (2, 1), names, cases=NAMES)
    found = evaluate_split(folder, "train", predictions=out)
    assert set(dice(found).values()) == {1.0}
    assert not any("background" in note for note in found["notes"])
    labels = {"background": 0, "both": [1, 2], "one": [1], "other": [2]}
    folder = nnunet(tmp_path / "parts", V2 | {"labels": labels}, values=(1, 2))
    out = predict(tmp_path / "more", (2, 1), {"one": 1, "both": 2}, cases=NAMES)
    with pytest.raises(UserError, match=r"both of .* is a region of several classes"):
        evaluate_split(folder, "train", predictions=out)


def test_names_that_differ_in_capitals_only_are_refused(gaps, tmp_path):
    out = predict(tmp_path / "out", (1, 2), {"organ": 1, "Organ": 2})
    with pytest.raises(UserError, match=r"organ and Organ of case_00.* are the same name"):
        evaluate_split(gaps, predictions=out)


def test_names_that_cannot_be_read_are_refused(gaps, tmp_path):
    out = predict(tmp_path / "out", (2, 4), {"organ": 4, "core": 2})
    for path in out.glob("*.labels.json"):
        path.write_text(path.read_text().replace("2", "2,"))
    with pytest.raises(UserError, match=r"names in case_00\.nii\.gz\.labels\.json cannot be read"):
        evaluate_split(gaps, predictions=out)


def test_dicom_segmentations_are_scored(tmp_path):
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    from dicom_cases import write_series

    folder, out = tmp_path / "data", tmp_path / "out"
    description = V2 | {"labels": {"background": 0, "liver": 3}}
    for part in ("imagesTs", "labelsTs", "series"):
        (folder / part).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(description))
    for name in ("a", "b"):
        series = folder / "series" / name
        write_series(series, uid=f"1.2.3.{ord(name)}")
        image = read_volume(series)
        array = np.zeros(image.shape, np.uint8)
        array[1:3, 2:6, 2:6] = 3
        write_volume(folder / "imagesTs" / f"{name}_0000.nii.gz", image)
        write_labels(folder / "labelsTs" / f"{name}.nii.gz", array, image)
        target = out / "a.dcm" if name == "a" else out / "b" / "any name"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_segments(target, image.with_array(array // 3), series, {"Liver": 1})
    scores = evaluate_split(folder, predictions=out)
    assert dice(scores) == {"liver": 1.0, "mean": 1.0}
    assert len(scores["cases"]) == 2
