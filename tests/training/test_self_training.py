"""Self-training: a fresh network learns from masks and from the answers of a first one."""

import json
import shutil
from pathlib import Path

import pytest
from training_cases import assert_equal_weights, distillation, training, weights

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import SECOND_NETWORK, Measurements, estimate
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create
from napari_graphflow.training import process
from napari_graphflow.training.loop import distill, train


def easy(dataset: Path, **changes: object) -> TrainingConfig:
    """Enough steps that the first network may teach."""
    short = {"steps": 60, "validate_every": 30, "learning_rate": 1e-2, "augmentation": "none"}
    return training(dataset, **(short | {"labelled": 1} | changes))


def test_a_poor_first_network_does_not_teach(blobs: Path) -> None:
    job = create("train", training(blobs, labelled=1, self_training="hard"))
    assert process.main(job.folder) == 2
    assert "is too poor to teach: mean Dice" in job.status().failure.text
    assert not job.model.exists()
    assert (JobPaths(job.first).model / "model.json").is_file()


def test_self_training_without_unlabelled_cases_is_refused(blobs: Path, tmp_path: Path) -> None:
    whole = tmp_path / "blobs"
    shutil.copytree(blobs, whole)
    for number in (2, 3, 4):  # those without a mask
        (whole / "imagesTr" / f"blob_{number}_0000.nii.gz").unlink()
    splits = {"train": ["blob_0", "blob_1"], "val": ["blob_5"], "test": ["blob_6", "blob_7"]}
    (whole / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(UserError, match="needs cases without a mask, but blobs has none"):
        check_run(training(whole, self_training="soft"))
    check_run(training(whole, self_training="soft", labelled=1))
    check_run(training(blobs, self_training="soft"))


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["soft", "hard"])
def test_the_second_network_equals_one_distilled_by_hand(
    blobs: Path, tmp_path: Path, answers: str
) -> None:
    job = create("train", easy(blobs, self_training=answers))
    assert process.main(job.folder) == 0, job.log.read_text()
    first, second = tmp_path / "first", tmp_path / "second"
    list(train(easy(blobs), first))
    assert_equal_weights(first, job.first)
    by_hand = DistillationConfig(
        **easy(blobs).model_dump(exclude={"role", "self_training"}),
        teacher=JobPaths(first).model, method=LogitsOptions(), answers=answers, role="teacher",
    )  # fmt: skip
    list(distill(by_hand, second))
    assert_equal_weights(second, job.folder)
    assert read_model_card(job.model).role == "teacher"
    assert weights(first).keys() == weights(job.folder).keys()


def test_the_estimate_counts_every_network(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Measurements(
        patch_size=(16,) * 3, peak_bytes=1, reading_s=0, preparing_s=0, step_s=1, validating_s=0
    )
    measured: list[str] = []

    def measure(kind: str, *arguments: object) -> Measurements:
        measured.append(kind)
        return found

    monkeypatch.setattr("napari_graphflow.jobs.estimate._measure", measure)
    once = training(blobs, labelled=1, steps=100)
    assert estimate("train", once).seconds == 100
    twice = once.model_copy(update={"self_training": "soft"})
    assert estimate("train", twice).seconds == pytest.approx(100 * (1 + SECOND_NETWORK))
    teacher = tmp_path / "teacher"
    list(train(training(blobs), teacher))
    measured.clear()
    student = distillation(blobs, JobPaths(teacher).model, steps=100)
    assert estimate("distill", student).seconds == 100
    both = student.model_copy(update={"also_alone": True})
    assert estimate("distill", both).seconds == 200
    assert measured == ["distill", "distill", "train"]
