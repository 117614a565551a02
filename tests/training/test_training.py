"""Training and distillation on small volumes."""

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
    ChannelWiseOptions,
    DistOptions,
    EMKDOptions,
    GraphFlowOptions,
    LogitsOptions,
)
from napari_graphflow.config.model_card import Purpose, read_model_card
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
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


def test_training_reduces_the_loss_and_saves_a_model_with_its_provenance(blobs, tmp_path):
    events = list(
        train(training(blobs, steps=50, validate_every=25, width=8, learning_rate=3e-3), tmp_path)
    )
    scores = metrics(events)
    assert np.mean(scores["loss/total"][-10:]) < 0.8 * np.mean(scores["loss/total"][:10])
    assert max(scores["dice"]) > 0.2
    model = load_model(JobPaths(tmp_path).model)
    assert model.card.role == "teacher"
    assert model.card.classes == {"background": 0, "organ": 1, "lesion": 2}
    assert model.card.purpose == Purpose(modality="MR", spacing=(2.0, 1.5, 1.0), source="blobs")
    assert model.card.provenance.labelled_cases == 2
    assert model.card.provenance.best_validation_dice == max(scores["dice"])
    assert not JobPaths(tmp_path).cache.exists()


@pytest.mark.parametrize(
    ("network", "role", "words"),
    [
        ("unet", None, "teacher"),
        ("enet", None, "student, trained alone"),
        ("enet", "teacher", "teacher"),
        ("unet", "student", "student, trained alone"),
    ],
)
def test_the_role_is_that_of_the_network_unless_another_is_chosen(
    blobs, tmp_path, network, role, words
):
    list(train(training(blobs, network=network, role=role, width=8, steps=1), tmp_path))
    assert read_model_card(JobPaths(tmp_path).model).role_text == words


def test_equal_seeds_give_equal_models_and_other_seeds_do_not(blobs, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        list(train(training(blobs, seed=seed), tmp_path / name))
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "c")


def reported(events: list[Event]) -> dict[tuple, float | None]:
    """Return the last value of each metric at each step, as the curves show it."""
    return {(e.name, e.split, e.step): e.value for e in events if isinstance(e, Metric)}


