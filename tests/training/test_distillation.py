"""Distillation on small volumes: what each method changes, and what it leaves unchanged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet
from safetensors.torch import load_file, save_file
from training_cases import PATCH, assert_equal_weights, distillation, metrics, training

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.methods import (
    METHODS,
    AdversarialOptions,
    DistOptions,
    EMKDOptions,
    GraphFlowOptions,
    LogitsOptions,
    SoftLabels,
)
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.distillation.graph_flow.method import GraphFlow
from napari_graphflow.distillation.method import Method, build_method
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.inference.graph_flow_maps import variation_maps
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.methods import load_method
from napari_graphflow.models.saved import Model, import_state, load_model, read_state
from napari_graphflow.networks import build
from napari_graphflow.system.events import ModelSaved, Phase, Warned
from napari_graphflow.training import method_setup
from napari_graphflow.training.loop import distill, train

FLAT = {"dims": 2, "patch_size": (32, 32), "batch_size": 2}


@pytest.fixture(scope="module")
def normalising_teacher(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2D teacher with batch normalisation."""
    folder = tmp_path_factory.mktemp("raunet")
    flat = FLAT | {"network": "raunet", "width": 4, "steps": 1, "validate_every": 1}
    list(train(training(blobs, **flat), folder))
    return JobPaths(folder).model


