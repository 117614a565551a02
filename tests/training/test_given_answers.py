"""A teacher without a network: its answers are cut and moved exactly like the student's patches."""

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from prediction_cases import truth, write_many_names, write_probabilities
from training_cases import assert_equal_weights, distillation, metrics, training

from napari_graphflow.config.methods import (
    ChannelWiseOptions,
    DistOptions,
    EMKDOptions,
    LogitsOptions,
)
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.config.student_alone import student_alone
from napari_graphflow.dataset.answers import Answers
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.models.given import load_teacher
from napari_graphflow.models.importing import ImportOptions, import_teacher
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import ModelSaved, Progress, TeacherScored
from napari_graphflow.training.batches import Batches, load_case, on_the_grid
from napari_graphflow.training.loop import distill
from napari_graphflow.training.whole_cases import CaseAnswers

TABLE = {"organ": ["liver"], "lesion": ["cyst_left", "cyst_right"]}


@pytest.fixture(scope="module")
def given(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hard answers, of classes with other names."""
    folder = tmp_path_factory.mktemp("given")
    masks = write_many_names(blobs, folder / "masks")
    options = ImportOptions(dataset=blobs, classes=TABLE)
    return import_teacher(masks, folder / "teacher", options).folder


@pytest.fixture(scope="module")
def soft(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soft")
    masks = write_probabilities(blobs, folder / "masks")
    return import_teacher(masks, folder / "teacher", ImportOptions(dataset=blobs)).folder


def config(blobs: Path, teacher: Path, **changes: object) -> DistillationConfig:
    settings = {"method": LogitsOptions(), "preprocessing": Preprocessing(intensity="none")}
    return distillation(blobs, teacher, **(settings | changes))


def batches(
    blobs: Path, teacher: Path | None, tmp_path: Path, size: tuple[int, ...], **how
) -> Batches:
    dataset, answers = Dataset.open(blobs), teacher and Answers.open(teacher)
    steps = Preprocessing(intensity="none", spacing=(2.0, 1.5, 1.0))
    read = [
        load_case(dataset, case, steps, tmp_path / str(bool(teacher)), labelled=bool(case.label),
                  given=answers)
        for case in dataset.cases if case.split == "train"
    ]  # fmt: skip
    labelled = [one for one in read if one.labels is not None]
    rest = [one for one in read if one.labels is None]
    return Batches(labelled, rest, size, 2, 0, **({"strength": "none", "classes": 3} | how))


@pytest.mark.parametrize("size", [(16, 16, 16), (12, 24)])
def test_answers_are_cut_where_the_image_is(blobs, given, tmp_path, size) -> None:
    make = batches(blobs, given, tmp_path, size, cutmix=1.0)
    for step in range(4):
        batch = make(step)
        expected = (batch.images[:, 0] / 100).round().clamp(0, 2)
        assert torch.equal(batch.answers.argmax(1), expected.long())
        assert torch.equal(batch.answers.sum(1), torch.ones_like(expected))


@pytest.mark.parametrize("how", [{"strength": "strong", "mirror": [0, 2]}, {"scanner": "bigaug"}])
def test_answers_are_moved_like_the_labels_and_change_no_other_patch(
    blobs, given, tmp_path, how
) -> None:
    size = (16, 16, 16)
    make, plain = (batches(blobs, one, tmp_path, size, **how) for one in (given, None))
    same = 0
    for step in range(3):
        batch, without = make(step), plain(step)
        assert torch.equal(batch.images, without.images)
        assert torch.equal(batch.labels, without.labels)
        assert without.answers is None
        answers = batch.answers[: len(batch.labels)]
        inside = batch.labels != 255
        same += float((answers.argmax(1) == batch.labels)[inside].float().mean()) / 3
        assert torch.allclose(answers.sum(1), torch.ones_like(answers[:, 0]), atol=1e-4)
    assert same > 0.93  # the rest are edges, which the labels round and the answers interpolate


@pytest.mark.parametrize("kind", ["given", "soft"])
def test_answers_on_the_grid_of_the_student_are_those_of_a_loop(blobs, kind, request) -> None:
    teacher = request.getfixturevalue(kind)
    case = next(one for one in Dataset.open(blobs).cases if one.name == "blob_3")
    image, steps = read_case(case), Preprocessing(intensity="none", orientation="RAS")
    found = on_the_grid(
        Answers.open(teacher).read("blob_3", image, 3), prepare(image, steps), steps
    )
    labels, _ = truth(blobs, 3)
    # Stored R, P, I (x reversed, z reversed in LPS): RAS reverses y and z of the stored array.
    expected = np.empty_like(labels)
    for z, y, x in np.ndindex(labels.shape):
        expected[z, y, x] = labels[labels.shape[0] - 1 - z, labels.shape[1] - 1 - y, x]
    indices = found if found.ndim == 3 else found.argmax(0)
    assert np.array_equal(indices, expected)
    half = Preprocessing(intensity="none", orientation="RAS", spacing=(4.0, 3.0, 2.0))
    small = on_the_grid(Answers.open(teacher).read("blob_3", image, 3), prepare(image, half), half)
    assert small.shape[-3:] == (10, 10, 10)
    if small.ndim == 4:  # the mean of two voxels along each axis
        cubes = found.astype(np.float32).reshape(3, 10, 2, 10, 2, 10, 2)
        assert np.allclose(small, cubes.mean((2, 4, 6)), atol=2e-3)


@pytest.mark.parametrize(
    ("method", "dims"), [(LogitsOptions(), 3), (DistOptions(), 2), (ChannelWiseOptions(), 3)]
)
def test_the_methods_of_class_probabilities_teach(blobs, given, tmp_path, method, dims) -> None:
    short = {"steps": 2, "validate_every": 2, "dims": dims, "patch_size": (16,) * dims}
    events = list(distill(config(blobs, given, method=method, **short), tmp_path))
    assert isinstance(events[-1], ModelSaved)
    made = read_model_card(JobPaths(tmp_path).model).provenance
    assert made.teacher.sha256 == weights_hash(given)
    assert made.shapes.teacher.taps == {}


@pytest.mark.parametrize("answers", [pytest.param("soft", marks=pytest.mark.slow), "hard"])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(blobs, soft, tmp_path, answers) -> None:
    short = {"steps": 4, "validate_every": 4}
    run = config(blobs, soft, answers=answers, cutmix=0.5, mirror=("x",), **short)
    events = list(distill(run, tmp_path / "whole"))
    assert "loss/logits" in metrics(events)
    assert ("loss/pseudo_labels" in metrics(events)) == (answers == "hard")
    with closing(distill(run, tmp_path / "paused")) as paused:
        for event in paused:
            if isinstance(event, Progress) and event.total == 4 and event.step == 2:
                break
    list(distill(run, tmp_path / "paused"))
    assert_equal_weights(tmp_path / "whole", tmp_path / "paused")


def test_the_teacher_is_scored_and_in_the_manifest(blobs, given, tmp_path) -> None:
    short = {"steps": 1, "teacher_min_dice": 0.4}
    run = config(blobs, given, **short)
    events = list(distill(run, tmp_path))
    (scored,) = [event for event in events if isinstance(event, TeacherScored)]
    assert scored.mean > 0.9
    assert "teacher/predictions.json" in JobPaths(tmp_path).manifest.read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": EMKDOptions()}, "EMKD needs feature maps, and this teacher has class"),
        ({"method": ChannelWiseOptions(tap="lo")}, "the tap lo needs feature maps"),
    ],
)
def test_methods_that_compare_feature_maps_are_refused_before_the_start(
    blobs, given, changes, reason
) -> None:
    with pytest.raises(UserError, match=reason):
        check_run(config(blobs, given, **changes))
    check_run(config(blobs, given))


def test_a_case_without_an_answer_is_refused_before_the_start(blobs, given, tmp_path) -> None:
    shutil.copytree(given, tmp_path / "teacher")
    listed = tmp_path / "teacher" / "predictions.json"
    listed.write_text(listed.read_text("utf-8").replace("blob_2", "blob_9"), "utf-8")
    with pytest.raises(UserError, match="lack 1 of 5 cases: blob_2"):
        check_run(config(blobs, tmp_path / "teacher"))
    check_run(config(blobs, tmp_path / "teacher", unlabelled=False))


def test_the_student_alone_has_the_same_preprocessing(blobs, given, tmp_path) -> None:
    run = config(blobs, given)
    alone = student_alone(run, read_model_card(given))
    assert alone.preprocessing == run.preprocessing
    assert alone.patch_size == training(blobs).patch_size


def loop_answer(teacher: Path, blobs: Path, number: int) -> torch.Tensor:
    """Return the probabilities of the teacher in the stored grid, in a loop of our own."""
    image = read_case(next(c for c in Dataset.open(blobs).cases if c.name == f"blob_{number}"))
    model = load_model(teacher)
    array = prepare(image, model.card.preprocessing).array
    with torch.no_grad():
        found = model.module(torch.from_numpy(array)[None]).logits.softmax(1)[0]
    return found.flip(1, 3)  # from L, P, S to the stored R, P, I


def test_a_3d_teacher_answers_for_whole_cases_as_a_loop_does(blobs, teacher, tmp_path) -> None:
    answers = CaseAnswers(in_torch(load_teacher(teacher)), tmp_path)
    image = read_case(next(c for c in Dataset.open(blobs).cases if c.name == "blob_3"))
    first = answers.read("blob_3", image, 3)
    assert np.allclose(first, loop_answer(teacher, blobs, 3), atol=2e-3)
    assert np.array_equal(answers.read("blob_3", image, 3), first)


OTHER_GRIDS = [
    {"dims": 2, "patch_size": (16, 16)},
    {"preprocessing": Preprocessing(spacing=(3.0, 3.0, 3.0), orientation="RAS")},
]


@pytest.mark.parametrize("changes", OTHER_GRIDS)
def test_a_student_of_another_grid_is_taught(blobs, teacher, tmp_path, changes) -> None:
    short = {"steps": 2, "validate_every": 2, "method": LogitsOptions()}
    run = distillation(blobs, teacher, **(short | changes))
    check_run(run)
    assert isinstance(list(distill(run, tmp_path))[-1], ModelSaved)
    assert len(list((tmp_path / "answers" / "predictions").glob("*.npz"))) == 5
    card = read_model_card(JobPaths(tmp_path).model)
    assert card.dims == run.dims
    assert run.preprocessing in (None, card.preprocessing)
    with pytest.raises(UserError, match="so that it answers for whole cases, without the feature"):
        check_run(distillation(blobs, teacher, **changes))
