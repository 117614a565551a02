"""Runs of the generalisable method: its stages, what they leave, pauses, refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_cases import assert_equal_weights, distillation, metrics, training

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import (
    ModelCard,
    OutputShapes,
    PairShapes,
    read_model_card,
)
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.generalisable.method import Generalisable
from napari_graphflow.distillation.method import build_method
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.inference.site_check import read_codes
from napari_graphflow.jobs.event_log import event_line
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.methods import load_method
from napari_graphflow.models.saved import build_network, load_model
from napari_graphflow.system.events import CodeGraphs, Event, Phase
from napari_graphflow.training.loop import distill, train

FLAT = {"dims": 2, "patch_size": (16, 16), "batch_size": 2, "steps": 2, "validate_every": 2}
SHORT = GeneralisableOptions(code_length=8, student_steps=2, autoencoder_steps=2, alignment_steps=2)
STAGES = [
    "the mask auto-encoder",
    "the codes of masks",
    "the student alone",
    "the alignment of the teacher",
    "the alignment of the student",
]
ROLES = ("teacher", "student")


@pytest.fixture(scope="module")
def flat_teacher(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    list(train(training(blobs, **(FLAT | {"steps": 1, "validate_every": 1})), folder))
    return JobPaths(folder).model


Config = Callable[..., DistillationConfig]


@pytest.fixture(scope="module")
def config(blobs: Path, flat_teacher: Path) -> Config:
    def made(**changes: Any) -> DistillationConfig:
        options = SHORT.model_copy(update=changes)
        return distillation(blobs, flat_teacher, method=options, **FLAT)

    return made


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(distill(config(), folder))


def trained(events: list[Event]) -> list[str]:
    names = [event.name for event in events if isinstance(event, Phase)]
    return [name.removeprefix("training ") for name in names if name.startswith("training the")]


def test_all_stages_are_trained_and_their_numbers_are_saved(
    whole: tuple[Path, list[Event]],
) -> None:
    folder, events = whole
    assert trained(events) == STAGES
    card = read_model_card(JobPaths(folder).model)
    assert card.provenance is not None
    expected = {"masks_dice", "teacher_bottleneck_reliance", "student_bottleneck_reliance"}
    for role in ("teacher", "student"):
        numbers = ("r2", "dice", "dice_through_header", "feature_error", "code_spread")
        expected |= {f"{role}_{name}" for name in numbers}
    assert card.provenance.measured.keys() == expected
    curves = metrics(events)
    assert {"loss/intra", "loss/inter", "loss/cross", "loss/augmented"} <= curves.keys()
    assert {f"gate/{name}" for name in expected} <= curves.keys()
    model = JobPaths(folder).model
    assert isinstance(load_method(load_model(model)), Generalisable)
    codes = read_codes(model)
    assert codes is not None
    assert codes.shape == (6, 64)  # images of the dataset, channels of ENet's deepest map


def test_the_graphs_of_both_networks_are_drawn_at_each_validation(
    whole: tuple[Path, list[Event]],
) -> None:
    (drawn,) = (event for event in whole[1] if isinstance(event, CodeGraphs))
    assert drawn.step == 2
    assert drawn.views == drawn.nodes == ("contrast", "blur", "noise", "uneven brightness")
    for graph in (drawn.teacher, drawn.student):
        matrix = np.array(graph.complete)
        assert np.array_equal(matrix, matrix.T)
        assert (np.diag(matrix) == 1).all()
    assert drawn.teacher != drawn.student
    assert len(event_line(drawn)) < 2000


def test_the_saved_student_has_the_weights_of_its_network_only(
    whole: tuple[Path, list[Event]], blobs: Path, tmp_path: Path
) -> None:
    list(train(training(blobs, **FLAT, network="enet", width=8, role="student"), tmp_path))
    alone, student = (
        load_file(JobPaths(folder).model / "weights.safetensors") for folder in (tmp_path, whole[0])
    )
    assert {k: v.shape for k, v in student.items()} == {k: v.shape for k, v in alone.items()}


def test_a_run_that_is_paused_in_every_stage_ends_with_the_same_weights(
    config: Config, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    seen: list[Event] = []
    pauses = 0
    while not any(event.event == "model" for event in seen):
        run, count, phase = distill(config(), tmp_path), 0, ""
        for event in run:
            seen.append(event)
            if isinstance(event, Phase):
                phase = event.kind
            count += phase == "preparing"
            if count == 14 + pauses % 3:  # more than any measurement, which is repeated
                run.close()
                pauses += 1
                break
        assert pauses < 30
    assert pauses >= 6
    assert set(trained(seen)) == set(STAGES)
    assert_equal_weights(tmp_path, whole[0])
    assert metrics(seen).keys() == metrics(whole[1]).keys()
    folders = [JobPaths(folder).model for folder in (tmp_path, whole[0])]
    one, other = (load_file(folder / "method.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_given_stages_and_a_given_student_are_not_trained_again(
    config: Config, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    before = JobPaths(whole[0]).model
    events = list(distill(config(stages=before, student=before), tmp_path))
    assert trained(events) == ["the alignment of the student"]
    one, other = (load_file(JobPaths(f).model / "method.safetensors") for f in (whole[0], tmp_path))
    kept = [name for name in one if name.startswith(("autoencoder", "teacher_alignment"))]
    assert kept
    assert all(torch.equal(one[name], other[name]) for name in kept)


def test_a_student_from_scratch_starts_the_last_stage_with_its_first_weights(
    config: Config, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    fresh = list(distill(config(student_init="scratch"), tmp_path))
    warm = metrics(whole[1])["loss/supervised"][0]
    first = metrics(fresh)["student/supervised"][0]
    assert metrics(fresh)["loss/supervised"][0] != warm
    # The first step of the last stage and of the student alone see the same patches and weights.
    assert metrics(fresh)["loss/supervised"][0] == pytest.approx(first, rel=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "faithful"},
        {"edge_loss": "mse", "inter_nodes": "batch", "detach_skips": True, "skip_drop": 0.5},
        {"teacher_tap": "decoder", "student_tap": "decoder_2"},
        {"autoencoder_input": "image"},
        {"autoencoder_input": "image", "preset": "faithful"},
    ],
    ids=["faithful", "ours", "decoder", "image", "faithful image"],
)
def test_every_choice_runs(config: Config, tmp_path: Path, changes: dict[str, Any]) -> None:
    events = list(distill(config(**changes), tmp_path))
    (drawn,) = (event for event in events if isinstance(event, CodeGraphs))
    # The validation has two patches.
    assert len(drawn.nodes) == (2 if changes.get("inter_nodes") == "batch" else 4)
    found = metrics(events)
    assert ("loss/augmented" in found) == (changes.get("preset") != "faithful")


def test_codes_are_read_from_the_chosen_taps(config: Config, tmp_path: Path) -> None:
    list(distill(config(teacher_tap="decoder", student_tap="decoder_2"), tmp_path))
    modules = load_file(JobPaths(tmp_path).model / "method.safetensors")
    found = {name: modules[f"{name}_alignment.perceptron.mix_in.weight"].shape[1] for name in ROLES}
    shapes = read_model_card(JobPaths(tmp_path).model).provenance
    assert shapes is not None and shapes.shapes is not None
    assert found == {
        "teacher": shapes.shapes.teacher.taps["decoder"][1],
        "student": shapes.shapes.student.taps["decoder_2"][1],
    }


def test_an_auto_encoder_of_images_is_measured_by_the_images_it_decodes(
    config: Config, tmp_path: Path
) -> None:
    events = list(distill(config(autoencoder_input="image"), tmp_path))
    assert trained(events)[:2] == ["the image auto-encoder", "the codes of images"]
    card = read_model_card(JobPaths(tmp_path).model)
    assert card.provenance is not None
    measured = card.provenance.measured
    assert measured["images_r2"] < 1 and "masks_dice" not in measured
    with pytest.raises(UserError, match="encodes the image, and this run's encodes the mask"):
        list(distill(config(stages=JobPaths(tmp_path).model), tmp_path / "other"))


def test_an_alignment_network_of_another_tap_is_trained_again(
    config: Config, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    before = JobPaths(whole[0]).model
    for number, changed in enumerate(({"teacher_tap": "encoder_3"}, {"view_kinds": "gin"})):
        run = distill(config(stages=before, student=before, **changed), tmp_path / str(number))
        assert trained(list(run)) == [
            "the alignment of the teacher",
            "the alignment of the student",
        ]


def test_volumes_are_distilled_too(blobs: Path, teacher: Path, tmp_path: Path) -> None:
    config = distillation(blobs, teacher, method=SHORT, steps=2, validate_every=2)
    assert "loss/cross" in metrics(list(distill(config, tmp_path)))


def test_masks_without_any_structure_are_refused(
    blobs: Path, flat_teacher: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(blobs, empty)
    for path in (empty / "labelsTr").iterdir():
        volume = read_volume(path)
        write_volume(path, volume.with_array(np.zeros(volume.shape, np.uint8)))
    run = distill(distillation(empty, flat_teacher, method=SHORT, **FLAT), tmp_path / "run")
    with pytest.raises(UserError, match="No mask of the training cases shows a structure"):
        list(run)


def test_a_student_of_another_network_and_foreign_stages_are_refused(
    config: Config, flat_teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is another network than enet"):
        list(distill(config(student=flat_teacher), tmp_path / "one"))
    with pytest.raises(UserError, match="was not distilled with this method"):
        list(distill(config(stages=flat_teacher), tmp_path / "two"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"orientation": "RAS"}, "orientation"),
        ({"axes": ("z", "x", "y")}, "axes"),
        ({}, "classes"),
        ({"patch_size": (32, 8)}, "patch_size"),
    ],
)
def test_stages_of_other_grids_classes_or_patches_are_refused(
    config: Config,
    whole: tuple[Path, list[Event]],
    tmp_path: Path,
    changed: dict[str, Any],
    said: str,
) -> None:
    # Their weights have the same shapes.
    stages = tmp_path / "stages"
    shutil.copytree(JobPaths(whole[0]).model, stages)
    card = read_model_card(stages)
    if said == "classes":
        changed = {"classes": {f"other {name}": index for name, index in card.classes.items()}}
    elif said in ("orientation", "axes"):
        changed = {"preprocessing": card.preprocessing.model_copy(update=changed)}
    (stages / "model.json").write_text(card.model_copy(update=changed).model_dump_json())
    with pytest.raises(UserError, match=f"and this run differ in {said}."):
        list(distill(config(stages=stages), tmp_path / "one"))
    if said != "patch_size":
        with pytest.raises(UserError, match=f"and this run differ in {said}."):
            list(distill(config(student=stages), tmp_path / "two"))


def test_a_network_without_a_bottleneck_tap_is_refused(config: Config) -> None:
    bare = OutputShapes(logits=(1, 2, 16, 16), taps={})
    with pytest.raises(UserError, match="The student has no tap bottleneck"):
        build_method(config(), PairShapes(student=bare, teacher=bare))


def test_a_tap_that_a_network_lacks_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The teacher has no tap neck"):
        list(distill(config(teacher_tap="neck"), tmp_path))


def test_a_graph_of_a_batch_with_too_few_patches_is_refused(
    blobs: Path, flat_teacher: Path, tmp_path: Path
) -> None:
    options = SHORT.model_copy(update={"inter_nodes": "batch"})
    flat = FLAT | {"batch_size": 1}
    run = distill(distillation(blobs, flat_teacher, method=options, **flat), tmp_path)
    with pytest.raises(UserError, match="needs at least 3 of them, and the batch has 2"):
        list(run)


@pytest.mark.slow
def test_with_all_weights_0_the_last_stage_is_supervised_training_bit_for_bit(
    blobs: Path, flat_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run starts from the same student, by a method whose only term has weight 0."""
    flat = FLAT | {"network": "enet", "width": 8, "steps": 3, "validate_every": 3}
    list(train(training(blobs, **flat, role="student"), tmp_path / "start"))
    start = JobPaths(tmp_path / "start").model
    options = SHORT.model_copy(
        update={
            "student": start,
            "intra_weight": 0.0,
            "inter_weight": 0.0,
            "cross_weight": 0.0,
            "view_share": 0.0,
        }
    )
    list(distill(distillation(blobs, flat_teacher, method=options, **flat), tmp_path / "ours"))

    def started(card: ModelCard) -> torch.nn.Module:
        network = build_network(card)
        network.load_state_dict(load_file(start / "weights.safetensors"))
        return network

    monkeypatch.setattr("napari_graphflow.training.loop.build_network", started)
    plain = distillation(blobs, flat_teacher, method=LogitsOptions(weight=0), **flat)
    list(distill(plain, tmp_path / "plain"))
    assert_equal_weights(tmp_path / "ours", tmp_path / "plain")