@pytest.mark.parametrize(
    "method",
    # Its stages take longer; test_generalisable_method.py tests the same of its steps.
    [pytest.param(m, marks=[pytest.mark.slow] if m == "generalisable" else []) for m in METHODS],
)
def test_teacher_and_paraphrasers_are_unchanged_by_the_training_of_the_student(
    blobs, normalising_teacher, tmp_path, monkeypatch, method
):
    used: list[Model | Method] = []

    def caught(make):
        return lambda *arguments: used.append(make(*arguments)) or used[-1]

    monkeypatch.setattr("napari_graphflow.training.loop.load_teacher", caught(load_model))
    monkeypatch.setattr("napari_graphflow.training.method_setup.build_method", caught(build_method))
    options = METHODS[method].options()
    if isinstance(options, GraphFlowOptions):
        options = GraphFlowOptions(paraphraser_steps=4, adversarial=AdversarialOptions(weight=0.1))
    if isinstance(options, GeneralisableOptions):
        options = GeneralisableOptions(code_length=8, student_steps=1)
    config = distillation(blobs, normalising_teacher, method=options, **FLAT)
    run = distill(config, tmp_path)
    # Up to the first step; from here on the paraphrasers are frozen.
    assert Phase(kind="training", name="training") in run
    model, _, chosen = used  # the second is built only to check the pair
    modules = [model.module, *(getattr(chosen, "paraphrasers", {}).values())]
    assert len(modules) == (3 if method == "graph_flow" else 1)
    assert any("running_mean" in name for name, _ in model.module.named_buffers())
    before = [{name: value.clone() for name, value in m.state_dict().items()} for m in modules]
    assert any(isinstance(event, ModelSaved) for event in run)
    for module, state in zip(modules, before, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert all(parameter.grad is None for parameter in model.module.parameters())
    again = load_method(load_model(JobPaths(tmp_path).model))
    assert type(again) is type(chosen)
    assert again.state_dict().keys() == chosen.state_dict().keys()
    for name, value in again.state_dict().items():
        assert torch.equal(value, chosen.state_dict()[name]), name


def test_a_student_can_be_mapped_without_its_teacher_or_method_weights(blobs, teacher, tmp_path):
    own = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    list(distill(distillation(blobs, own, steps=1, validate_every=1), tmp_path / "run"))
    shutil.rmtree(own)
    student = load_model(JobPaths(tmp_path / "run").model)
    image = read_case(Dataset.open(blobs).cases[0])
    assert isinstance(load_method(student), GraphFlow)
    assert variation_maps(student, image).student.array.max() > 0
    (student.folder / "method.safetensors").unlink()
    assert load_method(student) is None
    notes = " ".join(variation_maps(student, image, load_model(teacher)).notes)
    assert "not matched" in notes
    assert load_method(load_model(teacher)) is None


@pytest.mark.parametrize(
    "method", [GraphFlowOptions(paraphraser_steps=4), EMKDOptions()], ids=lambda each: each.name
)
def test_masks_of_unlabelled_cases_do_not_change_the_student(blobs, teacher, tmp_path, method):
    """Replace by noise the masks that the run must not read, two thirds of all."""
    config = distillation(blobs, teacher, method=method, labelled=1, steps=3, validate_every=3)
    list(distill(config, tmp_path / "clean"))
    (kept,) = json.loads((tmp_path / "clean" / "cases.json").read_text())["labelled"]
    noisy = tmp_path / "noisy"
    shutil.copytree(blobs, noisy)
    splits = json.loads((noisy / "dataset.json").read_text())
    spoilt = 0
    for path in sorted((noisy / "labelsTr").iterdir()):
        name = path.name.removesuffix(".nii.gz")
        if name != kept and name not in str(splits.get("validation", "")):
            volume = read_volume(path)
            noise = np.random.default_rng(0).integers(0, 3, volume.shape).astype(np.uint8)
            write_volume(path, volume.with_array(noise))
            spoilt += 1
    assert spoilt
    list(distill(config.model_copy(update={"dataset": noisy}), tmp_path / "spoilt"))
    assert_equal_weights(tmp_path / "clean", tmp_path / "spoilt")


def test_a_teacher_trained_with_masks_that_are_unlabelled_here_causes_a_warning(
    blobs, teacher, tmp_path
):
    def warnings(**changes: object) -> list[str]:
        run = distill(distillation(blobs, teacher, method=LogitsOptions(), **changes), tmp_path)
        texts = []
        for event in run:
            if event == Phase(kind="training", name="training"):
                break
            if isinstance(event, Warned):
                texts.append(event.text)
        run.close()
        return texts

    assert warnings(labelled=None, seed=3) == []
    assert warnings(labelled=2, seed=3) == []  # all labelled cases
    (text,) = warnings(labelled=1, seed=3)
    assert "the masks of 2 cases of this dataset, 1 of which count as unlabelled" in text


def test_distillation_with_weight_zero_equals_supervised_training(blobs, teacher, tmp_path):
    silent = {"method": LogitsOptions(weight=0), "unlabelled": False}
    list(distill(distillation(blobs, teacher, **silent), tmp_path / "distilled"))
    plain = training(
        blobs, network="enet", width=8, preprocessing=load_model(teacher).card.preprocessing
    )
    list(train(plain, tmp_path / "plain"))
    assert_equal_weights(tmp_path / "distilled", tmp_path / "plain")


def test_distillation_weights_rise_linearly_during_the_warm_up(blobs, teacher, tmp_path):
    def first(warmup: int) -> float:
        config = distillation(blobs, teacher, method=LogitsOptions(), warmup=warmup)
        events = list(distill(config, tmp_path / str(warmup)))
        return metrics(events)["loss/logits"][0]

    assert first(4) == pytest.approx(first(0) / 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"tap_pairs": 3},
        {"patch": (1, 3, 3), "tap_pairs": 2},
        {"normalise": "teacher"},
        {"normalise": "channel"},
        {"peaks": "teacher", "tap_pairs": 2},
        {"logits": SoftLabels(loss="dist")},
        {
            "reduction": "paper_sum", "normalise": "teacher", "vertex_weight": 1e-5,
            "edge_weight": 1e-9,
        },
    ],
    ids=["three pairs", "flat patch", "teacher", "channel", "teacher's peaks", "dist", "paper"],
)  # fmt: skip
def test_graph_flow_runs_with_every_option(blobs, teacher, tmp_path, options):
    chosen = GraphFlowOptions(**({"paraphraser_steps": 2} | options))
    config = distillation(blobs, teacher, method=chosen, steps=2, validate_every=2)
    scores = metrics(list(distill(config, tmp_path)))
    for term in ("vertices", "edges"):
        assert np.isfinite(scores[f"loss/{term}"]).all()
        assert all(value > 0 for value in scores[f"loss/{term}"])
    energies = [name for name in scores if name.startswith("graph/energy")]
    assert len(energies) == chosen.tap_pairs


