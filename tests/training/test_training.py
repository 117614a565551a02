"""Training and distillation, run for real on small volumes."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from training_cases import assert_equal_weights, distillation, metrics, training

from napari_graphflow.config.methods import (
    AdversarialOptions,
    AttentionOptions,
    EMKDOptions,
    GraphFlowOptions,
    LogitsOptions,
)
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import CheckpointSaved, Event, Metric, Phase, Progress
from napari_graphflow.system.failures import explain
from napari_graphflow.training import batches
from napari_graphflow.training.loop import distill, train
from napari_graphflow.training.planning import (
    choose_labelled,
    choose_patch_size,
    choose_preprocessing,
)
from napari_graphflow.training.step import supervised_loss


def test_training_learns_and_leaves_a_model_that_says_where_it_is_from(blobs, tmp_path):
    events = list(
        train(training(blobs, steps=50, validate_every=25, width=8, learning_rate=3e-3), tmp_path)
    )
    scores = metrics(events)
    assert np.mean(scores["loss/total"][-10:]) < 0.8 * np.mean(scores["loss/total"][:10])
    assert max(scores["dice"]) > 0.2
    model = load_model(JobPaths(tmp_path).model)
    assert model.card.role == "teacher"
    assert model.card.classes == {"background": 0, "organ": 1, "lesion": 2}
    assert model.card.provenance.labelled_cases == 2
    assert model.card.provenance.best_validation_dice == max(scores["dice"])
    assert not JobPaths(tmp_path).cache.exists()


def test_the_same_seed_gives_the_same_model_and_another_seed_another(blobs, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        list(train(training(blobs, seed=seed), tmp_path / name))
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "c")


def told(events: list[Event]) -> dict[tuple, float | None]:
    """What was told last about each step, as the curves show it."""
    return {(e.name, e.split, e.step): e.value for e in events if isinstance(e, Metric)}


# Where a run is paused: the n-th event of a kind or name, counted over the whole run.
PAUSES = {
    "in the midst of the paraphrasers": ("progress", 17),
    "before the losses of the paraphrasers are told": ("paraphraser/encoder", 3),
    "while what they learnt is measured": ("paraphraser/r2_decoder", 1),
    "once the method is prepared": ("phase", 4),
    "after a step": ("progress", 22),
    "before all losses of a step are told": ("loss/logits", 3),
    "between two validation cases": ("alive", 1),
    "before the score of a validation counts": ("dice", 1),
    "after a checkpoint": ("checkpoint", 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(blobs: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run that nobody disturbs, and its events."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(distill(distillation(blobs, teacher), folder))


@pytest.mark.parametrize("where", PAUSES)
def test_a_paused_distillation_goes_on_bit_for_bit(blobs, teacher, whole, tmp_path, where):
    pause_and_resume(distillation(blobs, teacher), PAUSES[where], whole, tmp_path)


@pytest.mark.parametrize(
    "choice",
    [
        {"method": LogitsOptions()},
        {"method": EMKDOptions()},
        {"method": AttentionOptions()},
        # Everything that a run may carry: a discriminator, and adapters for unequal taps.
        {
            "network": "trans_unet", "width": 8,
            "method": GraphFlowOptions(
                paraphraser_steps=4, adversarial=AdversarialOptions(weight=0.1)
            ),
        },
    ],
    ids=["logits", "emkd", "attention", "adversarial"],
)  # fmt: skip
def test_so_does_one_by_any_other_method(blobs, teacher, tmp_path, choice):
    config = distillation(blobs, teacher, **choice)
    whole = tmp_path / "whole", list(distill(config, tmp_path / "whole"))
    pause_and_resume(config, ("loss/supervised", 3), whole, tmp_path / "halves")


def pause_and_resume(
    config: DistillationConfig, pause: tuple[str, int], whole: tuple[Path, list], folder: Path
) -> None:
    kind, count = pause
    run: Iterator[Event] = distill(config, folder)
    before = []
    for event in run:
        before.append(event)
        count -= kind in (event.event, getattr(event, "name", ""))
        if not count:
            break
    assert not count, "there are fewer such events"
    assert JobPaths(folder).cache.exists()
    run.close()
    assert not JobPaths(folder).cache.exists()
    after = list(distill(config, folder))
    assert_equal_weights(whole[0], folder)
    assert told(before + after) == told(whole[1])
    repeated = told(before).keys() & told(after).keys()
    assert all(told(before)[key] == told(after)[key] for key in repeated)


def test_a_preparation_goes_on_where_it_was_and_hears_the_request(
    blobs, teacher, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_graphflow.training.checkpoints.LOOK", 0)
    config = distillation(blobs, teacher)
    request = JobPaths(tmp_path).request_file("checkpoint_now")
    request.parent.mkdir()
    run = distill(config, tmp_path)
    assert Progress(step=2, total=4) in run  # read up to there
    request.touch()
    assert isinstance(next(run), CheckpointSaved)
    assert not request.exists()
    run.close()
    paraphrasing = Phase(name="training the paraphrasers", steps=4)
    after = distill(config, tmp_path)
    assert paraphrasing in after
    assert next(after) == Progress(step=2, total=4)
    after.close()


def test_so_does_one_in_mixed_precision(blobs, tmp_path):
    flat = {"dims": 2, "patch_size": (16, 16), "steps": 2, "validate_every": 2}
    list(train(training(blobs, **flat), tmp_path / "teacher"))
    teacher = JobPaths(tmp_path / "teacher").model
    config = distillation(blobs, teacher, precision="bf16-mixed", **flat)
    whole = tmp_path / "whole", list(distill(config, tmp_path / "whole"))
    pause_and_resume(config, ("paraphraser/encoder", 3), whole, tmp_path / "halves")


def test_masks_of_cases_that_count_as_unlabelled_are_never_read(blobs, tmp_path, monkeypatch):
    read: list[str] = []
    plain = batches.read_case_labels

    def noted(dataset: Dataset, case: Case, volume: Volume) -> Volume:
        read.append(case.name)
        return plain(dataset, case, volume)

    monkeypatch.setattr(batches, "read_case_labels", noted)
    config = training(blobs, labelled=1, steps=1, validate_every=1)
    list(train(config, tmp_path))
    cases = json.loads((tmp_path / "cases.json").read_text())
    assert len(cases["labelled"]) == 1
    assert sorted(read) == sorted(cases["labelled"] + cases["validation"])
    drawn = {tuple(c) for seed in range(20) for c in [choose_labelled(["a", "b", "c"], 2, seed)]}  # type: ignore[list-item]
    assert len(drawn) == 3
    with pytest.raises(UserError, match="only 3 have a mask"):
        choose_labelled(["a", "b", "c"], 4, 0)  # type: ignore[list-item]


def test_a_2d_network_learns_from_slices_of_volumes(blobs, tmp_path):
    short = {"dims": 2, "patch_size": (16, 16), "steps": 2, "validate_every": 2, "batch_size": 2}
    list(train(training(blobs, precision="bf16-mixed", **short), tmp_path))
    assert load_model(JobPaths(tmp_path).model).card.dims == 2


def test_pictures_train_a_network_that_segments_pictures(tmp_path):
    pictures = sample_dataset("cell_pictures")
    config = training(pictures, dims=2, patch_size=(32, 32), steps=2, validate_every=2)
    list(train(config, tmp_path))
    model = load_model(JobPaths(tmp_path).model)
    dataset = Dataset.open(pictures)
    image = read_case(dataset.labelled("test")[0])
    assert model.card.preprocessing.intensity == "range"
    assert segment(model, image).labels.shape == image.shape


def test_networks_that_do_not_fit_are_refused_before_any_data_is_read(blobs, teacher, tmp_path):
    with pytest.raises(UserError, match=r"The student has no tap decoder.*another student"):
        next(distill(distillation(blobs, teacher, network="resnet18"), tmp_path))
    # Without weights there are no graphs, and nothing lacks.
    off = GraphFlowOptions(vertex_weight=0, edge_weight=0)
    config = distillation(blobs, teacher, network="resnet18", method=off)
    events = list(distill(config.model_copy(update={"steps": 1}), tmp_path / "off"))
    assert not any("paraphras" in getattr(event, "name", "") for event in events)
    assert "loss/vertices" not in metrics(events)
    renamed = copytree(blobs, tmp_path / "renamed")
    description = json.loads((renamed / "dataset.json").read_text())
    description["labels"] = {"background": 0, "liver": 1, "lesion": 2}
    (renamed / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"has the classes .*organ.* has .*liver"):
        next(distill(distillation(renamed, teacher), tmp_path / "classes"))


def test_what_does_not_fit_is_said_in_a_sentence(blobs, teacher, tmp_path):
    with pytest.raises(UserError, match=r"teacher .* is 3D, but the student is to be 2D"):
        list(distill(distillation(blobs, teacher, dims=2, patch_size=(16, 16)), tmp_path))
    with pytest.raises(ValueError, match="1e-5 and 1e-9 as published"):
        GraphFlowOptions(reduction="paper_sum")
    with pytest.raises(ValueError, match="set normalise to teacher"):
        GraphFlowOptions(reduction="paper_sum", vertex_weight=1e-5, edge_weight=1e-9)
    for patch in ((4,), (), (3, 3, 3, 3)):
        with pytest.raises(ValueError, match="write one odd number"):
            GraphFlowOptions(patch=patch)
    with pytest.raises(ValueError, match="2 numbers but dims is 3"):
        distillation(blobs, teacher, method=GraphFlowOptions(patch=(3, 3)))
    with pytest.raises(ValueError, match="'graph_flow', 'emkd', 'logits', 'attention'"):
        distillation(blobs, teacher, method={"name": "magic"})
    with pytest.raises(UserError, match="bf16-mixed, 3D networks cannot be trained"):
        list(train(training(blobs, precision="bf16-mixed"), tmp_path / "bf16"))
    with pytest.raises(UserError, match="16-mixed a network can be trained on a GPU only"):
        list(train(training(blobs, precision="16-mixed"), tmp_path / "fp16"))
    empty = tmp_path / "none"
    for name in ("imagesTr", "labelsTr"):
        (empty / name).mkdir(parents=True)
    description = json.loads((blobs / "dataset.json").read_text())
    (empty / "dataset.json").write_text(json.dumps(description | {"numTraining": 0}))
    image = blobs / "imagesTr" / "blob_2_0000.nii.gz"
    (empty / "imagesTr" / image.name).write_bytes(image.read_bytes())
    with pytest.raises(UserError, match="no labelled training case"):
        list(train(training(empty), tmp_path / "run"))


def test_a_loss_that_is_no_number_ends_the_run(blobs, tmp_path):
    # AdamW's decay then multiplies every weight by -99 at each step.
    broken = training(blobs, learning_rate=10.0, weight_decay=10.0, steps=60, network="enet")
    with pytest.raises(FloatingPointError, match="at step"):
        list(train(broken.model_copy(update={"width": 8}), tmp_path))
    assert not JobPaths(tmp_path).cache.exists()


def test_a_disk_that_fills_while_the_data_are_read_is_left_as_it_was(blobs, tmp_path, monkeypatch):
    save, saved = np.save, []

    def fill(path: Path, array: np.ndarray) -> None:
        saved.append(path)
        save(path, array[: len(array) // len(saved)])
        if len(saved) == 3:
            raise OSError(f"{array.size} requested and {array.size // 3} written")

    monkeypatch.setattr("napari_graphflow.training.batches.np.save", fill)
    with pytest.raises(OSError, match="requested") as caught:
        list(train(training(blobs), tmp_path))
    assert explain(caught.value).code == "disk_full"
    assert not JobPaths(tmp_path).cache.exists()


def test_ignored_voxels_do_not_count():
    logits = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 4, 4))
    labels[:, :2] = IGNORE
    loss = supervised_loss(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, :, :2] == 0).all()
    assert gradient[:, :, 2:].abs().sum() > 0
    same = supervised_loss(logits[:, :, 2:], labels[:, 2:])
    torch.testing.assert_close(loss, same)
    assert torch.isfinite(supervised_loss(logits, torch.full_like(labels, IGNORE)))


def test_choices_from_the_data():
    ct = {"ndim": 3, "modality": "CT", "median_spacing": [5, 0.8, 0.8]}
    even = {"spacing_min": [5, 0.8, 0.8], "spacing_max": [5, 0.8, 0.8]}
    assert choose_preprocessing(ct | even).spacing is None
    mixed = choose_preprocessing(ct | {"spacing_min": [1, 0.5, 0.5], "spacing_max": [5, 1, 1]})
    assert mixed.spacing == (5, 0.8, 0.8)
    assert mixed.intensity == "ct_window"
    assert choose_patch_size([(35, 50, 35)] * 3, 3) == (32, 48, 32)
    assert choose_patch_size([(9, 300, 512)], 3) == (16, 96, 96)
    assert choose_patch_size([(40, 130, 300)], 2) == (128, 256)
