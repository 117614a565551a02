"""A folder of masks made by any program becomes a teacher without a network."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_cases import truth, write_many_names, write_mask, write_probabilities

from napari_graphflow.cli import main
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.dataset.answers import Answers
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.models.importing import ImportOptions, import_teacher
from napari_graphflow.system.events import TeacherScored

TABLE = {"organ": ["LIVER"], "lesion": ["cyst_left", "Cyst_Right"]}


def read(teacher: Path, blobs: Path, number: int) -> np.ndarray:
    dataset = Dataset.open(blobs)
    case = next(case for case in dataset.cases if case.name == f"blob_{number}")
    return Answers.open(teacher).read(case.name, read_case(case), 3)


@pytest.mark.parametrize("per_structure", [False, True])
def test_117_names_become_the_two_classes_of_the_table(
    blobs: Path, tmp_path: Path, per_structure: bool
) -> None:
    masks = write_many_names(blobs, tmp_path / "masks", per_structure=per_structure)
    options = ImportOptions(dataset=blobs, classes=TABLE, licence="CC0")
    teacher = import_teacher(masks, tmp_path / "teacher", options)
    for number in range(6):
        assert np.array_equal(read(teacher.folder, blobs, number), truth(blobs, number)[0])
    card = read_model_card(teacher.folder)
    assert card.classes == {"background": 0, "organ": 1, "lesion": 2}
    assert (card.mapping["Liver"], card.mapping["cyst_right"]) == ("organ", "lesion")
    assert (card.name, card.purpose.licence, card.in_channels, card.dims) == ("masks", "CC0", 1, 3)
    assert weights_hash(teacher.folder)


def test_probabilities_of_nnunet_are_kept(blobs: Path, tmp_path: Path) -> None:
    masks = write_probabilities(blobs, tmp_path / "masks")
    (masks / "plans.json").write_text("{}", "utf-8")  # as nnUNetv2_predict does
    teacher = import_teacher(masks, tmp_path / "teacher", ImportOptions(dataset=blobs))
    soft = read(teacher.folder, blobs, 3)
    expected = np.stack([np.where(truth(blobs, 3)[0] == k, 0.8, 0.1) for k in range(3)])
    assert np.allclose(soft, expected, atol=1e-3)


def test_probabilities_in_another_orientation_than_their_mask_are_refused(
    blobs: Path, tmp_path: Path
) -> None:
    masks = write_probabilities(blobs, tmp_path / "masks", turned=True)
    with pytest.raises(UserError, match=r"axes have another order.*Remove the .npz"):
        import_teacher(masks, tmp_path / "teacher", ImportOptions(dataset=blobs))
    # A structure of a few voxels in another place, which is less than a percent of the image.
    labels, image = truth(blobs, 0)
    small = np.zeros_like(labels)
    small[2, 3, 4:7] = 1
    write_mask(masks / "blob_0.nii.gz", small, image)
    turned = np.stack([np.where(small[::-1] == k, 0.8, 0.1) for k in range(3)])
    np.savez_compressed(masks / "blob_0.npz", probabilities=turned)
    with pytest.raises(UserError, match="in 0% of the voxels of structures only"):
        import_teacher(masks, tmp_path / "teacher", ImportOptions(dataset=blobs))
    assert not (tmp_path / "teacher").exists()


@pytest.fixture
def masks(blobs: Path, tmp_path: Path) -> Path:
    return write_many_names(blobs, tmp_path / "masks")


NAMED = ("--classes", "organ=liver", "lesion=cyst_left,cyst_right")


def run(masks: Path, blobs: Path, out: Path, *more: str) -> int:
    command = ["models", "import", str(masks), "--dataset", str(blobs), "--out", str(out)]
    return code_of(*command, *(more or NAMED))


def code_of(*command: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    return int(ended.value.code)


def test_the_command_imports_scores_and_checks(
    masks: Path, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tmp_path / "teacher"
    assert run(masks, blobs, teacher) == 0
    assert "masks: predictions in" in (shown := capsys.readouterr().out)
    assert "mean Dice 1.00 on 1 validation case" in shown
    assert code_of("models", "check", str(teacher), "--dataset", str(blobs)) == 0
    capsys.readouterr()
    assert code_of("models", "show", str(teacher)) == 0
    facts = capsys.readouterr().out
    assert "predictions" in facts and "patch size" not in facts
    assert code_of("models", "list", str(tmp_path), "--json") == 0
    assert "predictions" in capsys.readouterr().out
    assert code_of("models", "remove", str(teacher), "--yes") == 0
    assert not teacher.exists()


def test_a_model_that_could_be_better_with_other_settings_is_kept_and_the_cause_is_named(
    masks: Path, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    bounds = []

    def score(card, folder, dataset, bound, *more) -> TeacherScored:
        bounds.append(bound)
        cause = "The likely cause: intensity." if bound else ""
        return TeacherScored(dice={"organ": 0.5}, mean=0.5, cases=1, available=1, split="val",
                             cause=cause)  # fmt: skip

    monkeypatch.setattr("napari_graphflow.inference.teacher_check.score_saved", score)
    teacher = tmp_path / "teacher"
    assert run(masks, blobs, teacher) == 0
    assert code_of("models", "check", str(teacher), "--dataset", str(blobs)) == 0
    assert capsys.readouterr().err.count("The likely cause: intensity.") == 2
    command = ["models", "check", str(teacher), "--dataset", str(blobs)]
    assert code_of(*command, "--min-dice", "0") == 0
    assert bounds == [0.7, 0.7, 0]


def test_the_result_as_json_holds_the_scores_and_nothing_else(
    masks: Path, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--json", "--classes", "organ=liver", "lesion=cyst_left,cyst_right")
    assert run(masks, blobs, tmp_path / "teacher", *more) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == str(tmp_path / "teacher")
    assert found["mean"] == pytest.approx(1, abs=0.01)


def test_without_a_dataset_masks_are_refused(masks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"which are of the cases of a dataset.*--dataset"):
        import_teacher(masks, tmp_path / "teacher")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("missing", "contains no mask for 1 of 6 cases: blob_3"),
        ("grid", "blob_2: "),
        ("value", "The prediction of blob_1 holds the value 200, which has no name"),
        ("name", "The teacher has no class 'livr' for organ; similar ones are liver"),
        ("unnamed", "The teacher has no class 'organ'"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence_and_nothing_is_written(
    masks: Path, blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    damage: str, sentence: str,
) -> None:  # fmt: skip
    more = NAMED
    labels, image = truth(blobs, 1)
    if damage == "missing":
        (masks / "blob_3.nii.gz").unlink()
    elif damage == "grid":
        sitk.WriteImage(sitk.GetImageFromArray(labels[:, :, :-3]), str(masks / "blob_2.nii.gz"))
    elif damage == "value":
        write_mask(masks / "blob_1.nii.gz", np.where(labels == 1, 200, 0).astype(np.uint8), image)
    elif damage == "name":
        more = ("--classes", "organ=livr", "lesion=")
    else:
        more = ("--classes", "lesion=cyst_left")
    assert run(masks, blobs, tmp_path / "teacher", "--json", *more) == 2
    printed = capsys.readouterr()
    assert sentence in " ".join(printed.err.split())
    code = "unknown_class" if damage in ("name", "unnamed") else "user"
    assert json.loads(printed.out)["failure"]["code"] == code
    assert not (tmp_path / "teacher").exists()


def test_a_structure_that_one_case_lacks_is_refused(blobs: Path, tmp_path: Path) -> None:
    masks = write_many_names(blobs, tmp_path / "masks", per_structure=True)
    (masks / "blob_4" / "Liver.nii.gz").unlink()
    with pytest.raises(UserError, match="blob_4 have no mask of Liver, which others have"):
        import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))


def test_names_that_differ_in_upper_and_lower_case_are_the_same(
    masks: Path, blobs: Path, tmp_path: Path
) -> None:
    names = json.loads((masks / "dataset.json").read_text("utf-8"))["labels"]
    lower = {name.lower(): value for name, value in names.items()}
    (masks / "blob_1.labels.json").write_text(json.dumps(lower), "utf-8")
    teacher = import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))
    assert np.array_equal(read(teacher.folder, blobs, 1), truth(blobs, 1)[0])


def test_a_case_whose_names_lack_a_structure_is_refused(
    masks: Path, blobs: Path, tmp_path: Path
) -> None:
    names = {"organ": 5, "cyst_left": 77, "cyst_right": 78}
    (masks / "blob_3.labels.json").write_text(json.dumps(names), "utf-8")
    with pytest.raises(UserError, match="names of blob_3 lack Liver, which others have"):
        import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))


def test_a_structure_that_is_there_twice_or_a_mask_of_several_is_refused(
    blobs: Path, tmp_path: Path
) -> None:
    masks = write_many_names(blobs, tmp_path / "masks", per_structure=True)
    options = ImportOptions(dataset=blobs, classes=TABLE)
    labels, image = truth(blobs, 1)
    write_mask(masks / "blob_1" / "Liver.nii.gz", labels, image)
    with pytest.raises(UserError, match=r"blob_1: Liver\.nii\.gz holds the values 1 and 2"):
        import_teacher(masks, tmp_path / "t", options)
    write_mask(masks / "blob_2" / "Liver.nrrd", labels, image)
    with pytest.raises(UserError, match="blob_2 has Liver twice"):
        import_teacher(masks, tmp_path / "t", options)
    assert not (tmp_path / "t").exists()


def test_names_of_regions_are_those_that_are_painted(blobs: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for number in range(6):
        labels, image = truth(blobs, number)
        painted = np.array([0, 2, 1], np.uint8)[labels]
        write_mask(masks / f"blob_{number}.nii.gz", painted, image)
    labels_of = {"background": 0, "organ": [1, 2], "lesion": [1]}
    content = {"labels": labels_of, "regions_class_order": [2, 1]}
    (masks / "dataset.json").write_text(json.dumps(content), "utf-8")
    teacher = import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs))
    assert np.array_equal(read(teacher.folder, blobs, 1), truth(blobs, 1)[0])


def test_an_absurd_value_of_a_name_allocates_nothing(
    masks: Path, blobs: Path, tmp_path: Path
) -> None:
    content = json.loads((masks / "dataset.json").read_text("utf-8"))
    content["labels"]["absurd"] = 10**15
    (masks / "dataset.json").write_text(json.dumps(content), "utf-8")
    import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))


def test_answers_of_another_grid_or_changed_ones_are_refused(
    masks: Path, blobs: Path, tmp_path: Path
) -> None:
    teacher = import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))
    image = read_case(next(one for one in Dataset.open(blobs).cases if one.name == "blob_1"))
    shifted = replace(image, origin=(9.0, 9.0, 9.0))
    with pytest.raises(UserError, match="another grid than its image"):
        Answers.open(teacher.folder).read("blob_1", shifted, 3)
    with pytest.raises(UserError, match="lack 1 of 1 case: other"):
        Answers.open(teacher.folder).read("other", image, 3)
    path = teacher.folder / "predictions" / "blob_1.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"blob_1 .* is missing or was changed"):
        Answers.open(teacher.folder).read("blob_1", image, 3)


def test_predictions_segment_nothing(masks: Path, blobs: Path, tmp_path: Path) -> None:
    teacher = import_teacher(masks, tmp_path / "t", ImportOptions(dataset=blobs, classes=TABLE))
    with pytest.raises(UserError, match="is a folder of predictions, which has no network"):
        load_for_inference(teacher.folder)


def test_an_archive_of_a_stranger_is_not_allocated(blobs: Path, tmp_path: Path) -> None:
    masks = write_probabilities(blobs, tmp_path / "masks")
    header = json.dumps({"descr": "<f4", "fortran_order": False, "shape": [1 << 40]})
    with zipfile.ZipFile(masks / "blob_0.npz", "w") as archive:
        text = header.replace("false", "False").replace("[", "(").replace("]", ",)").encode()
        magic = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        archive.writestr("probabilities.npy", magic)
    with pytest.raises(UserError, match="holds probabilities of shape"):
        import_teacher(masks, tmp_path / "teacher", ImportOptions(dataset=blobs))
