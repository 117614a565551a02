"""A teacher is scored before it teaches, once, and refused if it is poor."""

import json
import shutil
from pathlib import Path

import pytest
from prediction_cases import write_many_names
from training_cases import distillation

import napari_graphflow as gf
from napari_graphflow.cli import main
from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.teachers import MOST_CASES, cases_to_score, refuse_poor
from napari_graphflow.inference.evaluate import evaluate_split
from napari_graphflow.inference.likely_cause import likely_cause
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel
from napari_graphflow.jobs.estimate import estimate
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create
from napari_graphflow.system.events import ModelSaved, TeacherScored, Warned
from napari_graphflow.training import process
from napari_graphflow.training.loop import distill


def config(blobs: Path, teacher: Path, **changes: object) -> DistillationConfig:
    short = {"method": LogitsOptions(), "steps": 2, "validate_every": 2, "teacher_min_dice": 0.1}
    return distillation(blobs, teacher, **(short | changes))


def turned(teacher: Path, folder: Path, **changes: object) -> Path:
    """Return a copy of a teacher with other preprocessing on its card."""
    shutil.copytree(teacher, folder)
    card = json.loads((folder / "model.json").read_text("utf-8"))
    card["preprocessing"] |= changes
    (folder / "model.json").write_text(json.dumps(card), "utf-8")
    return folder


def cause(model: LoadedModel, dataset: Dataset) -> str:
    steps = likely_cause(model.card, model, dataset)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def scores(events) -> list[TeacherScored]:
    return [event for event in events if isinstance(event, TeacherScored)]


def test_the_teacher_is_scored_before_it_teaches_as_by_evaluate(blobs, teacher, tmp_path) -> None:
    events = list(distill(config(blobs, teacher), tmp_path))
    (found,) = scores(events)
    summary = evaluate_split(blobs, "val", model=teacher, device="cpu")["summary"]
    for name in ("organ", "lesion"):
        expected = summary[name]["dice_score"]["mean"]
        assert found.dice[name] == pytest.approx(expected, abs=1e-6)
    assert found.mean == pytest.approx(summary["mean"]["dice_score"]["mean"], abs=1e-6)
    assert (found.cases, found.available, found.split) == (1, 1, "val")
    assert isinstance(events[-1], ModelSaved)


def test_a_teacher_with_a_wrong_card_is_refused_with_a_hint(blobs, teacher, tmp_path) -> None:
    wrong = turned(teacher, tmp_path / "wrong", intensity="mean_std", mean=[-5000], std=[1000])
    job = create("distill", config(blobs, wrong, teacher_min_dice=0.4))
    assert process.main(job.folder) == 2
    status = job.status()
    assert status.state == "failed"
    assert "is too poor to teach: mean Dice" in status.failure.text
    assert "on 1 validation case" in status.failure.text
    assert "The likely cause: with intensity zscore instead" in status.failure.text
    assert "orientation, axes, intensity and classes" in status.failure.remedy
    assert status.run.teacher.mean < 0.4
    assert not job.last_checkpoint.exists()
    # Resuming must not get around the check.
    assert process.main(job.folder) == 2


def test_the_bound_can_be_lowered_and_0_turns_the_check_off(blobs, teacher, tmp_path) -> None:
    wrong = turned(teacher, tmp_path / "wrong", intensity="mean_std", mean=[-5000], std=[1000])
    off = list(distill(config(blobs, wrong, teacher_min_dice=0), tmp_path / "off"))
    assert scores(off) == []
    assert isinstance(off[-1], ModelSaved)