@pytest.mark.parametrize(
    ("method", "term"),
    [
        (GraphFlowOptions(vertex_weight=0, edge_weight=0, paraphraser_steps=0), "logits"),
        (EMKDOptions(temperature=1, prediction_weight=1), "prediction_maps"),
    ],
    ids=["graph_flow", "emkd"],
)
def test_the_term_of_the_logits_can_be_that_of_dist(blobs, teacher, tmp_path, method, term):
    def first(options):
        config = distillation(blobs, teacher, method=options, steps=1, validate_every=1)
        return metrics(list(distill(config, tmp_path / str(hash(options)))))

    changes = {"logits": SoftLabels(loss="dist")} if term == "logits" else {}
    changes |= {"prediction_loss": "dist"} if term == "prediction_maps" else {}
    dist = first(DistOptions())["loss/dist"]
    assert first(method.model_copy(update=changes))[f"loss/{term}"] == dist
    assert first(method)[f"loss/{term}"] == pytest.approx(first(LogitsOptions())["loss/logits"])


def test_graph_flow_adds_up_all_loss_terms(blobs, teacher, tmp_path):
    scores = metrics(list(distill(distillation(blobs, teacher), tmp_path)))
    for term in ("supervised", "logits", "vertices", "edges"):
        assert all(value > 0 for value in scores[f"loss/{term}"]), term
    total = np.sum([scores[f"loss/{t}"] for t in ("supervised", "logits", "vertices", "edges")], 0)
    np.testing.assert_allclose(scores["loss/total"], total, rtol=1e-5)
    assert set(scores) >= {"paraphraser/r2_encoder", "paraphraser/r2_decoder"}
    model = load_model(JobPaths(tmp_path).model)
    assert model.card.role == "student"
    assert model.card.preprocessing == load_model(teacher).card.preprocessing
    assert model.card.provenance.unlabelled_cases == 3
    assert (model.folder / "method.safetensors").is_file()
    assert not any(name.startswith("paraphraser") for name in model.module.state_dict())


def test_taps_of_different_shapes_get_trained_adapters_saved_apart_from_the_student(
    blobs, teacher, tmp_path
):
    options = {"network": "trans_unet", "width": 8, "steps": 2, "validate_every": 2}
    adversarial = AdversarialOptions(weight=0.1, loss="hinge")
    method = GraphFlowOptions(paraphraser_steps=4, adversarial=adversarial)
    events = list(distill(distillation(blobs, teacher, method=method, **options), tmp_path))
    scores = metrics(events)
    assert scores["loss/adversarial"]
    assert scores["loss/discriminator"]
    for term in ("supervised", "logits", "vertices", "edges", "adversarial"):
        assert scores[f"gradient/{term}"][0] > 0, term
    assert 0 <= scores["graph/peaks_moved"][0] <= 1
    assert 0 < scores["graph/constant"][0] <= 1
    student = load_model(JobPaths(tmp_path).model)
    saved = load_file(student.folder / "method.safetensors")
    assert "adapters.encoder.weight" in saved
    assert not any("discriminator" in name for name in saved)
    shorter = distillation(blobs, teacher, **(options | {"steps": 1, "validate_every": 1}))
    list(distill(shorter, tmp_path / "shorter"))
    before = load_file(JobPaths(tmp_path / "shorter").model / "method.safetensors")
    assert not torch.equal(before["adapters.encoder.weight"], saved["adapters.encoder.weight"])
    image = read_case(Dataset.open(blobs).cases[0])
    drawn = variation_maps(student, image, load_model(teacher))
    assert drawn.student.array.max() > 0


def test_without_paraphrasers_adapters_project_to_the_channels_of_the_teacher(
    blobs, teacher, tmp_path
):
    options = GraphFlowOptions(paraphraser_steps=0)
    config = distillation(blobs, teacher, method=options, steps=2, validate_every=2)
    scores = metrics(list(distill(config, tmp_path)))
    assert all(value > 0 for value in scores["loss/vertices"])
    assert not any(name.startswith("paraphraser") for name in scores)
    student = load_model(JobPaths(tmp_path).model)
    saved = load_file(student.folder / "method.safetensors")
    width = load_model(teacher).module(torch.zeros(1, 1, *PATCH)).taps["encoder"].shape[1]
    assert saved["adapters.encoder.weight"].shape[0] == width
    image = read_case(Dataset.open(blobs).cases[0])
    notes = " ".join(variation_maps(student, image, load_model(teacher)).notes)
    assert "not matched" not in notes
    assert "paraphraser" not in notes


