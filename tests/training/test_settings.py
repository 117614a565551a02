"""What the settings of a run change: averaged weights, teacher's answers, the last steps."""

import pytest
import torch
from torch import nn
from training_cases import distillation, metrics, training, weights

from napari_graphflow.config.methods import EMKDOptions, LogitsOptions
from napari_graphflow.distillation.logits import LogitsDistillation
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.system.events import Warned
from napari_graphflow.training import averaging, loop
from napari_graphflow.training.loop import distill, train
from napari_graphflow.training.step import hard_answers, supervised_loss


def test_the_average_follows_the_weights_with_its_decay():
    network = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    average = averaging.start_average(network, 0.5)
    expected = None
    for step in range(20):
        with torch.no_grad():
            network[0].weight.fill_(step)
            network[1].running_mean.fill_(-step)
            network[1].num_batches_tracked.fill_(step)
        average.update_parameters(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = step if expected is None else decay * expected + (1 - decay) * step
        assert average.module[0].weight[0, 0].item() == pytest.approx(expected, rel=1e-5)
        assert average.module[1].running_mean.item() == pytest.approx(-expected, rel=1e-5)
        assert average.module[1].num_batches_tracked.item() == step
    assert expected < 18.5
    assert averaging.start_average(network, 0) is None


@pytest.mark.parametrize("validated", [True, False])
def test_the_average_is_validated_and_saved_while_training_is_unchanged(
    blobs, tmp_path, monkeypatch, validated
):
    averages, validate = [], loop.validate

    def caught(network, decay):
        averages.append(averaging.start_average(network, decay))
        return averages[-1]

    def watched(network, data, card, folder, step):
        if decay:
            assert network is averages[-1].module
        if validated:
            return (yield from validate(network, data, card, folder, step))
        return {}

    monkeypatch.setattr(loop, "start_average", caught)
    monkeypatch.setattr(loop, "validate", watched)
    losses, saved = [], []
    for decay in (0, 0.9):
        config = training(blobs, ema_decay=decay, steps=4, validate_every=4)
        losses.append(metrics(list(train(config, tmp_path / str(decay))))["loss/total"])
        saved.append(weights(tmp_path / str(decay)))
    assert losses[0] == losses[1]
    average = averages[-1].module.state_dict()
    assert saved[1].keys() == saved[0].keys() == average.keys()
    assert all(torch.equal(value, average[name]) for name, value in saved[1].items())
    assert any(not torch.equal(value, saved[0][name]) for name, value in saved[1].items())


def test_hard_answers_are_the_most_probable_classes_above_the_confidence():
    # Probabilities 0.9, 0.6, 0.75 of the most probable class.
    logits = torch.tensor([[[9.0, 2, 1], [1, 3, 3]]]).log()
    assert hard_answers(logits).tolist() == [[0, 1, 1]]
    assert hard_answers(logits, 0.7).tolist() == [[0, IGNORE, 1]]


def first_losses(blobs, teacher, folder, **changes):
    settings = {"method": LogitsOptions(), "labelled": 1, "steps": 1, "validate_every": 1}
    run = distill(distillation(blobs, teacher, **(settings | changes)), folder)
    return {name: values[0] for name, values in metrics(list(run)).items()}


def test_hard_answers_replace_the_soft_ones_of_unlabelled_patches(
    blobs, teacher, tmp_path, monkeypatch
):
    weights, terms = [], LogitsDistillation.terms

    def watched(method, student, teacher, weight):
        weights.append(weight)
        return terms(method, student, teacher, weight)

    monkeypatch.setattr(LogitsDistillation, "terms", watched)
    soft = first_losses(blobs, teacher, tmp_path / "soft")
    hard = first_losses(blobs, teacher, tmp_path / "hard", answers="hard")
    assert "loss/pseudo_labels" not in soft
    assert hard["loss/pseudo_labels"] > 0
    assert hard["loss/supervised"] == soft["loss/supervised"]
    assert torch.equal(weights[0][0], weights[1][0]), "of the labelled patch"
    assert weights[0][1].all()
    assert not weights[1][1].any()
    total = sum(hard[f"loss/{name}"] for name in ("supervised", "logits", "pseudo_labels"))
    assert hard["loss/total"] == pytest.approx(total, rel=1e-5)


def test_a_teacher_is_not_asked_about_the_padding_of_small_images(
    blobs, teacher, tmp_path, monkeypatch
):
    weights, pseudo, terms = [], [], LogitsDistillation.terms

    def watched(method, student, teacher, weight):
        weights.append(weight)
        return terms(method, student, teacher, weight)

    def loss(logits, labels, weights=None):
        pseudo.append(labels)
        return supervised_loss(logits, labels, weights)

    monkeypatch.setattr(LogitsDistillation, "terms", watched)
    monkeypatch.setattr("napari_graphflow.training.step.supervised_loss", loss)
    size = {"patch_size": (16, 16, 64)}  # the images have fewer voxels along the last axis
    first_losses(blobs, teacher, tmp_path / "hard", answers="hard", **size)
    first_losses(blobs, teacher, tmp_path / "soft", **size)
    labelled, unlabelled = pseudo[:2]
    padding = (labelled == IGNORE)[0, 0, 0]
    assert 0 < padding.sum() < 64
    assert (unlabelled == IGNORE)[0, 0, 0].sum() == padding.sum()
    assert ((weights[1][1] == 0) == (unlabelled[0] == IGNORE)).all()


def test_a_confidence_leaves_out_uncertain_voxels(blobs, teacher, tmp_path):
    soft, sure = (
        first_losses(blobs, teacher, tmp_path / str(confidence), confidence=confidence)
        for confidence in (0, 0.6)
    )
    assert sure["loss/logits"] != pytest.approx(soft["loss/logits"], rel=1e-4)
    none = {"answers": "hard", "confidence": 0.9999}
    hard = first_losses(blobs, teacher, tmp_path / "none", **none)
    assert hard["loss/pseudo_labels"] == 0


def test_the_last_steps_use_the_masks_alone(blobs, teacher, tmp_path):
    changes = {"method": LogitsOptions(), "steps": 4, "validate_every": 4, "labelled": 1}
    whole = metrics(list(distill(distillation(blobs, teacher, **changes), tmp_path / "whole")))
    config = distillation(blobs, teacher, labels_only=0.5, **changes)
    found = metrics(list(distill(config, tmp_path / "halves")))
    assert whole["loss/logits"][:2] == found["loss/logits"]
    assert found["loss/total"][2:] == found["loss/supervised"][2:]
    assert len(found["loss/total"]) == 4
    assert whole["loss/supervised"][:3] != found["loss/supervised"][:3]


def test_settings_of_unlabelled_patches_need_unlabelled_cases(blobs, teacher, tmp_path):
    for changes in ({"cutmix": 0.5}, {"answers": "hard"}, {"confidence": 0.9}):
        (name,) = changes
        with pytest.raises(ValueError, match=f"{name} is a setting of unlabelled patches"):
            distillation(blobs, teacher, unlabelled=False, **changes)
    with pytest.raises(ValueError, match="choose the preset robust"):
        distillation(blobs, teacher, method=EMKDOptions(preset="official"), answers="hard")
    distillation(blobs, teacher, method=EMKDOptions(preset="official"), cutmix=1)


def test_settings_without_effect_cause_a_warning(blobs, teacher, tmp_path, monkeypatch):
    read = loop.read_training_data

    def without_unlabelled(*arguments, **keywords):
        return (yield from read(*arguments, **(keywords | {"unlabelled": False})))

    monkeypatch.setattr(loop, "read_training_data", without_unlabelled)
    config = distillation(blobs, teacher, method=LogitsOptions(), steps=1, cutmix=0.5)
    texts = [one.text for one in distill(config, tmp_path) if isinstance(one, Warned)]
    assert any("no unlabelled cases, so that cutmix has no effect" in text for text in texts)