def test_a_resumed_run_uses_the_scores_of_its_first_start(
    blobs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = distill(config(blobs, teacher), tmp_path)
    first = next(event for event in events if isinstance(event, TeacherScored))
    events.close()
    assert JobPaths(tmp_path).teacher_scores.is_file()
    monkeypatch.setattr(
        "napari_graphflow.training.teacher.score_with_cause", lambda *_: pytest.fail("scored again")
    )
    (again,) = scores(distill(config(blobs, teacher), tmp_path))
    assert again.dice == first.dice


def test_a_teacher_that_needs_too_much_memory_is_reported_and_teaches(
    blobs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(*_: object):
        raise MemoryError
        yield

    monkeypatch.setattr("napari_graphflow.training.teacher.score_with_cause", score)
    events = list(distill(config(blobs, teacher), tmp_path))
    assert any(isinstance(one, Warned) and "was not checked" in one.text for one in events)
    assert isinstance(events[-1], ModelSaved)


def test_at_most_ten_cases_are_scored_and_training_cases_without_validation_cases(
    blobs: Path, tmp_path: Path
) -> None:
    dataset = Dataset.open(blobs)
    many = [case for case in dataset.cases if case.split == "val"] * 25
    train = [case for case in dataset.cases if case.split == "train"]
    with_many = dataset.__class__(**(vars(dataset) | {"cases": (*train, *many)}))
    cases, numbers = cases_to_score(with_many)
    assert (len(cases), numbers.cases, numbers.available) == (MOST_CASES, MOST_CASES, 25)
    without = dataset.__class__(**(vars(dataset) | {"cases": tuple(train)}))
    assert cases_to_score(without)[1].split == "train"
    text = str(numbers.model_copy(update={"mean": 0.5, "dice": {"organ": 0.5, "lesion": None}}))
    assert text == ("Teacher: mean Dice 0.50 on 10 of 25 validation cases (organ 0.50, lesion -).")


def test_the_scores_of_the_teacher_are_shown_by_jobs_show(
    blobs: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job: Job = create("distill", config(blobs, teacher))
    assert process.main(job.folder) == 0
    with pytest.raises(SystemExit) as ended:
        main(["jobs", "show", str(job.folder)])
    assert ended.value.code == 0
    assert "Teacher: mean Dice" in capsys.readouterr().out


def test_models_check_gives_the_same_scores_and_exit_code_1_for_a_poor_model(
    blobs: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (expected,) = scores(distill(config(blobs, teacher), tmp_path / "job"))
    arguments = ["models", "check", str(teacher), "--dataset", str(blobs), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--min-dice", "0.1", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["dice"] == expected.dice
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--min-dice", "1"])
    assert ended.value.code == 1
    assert "too poor to teach" in capsys.readouterr().err


def test_a_teacher_that_cannot_fit_is_refused_before_a_job_exists(blobs, teacher) -> None:
    flat = distillation(blobs, teacher, dims=2, patch_size=(16, 16))  # by Graph Flow
    other = config(blobs, teacher, network="enett")
    for wrong, words in ((flat, "is 3D, and the student is 2D"), (other, "enett")):
        for refuse in (check_run, lambda run: estimate("distill", run)):
            with pytest.raises(UserError, match=words):
                refuse(wrong)


def test_a_teacher_of_other_channels_or_classes_is_refused_before_a_job_exists(
    blobs: Path, teacher: Path, tmp_path: Path
) -> None:
    for change, words in (
        ({"in_channels": 2}, "it needs 2 channels, and blobs has 1"),
        ({"classes": {"background": 0, "spleen": 1}}, "it has the classes background, spleen"),
    ):
        folder = tmp_path / words[:5] / next(iter(change))
        shutil.copytree(teacher, folder)
        card = json.loads((folder / "model.json").read_text("utf-8")) | change
        card["largest_part"] = []  # of its own classes
        (folder / "model.json").write_text(json.dumps(card), "utf-8")
        with pytest.raises(UserError, match=words):
            check_run(config(blobs, folder))


def test_a_teacher_that_misses_a_class_of_several_cases_is_refused_by_its_name() -> None:
    found = TeacherScored(
        dice={"liver": 0.9, "kidney": 0.0, "lesion": 0.01},
        mean=0.3,
        cases=3,
        available=3,
        present={"liver": 3, "kidney": 3, "lesion": 1},
    )
    with pytest.raises(UserError, match=r"not these \(mean Dice\): kidney 0.00\.") as caught:
        refuse_poor("teacher", found, 0.1)
    assert "another order" in caught.value.remedy and caught.value.code == "poor_model"
    refuse_poor("teacher", found, 0)
    weak = found.model_copy(update={"dice": {"liver": 0.3, "kidney": 0.0}})
    refuse_poor("teacher", weak, 0.1)


def test_the_likely_cause_of_a_poor_score_is_named_with_its_numbers(
    blobs: Path, teacher: Path, tmp_path: Path
) -> None:
    dataset = Dataset.open(blobs)
    wrong = turned(teacher, tmp_path / "wrong", intensity="mean_std", mean=[-5000], std=[1000])
    found = cause(load_for_inference(wrong, "cpu"), dataset)
    assert "with intensity zscore instead of mean_std its mean Dice on blob_5 is 0." in found
    assert cause(load_for_inference(teacher, "cpu"), dataset) == ""


def test_classes_in_another_order_are_named_as_the_likely_cause(
    blobs: Path, tmp_path: Path
) -> None:
    masks = write_many_names(blobs, tmp_path / "masks")
    table = {"organ": ["cyst_left", "cyst_right"], "lesion": ["liver"]}
    given = gf.ImportOptions(dataset=blobs, classes=table)
    with pytest.raises(UserError, match="with its organ as lesion, its lesion as organ its mean "):
        gf.import_teacher(masks, tmp_path / "teacher", given)
    assert not (tmp_path / "teacher").exists()
    kept = gf.import_teacher(masks, tmp_path / "teacher", given, min_dice=0)
    job = create("distill", config(blobs, kept.folder))
    assert process.main(job.folder) == 2
    assert "with its organ as lesion, its lesion as organ" in job.status().failure.text