# Where a run is paused: the n-th event of a kind or name, counted over the whole run.
PAUSES = {
    "during the paraphrasers": ("progress", 17),
    "before the losses of the paraphrasers are reported": ("paraphraser/encoder", 3),
    "while the paraphrasers are evaluated": ("paraphraser/r2_decoder", 1),
    "after the method setup": ("phase", 4),
    "after a step": ("progress", 22),
    "before all losses of a step are reported": ("loss/logits", 3),
    "between two validation cases": ("alive", 1),
    "before a validation score is used": ("dice", 1),
    "after a checkpoint": ("checkpoint", 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(blobs: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory):
    """An uninterrupted run, and its events."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(distill(distillation(blobs, teacher), folder))


#: The others are paused in `make test-slow`.
SHORT = ("during the paraphrasers", "after a step")


@pytest.mark.parametrize(
    "where",
    [pytest.param(one, marks=() if one in SHORT else pytest.mark.slow) for one in PAUSES],
)
def test_a_paused_graph_flow_run_resumes_bit_for_bit(blobs, teacher, whole, tmp_path, where):
    pause_and_resume(distillation(blobs, teacher), PAUSES[where], whole, tmp_path)


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({"method": LogitsOptions()}, marks=pytest.mark.slow),
        {"method": EMKDOptions()},
        pytest.param({"method": DistOptions()}, marks=pytest.mark.slow),
        # With an adapter for the tap.
        {"method": ChannelWiseOptions(tap="hi")},
        pytest.param({"method": AttentionOptions()}, marks=pytest.mark.slow),
        # Every setting of unlabelled patches and of the last steps; 2 of 6 without the teacher.
        {
            "method": LogitsOptions(), "labelled": 1, "augmentation": "strong", "ema_decay": 0.9,
            "cutmix": 0.5, "answers": "hard", "confidence": 0.6, "labels_only": 0.3,
        },
        # The average of a network with batch normalisation.
        {"network": "raunet", "method": LogitsOptions(), "ema_decay": 0.9, "augmentation": "light"},
        # With a discriminator, and adapters for taps of different shapes.
        pytest.param(
            {
                "network": "trans_unet", "width": 8,
                "method": GraphFlowOptions(
                    paraphraser_steps=4, adversarial=AdversarialOptions(weight=0.1)
                ),
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        "logits", "emkd", "dist", "channel_wise", "attention", "settings", "average", "adversarial",
    ],
)  # fmt: skip
def test_a_paused_run_of_any_method_resumes_bit_for_bit(blobs, teacher, tmp_path, choice):
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
    assert reported(before + after) == reported(whole[1])
    repeated = reported(before).keys() & reported(after).keys()
    assert all(reported(before)[key] == reported(after)[key] for key in repeated)


def test_paraphraser_training_resumes_where_it_paused_and_obeys_requests(
    blobs, teacher, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_graphflow.training.checkpoints.POLL_INTERVAL", 0)
    config = distillation(blobs, teacher)
    request = JobPaths(tmp_path).request_file("checkpoint_now")
    request.parent.mkdir()
    run = distill(config, tmp_path)
    assert Progress(step=2, total=4) in run  # consume events up to here
    request.touch()
    assert isinstance(next(run), CheckpointSaved)
    assert not request.exists()
    run.close()
    paraphrasing = Phase(kind="preparing", name="compressing the teacher's features", steps=4)
    after = distill(config, tmp_path)
    assert paraphrasing in after
    assert next(after) == Progress(step=2, total=4)
    after.close()


@pytest.mark.slow
def test_a_paused_run_in_mixed_precision_resumes_bit_for_bit(blobs, tmp_path):
    flat = {"dims": 2, "patch_size": (16, 16), "steps": 2, "validate_every": 2}
    list(train(training(blobs, **flat), tmp_path / "teacher"))
    teacher = JobPaths(tmp_path / "teacher").model
    config = distillation(blobs, teacher, precision="bf16-mixed", **flat)
    whole = tmp_path / "whole", list(distill(config, tmp_path / "whole"))
    pause_and_resume(config, ("paraphraser/encoder", 3), whole, tmp_path / "halves")


def test_masks_of_unlabelled_cases_are_never_read(blobs, tmp_path, monkeypatch):
    read: list[str] = []
    plain = batches.read_case_labels

    def recording_read(dataset: Dataset, case: Case, volume: Volume) -> Volume:
        read.append(case.name)
        return plain(dataset, case, volume)

    monkeypatch.setattr(batches, "read_case_labels", recording_read)
    config = training(blobs, labelled=1, steps=1, validate_every=1)
    list(train(config, tmp_path))
    cases = json.loads((tmp_path / "cases.json").read_text())
    assert len(cases["labelled"]) == 1
    assert sorted(read) == sorted(cases["labelled"] + cases["validation"])
    drawn = {tuple(c) for seed in range(20) for c in [choose_labelled(["a", "b", "c"], 2, seed)]}  # type: ignore[list-item]
    assert len(drawn) == 3
    with pytest.raises(UserError, match="only 3 have a mask"):
        choose_labelled(["a", "b", "c"], 4, 0)  # type: ignore[list-item]


def test_a_2d_network_is_trained_on_slices_of_volumes(blobs, tmp_path):
    short = {"dims": 2, "patch_size": (16, 16), "steps": 2, "validate_every": 2, "batch_size": 2}
    list(train(training(blobs, precision="bf16-mixed", **short), tmp_path))
    assert load_model(JobPaths(tmp_path).model).card.dims == 2


def test_a_network_is_trained_on_2d_images_and_segments_them(tmp_path):
    cells = sample_dataset("cell_pictures")
    config = training(cells, dims=2, patch_size=(32, 32), steps=2, validate_every=2)
    list(train(config, tmp_path))
    model = load_model(JobPaths(tmp_path).model)
    dataset = Dataset.open(cells)
    image = read_case(dataset.labelled("test")[0])
    assert model.card.preprocessing.intensity == "range"
    assert segment(in_torch(model), image).labels.shape == image.shape


def test_incompatible_networks_are_refused_before_any_data_is_read(blobs, teacher, tmp_path):
    with pytest.raises(UserError, match=r"The student has no tap decoder.*another student"):
        next(distill(distillation(blobs, teacher, network="resnet18"), tmp_path))
    # With both weights at 0, no taps are needed.
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


def test_invalid_settings_are_refused_with_a_clear_error(blobs, teacher, tmp_path):
    with pytest.raises(UserError, match=r"The teacher has no tap"):
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
    with pytest.raises(ValueError, match="'graph_flow', 'emkd', 'logits', 'dist', 'channel_wise'"):
        distillation(blobs, teacher, method={"name": "magic"})
    with pytest.raises(UserError, match="bf16-mixed is not supported for 3D networks on the CPU"):
        list(train(training(blobs, precision="bf16-mixed"), tmp_path / "bf16"))
    with pytest.raises(UserError, match="16-mixed requires a GPU"):
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


def test_an_infinite_loss_ends_the_run(blobs, tmp_path):
    # The decay of AdamW then multiplies all weights by -99 at each step.
    broken = training(blobs, learning_rate=10.0, weight_decay=10.0, steps=60, network="enet")
    with pytest.raises(FloatingPointError, match="at step"):
        list(train(broken.model_copy(update={"width": 8}), tmp_path))
    assert not JobPaths(tmp_path).cache.exists()


def test_the_cache_is_removed_if_the_disk_fills_while_data_are_read(blobs, tmp_path, monkeypatch):
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


def test_unannotated_voxels_do_not_contribute_to_the_loss():
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


def test_preprocessing_and_patch_size_are_chosen_from_the_data():
    ct = {"ndim": 3, "modality": "CT", "median_spacing": [5, 0.8, 0.8]}
    even = {"spacing_min": [5, 0.8, 0.8], "spacing_max": [5, 0.8, 0.8]}
    assert choose_preprocessing(ct | even).spacing is None
    mixed = choose_preprocessing(ct | {"spacing_min": [1, 0.5, 0.5], "spacing_max": [5, 1, 1]})
    assert mixed.spacing == (5, 0.8, 0.8)
    assert mixed.intensity == "ct_window"
    assert choose_patch_size([(35, 50, 35)] * 3, 3) == (32, 48, 32)
    assert choose_patch_size([(9, 300, 512)], 3) == (16, 96, 96)
    assert choose_patch_size([(40, 130, 300)], 2) == (128, 256)
