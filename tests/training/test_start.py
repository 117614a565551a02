"""Warm start, weights of the classes, early stopping, curves as a table."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_cases import training, weights

from napari_graphflow.config.methods import EMKDOptions
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.jobs import store
from napari_graphflow.models.saved import build_network
from napari_graphflow.system.events import Metric, ModelSaved, Warned
from napari_graphflow.training import loop
from napari_graphflow.training.curves import with_curves
from napari_graphflow.training.start import balanced, start_from
from napari_graphflow.training.step import supervised_loss


def test_a_warm_start_has_the_weights_of_the_model(teacher):
    card = read_model_card(teacher)
    network = build_network(card)
    start_from(network, teacher, card)
    expected = weights(teacher.parent.parent)
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "value"), [("width", 8), ("network", "enet"), ("classes", {"background": 0})]
)
def test_a_warm_start_from_another_network_or_other_classes_is_refused(teacher, changed, value):
    card = read_model_card(teacher)
    with pytest.raises(UserError, match=f"its {changed} is"):
        start_from(build_network(card), teacher, card.model_copy(update={changed: value}))


def test_weights_of_the_classes_are_the_inverse_square_root_of_their_voxels():
    np.testing.assert_allclose(balanced(np.array([400.0, 100.0, 0.0])), [2 / 3, 4 / 3, 1])


def test_the_weighted_cross_entropy_is_that_of_pytorch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 6, generator=generator)
    labels = torch.randint(0, 3, (2, 5, 6), generator=generator)
    labels[0, :2] = IGNORE
    few = torch.tensor([0.2, 1.0, 1.8])
    difference = supervised_loss(logits, labels, few) - supervised_loss(logits, labels)
    one, other = (
        functional.cross_entropy(logits, labels, w, ignore_index=IGNORE) for w in (few, None)
    )
    torch.testing.assert_close(difference, one - other)
    nothing = torch.full_like(labels, IGNORE)
    assert supervised_loss(logits, nothing, few).isfinite()


def test_class_weights_beside_a_loss_of_its_own_are_refused():
    with pytest.raises(ValueError, match="official preset"):
        DistillationConfig(
            dataset=Path("d"), teacher=Path("t"), class_weights="balanced",
            method=EMKDOptions(preset="official"),
        )  # fmt: skip


def test_a_training_stops_early_and_writes_its_curves(blobs, tmp_path, monkeypatch):
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.9])

    def validate(*_):
        yield from ()
        return {"organ": next(scores)}

    monkeypatch.setattr(loop, "validate", validate)
    config = training(
        blobs, steps=9, validate_every=1, patience=2, curves="csv", class_weights="balanced"
    )
    job = store.create("train", config, tmp_path)
    with job.events_file.open("ab") as log:
        events = []
        for event in with_curves(loop.train(config, job.folder), job):
            events.append(event)
            log.write(event.model_dump_json().encode() + b"\n")
            log.flush()
    assert isinstance(events[-1], ModelSaved)
    assert [e.text for e in events if isinstance(e, Warned) and e.code == "stopped_early"] == [
        "Stopped at step 4 of 9: no better Dice in 2 validations."
    ]
    dice = [e.value for e in events if isinstance(e, Metric) and e.name == "dice"]
    assert dice == [0.5, 0.6, 0.6, 0.55]
    with (job.artifacts / "curves.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["name"] == "dice"]
    assert [(row["split"], int(row["step"]), float(row["value"])) for row in rows] == [
        ("val", step, value) for step, value in enumerate(dice, start=1)
    ]
