"""The job of a round with real, tiny trainings."""

import json
import multiprocessing
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from labelling_cases import contents
from misfortunes import live
from training_cases import distillation, training, weights

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.labelling.rounds import Round, default_round, get_round, list_rounds, undo
from napari_graphflow.labelling.rounds import start as start_round
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import Event, Metric, ModelSaved, Phase
from napari_graphflow.training import loop, process, stages
from napari_graphflow.training.batches import Batches
from napari_graphflow.training.loop import distill

#: What a round may change in a dataset before its verdict.
ASIDE = ("rounds", "versions", "locks", "log.jsonl")


@pytest.fixture
def labelling(blobs: Path, tmp_path: Path) -> Labelling:
    return Labelling(Path(shutil.copytree(blobs, tmp_path / "blobs")), "Ada")


def begin(labelling: Labelling, steps: int = 4, **options: Any) -> tuple[Round, Job]:
    folder = labelling.dataset.folder
    student = distillation(folder, Path("teacher"), steps=steps, validate_every=2, name="mine")
    teacher = training(folder, steps=steps, validate_every=2, name="large")
    return start_round(labelling, student, teacher=teacher, **options)


def run(job: Job) -> int:
    return process.run(job.folder, process._events(job))


def events_of(job: Job) -> list[Event]:
    return job.events()[0]


