"""EMKD in a training run: terms that need labels, options, patches without regions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import metrics, shapes

from napari_graphflow.config.methods import EMKDOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.distillation.emkd.method import TAPS
from napari_graphflow.distillation.method import build_method
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import build_network, load_model, save_model
from napari_graphflow.networks import build
from napari_graphflow.networks.taps import Output
from napari_graphflow.training.batches import Batch, Batches
from napari_graphflow.training.loop import distill, train
from napari_graphflow.training.step import supervised_loss

PATCH = (16, 16, 16)
SHORT = {
    "network": "enet", "width": 8, "steps": 2, "validate_every": 2, "patch_size": PATCH,
    "threads": 1, "device": "cpu", "batch_size": 1,
}  # fmt: skip
CARD = ModelCard(
    name="untrained", role="teacher", network="unet", dims=3, in_channels=1, width=4,
    classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=PATCH,
    preprocessing=Preprocessing(),
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "model"
    torch.manual_seed(0)
    save_model(folder, CARD, build_network(CARD))
    return folder


def emkd(dataset: Path, teacher: Path, **changes: object) -> DistillationConfig:
    settings = SHORT | {"method": EMKDOptions(), "teacher_min_dice": 0} | changes
    return DistillationConfig(dataset=dataset, teacher=teacher, **settings)


def same_weights(one: Path, other: Path) -> bool:
    first, second = (
        load_model(JobPaths(folder).model).module.state_dict() for folder in (one, other)
    )
    return all(torch.equal(first[name], second[name]) for name in first)


def test_emkd_uses_every_term_and_labels_for_region_affinity_only(
    blobs, teacher, tmp_path, monkeypatch
):
    """Without labels the region affinity loss is 0; the other two terms are not."""
    terms = ("prediction_maps", "importance_maps", "region_affinity")
    config = emkd(blobs, teacher)
    scores = metrics(list(distill(config, tmp_path / "labelled")))
    for term in ("supervised", *terms):
        assert all(value > 0 for value in scores[f"loss/{term}"]), term
        assert scores[f"gradient/{term}"][0] > 0, term
    total = np.sum([scores[f"loss/{term}"] for term in ("supervised", *terms)], 0)
    np.testing.assert_allclose(scores["loss/total"], total, rtol=1e-5)

    plain = Batches.__call__

    def unannotated(batches: Batches, step: int, **options: bool) -> Batch:
        batch = plain(batches, step, **options)
        return Batch(batch.images, torch.full_like(batch.labels, IGNORE), batch.inside)

    monkeypatch.setattr(Batches, "__call__", unannotated)
    scores = metrics(list(distill(config, tmp_path / "none")))
    assert scores["loss/region_affinity"] == [0, 0]
    assert min(scores["loss/prediction_maps"] + scores["loss/importance_maps"]) > 0


def test_emkd_with_zero_weights_equals_plain_training(blobs, teacher, tmp_path):
    def run(name: str, **options: object) -> Path:
        weights = {f"{term}_weight": 0 for term in ("prediction", "importance", "affinity")}
        chosen = EMKDOptions(**(weights | options))
        list(distill(emkd(blobs, teacher, method=chosen, unlabelled=False), tmp_path / name))
        return tmp_path / name

    off = run("off")
    plain = TrainingConfig(dataset=blobs, preprocessing=CARD.preprocessing, **SHORT)
    list(train(plain, tmp_path / "plain"))
    assert same_weights(off, tmp_path / "plain")
    for option, value in (("affinity_weight", 0.9), ("preset", "official")):
        assert not same_weights(off, run(option, **{option: value}))


@pytest.mark.parametrize("size", [(48, 64), (16, 24, 32)], ids=["2d", "3d"])
def test_emkd_presets_agree_where_the_published_code_is_sound(size):
    """Two regions in every image, aligned to cells, and taps of equal size."""
    dims = len(size)
    labels = torch.zeros(2, *size, dtype=torch.int64)
    labels[0, ..., 8:24, 16:24], labels[1, ..., 16:, :8] = 1, 1
    torch.manual_seed(0)
    student, teacher = (build(name, 1, 2, dims, 8).eval() for name in ("enet", "raunet"))
    images = torch.rand(2, 1, *size)
    with torch.no_grad():
        outputs = student(images), teacher(images)
        found = []
        for preset in ("robust", "official"):
            options = EMKDOptions(preset=preset)
            config = DistillationConfig(dataset=Path(), teacher=Path(), method=options, dims=dims)
            method = build_method(config, shapes(*outputs))
            terms = method.terms(*outputs, torch.ones(2, *size))
            found.append(terms | method.labelled_terms(*outputs, labels))
    assert found[0].keys() == method.weights.keys()
    for name, value in found[0].items():
        assert value.item() == pytest.approx(found[1][name].item(), abs=1e-6), name
        assert value > 0


@pytest.mark.parametrize(("preset", "included"), [("robust", False), ("official", True)])
def test_robust_preset_excludes_ignored_pixels_from_prediction_maps(preset, included):
    options = EMKDOptions(preset=preset, importance_weight=0, affinity_weight=0)
    config = DistillationConfig(dataset=Path(), teacher=Path(), method=options, dims=2)
    torch.manual_seed(0)
    student, teacher, other = torch.randn(3, 2, 3, 8, 8)
    weight = torch.ones(2, 8, 8)
    weight[0, :4] = 0
    other = torch.where(weight[:, None] > 0, teacher, other)
    taps = dict.fromkeys(TAPS, student)
    method = build_method(config, shapes(Output(student, taps), Output(teacher, taps)))
    first, second = (
        method.terms(Output(student, {}), Output(logits, {}), weight)["prediction_maps"]
        for logits in (teacher, other)
    )
    assert (first != second) == included


@pytest.mark.parametrize("preset", ["robust", "official"])
def test_emkd_terms_are_finite_for_patches_with_one_region_or_none(preset):
    config = DistillationConfig(
        dataset=Path(), teacher=Path(), method=EMKDOptions(preset=preset), dims=2
    )
    torch.manual_seed(0)
    student, teacher = build("enet", 1, 3, 2, 8), build("unet", 1, 3, 2, 4).eval()
    images = torch.rand(2, 1, 37, 50)
    with torch.no_grad():
        teacher_output = teacher(images)
    for label in (0, 1, IGNORE):
        labels = torch.full((2, 37, 50), label)
        output = student(images)
        method = build_method(config, shapes(output, teacher_output))
        found = method.terms(output, teacher_output, torch.ones(2, 37, 50))
        found |= method.labelled_terms(output, teacher_output, labels)
        assert found["region_affinity"] == 0
        supervised = method.supervised_loss or supervised_loss
        student.zero_grad()
        (torch.stack(list(found.values())).sum() + supervised(output.logits, labels)).backward()
        gradients = [p.grad for p in student.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_networks_without_the_taps_of_a_method_are_refused(blobs, teacher):
    config = emkd(blobs, teacher)
    whole = build("unet", 1, 3, 2, 4)(torch.rand(1, 1, 32, 32))
    bare = Output(whole.logits, {})
    for role, pair in (("student", (bare, whole)), ("teacher", (whole, bare))):
        with pytest.raises(UserError, match=f"The {role} has no tap hi"):
            build_method(config, shapes(*pair))