def test_maps_use_the_peaks_that_the_student_was_trained_with(blobs, teacher, tmp_path):
    """Also with equally wide taps, which need neither paraphraser nor adapter."""
    flat = {"steps": 1, "validate_every": 1, "network": "unet", "width": 4}
    for peaks in ("own", "teacher"):
        options = GraphFlowOptions(paraphraser_steps=0, peaks=peaks)
        # The patch size differs from the teacher's; both maps use the same windows.
        config = distillation(
            blobs, teacher, method=options, **(flat | {"patch_size": (16, 16, 32)})
        )
        list(distill(config, tmp_path / peaks))
    image = read_case(Dataset.open(blobs).cases[0])
    own, there = (
        variation_maps(load_model(JobPaths(tmp_path / peaks).model), image, load_model(teacher))
        for peaks in ("own", "teacher")
    )
    assert "not matched" not in " ".join((*own.notes, *there.notes))
    assert not any("where the teacher responds most" in note for note in own.notes)
    assert any("where the teacher responds most" in note for note in there.notes)
    # With the same peaks, both maps are zero at the same voxels.
    blank = [maps.array == 0 for maps in (there.student, there.teacher)]
    assert blank[0].any()
    np.testing.assert_array_equal(*blank)
    assert (blank[1] != (own.student.array == 0)).any()


def test_a_term_changes_the_student_only_if_its_weight_is_not_zero(blobs, teacher, tmp_path):
    def run(name: str, **weight: float) -> Path:
        options = GraphFlowOptions(paraphraser_steps=1, **weight)
        config = distillation(blobs, teacher, method=options, steps=2, validate_every=2)
        list(distill(config, tmp_path / name))
        return tmp_path / name

    off = run("off", vertex_weight=0, edge_weight=0)
    plain = distillation(blobs, teacher, method=LogitsOptions(), steps=2, validate_every=2)
    list(distill(plain, tmp_path / "logits"))
    assert_equal_weights(off, tmp_path / "logits")
    for term in ("vertex_weight", "edge_weight"):
        other = run(term, **({"vertex_weight": 0, "edge_weight": 0} | {term: 0.5}))
        with pytest.raises(AssertionError):
            assert_equal_weights(off, other)


def test_weighting_by_teacher_confidence_changes_the_student(blobs, teacher, tmp_path):
    for name in ("all", "sure"):
        options = LogitsOptions(certainty=name == "sure")
        more = {"method": options, "labelled": 1, "steps": 2}
        list(distill(distillation(blobs, teacher, **more), tmp_path / name))
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "all", tmp_path / "sure")


def test_an_imported_monai_network_can_be_the_teacher(blobs, tmp_path):
    """A checkpoint that was not trained here, with taps given as module paths."""
    torch.manual_seed(0)
    save_file(SegResNet(3, 8, 1, 3).state_dict(), tmp_path / "segresnet.safetensors")
    card = ModelCard(
        name="foreign", role="teacher", network="monai:SegResNet", dims=3, in_channels=1,
        classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=PATCH,
        arguments={"init_filters": 8, "multiple": 8}, preprocessing=Preprocessing(),
        taps={"encoder": "down_layers.2", "decoder": "up_layers.0"},
    )  # fmt: skip
    import_state(read_state(tmp_path / "segresnet.safetensors"), card, tmp_path / "foreign")
    events = list(distill(distillation(blobs, tmp_path / "foreign"), tmp_path / "run"))
    assert all(value > 0 for value in metrics(events)["loss/vertices"])


def test_a_run_can_start_again_with_the_teacher_on_its_device():
    """As after running out of memory; the meta device stands for a GPU."""
    networks = [build("unet", 1, 2, 2, 4) for _ in range(2)]
    image = torch.zeros(1, 1, 16, 16)
    expected = method_setup._shapes(*networks, image)
    assert method_setup._shapes(networks[0], networks[1].to("meta"), image) == expected