def test_a_round_trains_teacher_student_and_student_alone_and_judges_them(
    labelling: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Any]] = []

    class Noted(Batches):
        """Notes the labelled patches of each training in the order of the steps."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            drawn.append([])

        def __call__(self, step: int, **options: Any) -> Any:
            batch = super().__call__(step, **options)
            drawn[-1].append((batch.images[: len(batch.labels)], batch.labels))
            return batch

    monkeypatch.setattr(loop, "Batches", Noted)
    before = contents(labelling.dataset.folder, *ASIDE)
    record, job = begin(labelling)
    assert run(job) == 0 and job.status().state == "done"
    done = get_round(labelling, record.number)
    assert done.state == "done" and done.verdict is not None and done.verdict.accepted
    assert Path(done.model) == job.model
    teacher, alone = JobPaths(job.teacher).model, JobPaths(job.alone).model
    assert Path(done.teacher) == teacher
    for one in (done.scores, done.alone_scores, done.teacher_scores):
        assert list(one) == ["blob_5"] and set(one["blob_5"]) == {"organ", "lesion"}
    assert "the same student without a teacher has" in done.verdict.sentence
    assert contents(labelling.dataset.folder, *ASIDE) == before
    # The control differs in nothing but the teacher.
    cards = [load_model(path).card for path in (job.model, alone)]
    runs = [card.provenance.run for card in cards if card.provenance]
    same = set(TrainingConfig.model_fields) - {"name", "preprocessing", "patch_size"}
    assert all(getattr(runs[0], name) == getattr(runs[1], name) for name in same)
    assert cards[0].preprocessing == cards[1].preprocessing
    assert cards[0].patch_size == cards[1].patch_size
    assert cards[0].provenance.teacher.name == "large" and cards[1].provenance.teacher is None
    _, student, single = drawn
    student = student[-len(single) :]  # before them, the method has trained its own modules
    assert len(single) == 4
    for one, same in zip(student, single, strict=True):
        assert all(left.equal(right) for left, right in zip(one, same, strict=True))
    # Only the student's curves and model are those of the job.
    found = events_of(job)
    assert [one.path for one in found if isinstance(one, ModelSaved)] == ["artifacts/model"]
    names = {one.name for one in found if isinstance(one, Metric)}
    assert {"dice", "teacher/dice", "alone/dice"} <= names
    phases = [one.name for one in found if isinstance(one, Phase)]
    assert "teacher (1 of 3): training" in phases and "student alone (3 of 3): training" in phases
    assert set(job.models()) == {job.model, teacher, alone, JobPaths(job.first).model}
    assert JobPaths(job.folder).foreign_files() == []
    undo(labelling, record.number)
    assert default_round(list_rounds(labelling)) is None
    assert contents(labelling.dataset.folder, *ASIDE) == before


@pytest.mark.parametrize(
    "stage",
    [
        "student (2 of 3): training",
        pytest.param("teacher (1 of 3): training", marks=pytest.mark.slow),
        pytest.param("scoring the models on the frozen cases", marks=pytest.mark.slow),
    ],
)
def test_a_round_that_is_cancelled_in_the_middle_leaves_everything_and_can_be_resumed(
    labelling: Labelling, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = labelling.dataset.folder
    before = contents(folder, *ASIDE)
    record, job = begin(labelling)
    trained: list[Path] = []
    for name in ("train", "distill"):
        real = getattr(stages, name)

        def noted(config: Any, where: Path, real: Any = real) -> Any:
            trained.append(where)
            return real(config, where)

        monkeypatch.setattr(stages, name, noted)

    def cancelled() -> Any:
        for event in (events := process._events(job)):
            yield event
            if isinstance(event, Phase) and event.name == stage:
                job.request("cancel")
                while "cancel" in job.requests():
                    yield next(events)

    process.run(job.folder, cancelled())
    assert job.status().state == "cancelled"
    assert get_round(labelling, record.number).state == "started"
    assert default_round(list_rounds(labelling)) is None
    assert contents(folder, *ASIDE) == before
    done = len(trained)
    assert run(job) == 0
    assert get_round(labelling, record.number).state == "done"
    # A stage that was interrupted is continued, one that was done is not begun again.
    left = {"teacher (1 of 3): training": 3, "student (2 of 3): training": 2}.get(stage, 0)
    assert len(trained) == done + left


def test_a_poor_teacher_fails_the_round_and_changes_nothing(labelling: Labelling) -> None:
    folder = labelling.dataset.folder
    before = contents(folder, *ASIDE)
    student = distillation(folder, Path("teacher"), steps=2, teacher_min_dice=1.0)
    record, job = start_round(labelling, student, teacher=training(folder, steps=2))
    assert run(job) == 2
    status = job.status()
    assert status.state == "failed" and "teacher" in str(status.failure).lower()
    assert get_round(labelling, record.number).verdict is None
    assert contents(folder, *ASIDE) == before


def test_the_verdict_of_a_round_that_was_undone_meanwhile_is_not_written(
    labelling: Labelling,
) -> None:
    record, job = begin(labelling, alone=False)
    undo(labelling, record.number)
    assert run(job) == 2
    assert "Round 1 is undone" in str(job.status().failure)
    assert get_round(labelling, record.number).state == "undone"


def test_a_network_trained_on_masks_alone_has_no_control(labelling: Labelling) -> None:
    config = training(labelling.dataset.folder, steps=2)
    record, job = start_round(labelling, config)
    assert run(job) == 0
    done = get_round(labelling, record.number)
    assert done.verdict is not None and done.verdict.alone is None and not done.teacher
    assert not job.alone.exists() and json.loads(job.frozen_scores.read_text("utf-8"))


def test_a_teacher_of_other_dimensions_is_refused_before_a_round_exists(
    labelling: Labelling,
) -> None:
    folder = labelling.dataset.folder
    student = distillation(folder, Path("teacher"))
    flat = training(folder, dims=2, patch_size=(16, 16))
    with pytest.raises(UserError, match="teacher would be 2D, but the student 3D"):
        start_round(labelling, student, teacher=flat)
    assert list_rounds(labelling) == []


@pytest.mark.slow
def test_a_student_of_a_round_equals_one_distilled_by_hand(
    labelling: Labelling, teacher: Path, tmp_path: Path
) -> None:
    config = distillation(labelling.dataset.folder, teacher, steps=2)
    record, job = start_round(labelling, config, alone=False)
    run(job)
    assert Path(get_round(labelling, record.number).teacher) == teacher
    list(distill(config, tmp_path / "by hand"))
    one, other = weights(job.folder), weights(tmp_path / "by hand")
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_round_that_is_killed_ten_times_ends_with_the_same_models_and_verdict(
    labelling: Labelling, blobs: Path, tmp_path: Path
) -> None:
    other = Labelling(Path(shutil.copytree(blobs, tmp_path / "again" / "blobs")), "Ada")
    record, undisturbed = begin(other)
    assert run(undisturbed) == 0
    expected = get_round(other, record.number)
    before = contents(labelling.dataset.folder, *ASIDE)
    _, job = begin(labelling)
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(["napari_graphflow.training.rounds"])
    chance, died = random.Random(5), 0
    for _ in range(10):
        death = ("event", chance.randrange(1, 45))
        process_ = forkserver.Process(target=live, args=(job.folder, death, None))
        process_.start()
        process_.join()
        died += process_.exitcode == -9
        assert contents(labelling.dataset.folder, *ASIDE) == before
        assert get_round(labelling, 1).state == (
            "done" if job.status().state == "done" else "started"
        )
        if job.status().state == "done":
            break
    else:
        assert run(job) == 0
    assert died > 4
    found = get_round(labelling, 1)
    assert found.verdict == expected.verdict and found.weights == expected.weights
    trained = ([one for one in of.models() if one.is_dir()] for of in (job, undisturbed))
    for one, same in zip(*trained, strict=True):
        assert (one / "weights.safetensors").read_bytes() == (
            same / "weights.safetensors"
        ).read_bytes()
