"""The split of a dataset: given, by a fold of nnU-Net, or drawn by patient."""

import json

import pytest
from import_cases import names, texts
from nnunet_cases import nnunet, write_unlabelled

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.names import patients
from napari_graphflow.errors import UserError

FOLDS = [
    {"train": ["case_01", "case_02", "case_03"], "val": ["case_00"]},
    {"train": ["case_00", "case_02", "case_03"], "val": ["case_01.nii.gz"]},
]


@pytest.fixture
def folded(tmp_path):
    folder = nnunet(tmp_path / "data")
    (folder / "splits_final.json").write_text(json.dumps(FOLDS))
    return folder


@pytest.mark.parametrize("fold", [0, 1])
def test_a_fold_of_nnunet_is_used_and_said(folded, fold):
    write_unlabelled(folded / "imagesTr", "new_0000.nii.gz")
    dataset = Dataset.of_run(TrainingConfig(dataset=folded, fold=fold))
    assert names(dataset.labelled("val")) == [f"case_0{fold}"]
    assert names(dataset.labelled("train")) == FOLDS[fold]["train"]
    assert names(dataset.unlabelled("train")) == ["new"]
    said = texts(dataset.findings)
    assert said[0] == f"The split is fold {fold} of 2 in splits_final.json."
    assert "1 labelled case in no list" in said[1] and "case_04" in said[1]


def test_our_splits_are_preferred_to_the_folds(folded):
    (folded / "splits.json").write_text(json.dumps({"val": ["case_03"]}))
    dataset = Dataset.open(folded)
    assert names(dataset.labelled("val")) == ["case_03"]
    assert texts(dataset.findings) == ["splits_final.json is not used, because of splits.json."]
    with pytest.raises(UserError, match="has one split and no folds"):
        Dataset.open(folded, fold=1)


def test_a_fold_that_does_not_exist_is_refused(folded):
    with pytest.raises(UserError, match=r"has 2 folds \(from 0\), and no fold 2"):
        Dataset.open(folded, fold=2)
    (folded / "splits_final.json").unlink()
    with pytest.raises(UserError, match=r"has no splits_final\.json"):
        Dataset.open(folded, fold=2)


def test_a_fold_with_unknown_cases_is_refused(folded):
    (folded / "splits_final.json").write_text('[{"train": ["case_00"], "val": ["case_7"]}]')
    with pytest.raises(UserError, match="1 case that the dataset does not have, such as case_7"):
        Dataset.open(folded)


def test_without_splits_some_cases_are_drawn_for_validation(tmp_path):
    dataset = Dataset.open(nnunet(tmp_path))
    drawn = names(dataset.labelled("val"))
    assert len(drawn) == 2 and len(dataset.labelled("train")) == 3
    (said,) = texts(dataset.findings)
    assert "of 5 labelled cases, 2 were drawn by patient for validation" in said
    assert ", ".join(drawn) in said
    assert Dataset.open(tmp_path).cases == dataset.cases


def test_all_scans_of_a_patient_are_drawn_together(tmp_path):
    scans = [f"P{patient}_{scan}" for patient in range(4) for scan in ("baseline", "followup")]
    folder = nnunet(tmp_path, names=scans)
    for patient in range(4):
        write_unlabelled(folder / "imagesTr", f"P{patient}_month6_0000.nii.gz")
    dataset = Dataset.open(folder)
    drawn = {name.split("_")[0] for name in names(dataset.labelled("val"))}
    assert len(drawn) == 2
    train = [case.name for case in dataset.cases if case.split == "train"]
    assert not drawn & {name.split("_")[0] for name in train}
    assert len(train) == 6


def test_the_check_finds_a_patient_in_two_splits(tmp_path):
    scans = ["P1_baseline", "P1_followup", "P2", "P3", "P4"]
    folder = nnunet(tmp_path, names=scans)
    (folder / "splits.json").write_text(json.dumps({"val": ["P1_followup", "P2"]}))
    (said,) = (text for text in texts(check(Dataset.open(folder))) if "patient" in text)
    assert said.startswith("1 patient seems to be in several splits")
    assert "P1 (P1_baseline and P1_followup)" in said


def test_a_single_patient_is_not_divided(tmp_path):
    dataset = Dataset.open(nnunet(tmp_path, names=["P1_visit1", "P1_visit2"]))
    assert dataset.labelled("val") == []


@pytest.mark.parametrize(
    ("cases", "found"),
    [
        (("sub-01_ses-1", "sub-01_ses-2"), ("sub-01", "sub-01")),
        (("P1", "P1_followup", "P1-visit2"), ("P1", "P1", "P1")),
        (("Meier_baseline", "Meier_month6"), ("Meier", "Meier")),
        (("P1_t1", "P1_t2", "P2_z012"), ("P1", "P1", "P2")),
        (("P1_1", "P1_2", "P2_1"), ("P1", "P1", "P2")),
        (("case_1", "case_2"), ("case_1", "case_2")),
        (("img_z001", "img_z002"), ("img_z001", "img_z002")),
        (("BraTS2021_001", "BraTS2021_002"), ("BraTS2021_001", "BraTS2021_002")),
        (("_t1", "19990101"), ("_t1", "19990101")),
    ],
)
def test_the_patient_is_derived_from_the_name(cases, found):
    assert tuple(patients(cases)[name] for name in cases) == found
