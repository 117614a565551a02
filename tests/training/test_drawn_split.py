"""Where a dataset has no split, cases are drawn for validation, and the run says so."""

import shutil
from pathlib import Path

from training_cases import training

from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import Metric, ModelSaved, Warned
from napari_graphflow.training.loop import train


def test_a_run_without_a_split_is_validated_on_drawn_cases_and_says_which(
    blobs: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "blobs"
    shutil.copytree(blobs, dataset)
    (dataset / "splits.json").unlink()
    config = training(dataset, network="enet", width=8, steps=2, validate_every=2)
    events = list(train(config, tmp_path / "job"))
    said = [event.text for event in events if isinstance(event, Warned)]
    assert any("drawn by patient for validation" in text for text in said), said
    assert any(isinstance(one, Metric) and one.split == "val" for one in events)
    saved = events[-1]
    assert isinstance(saved, ModelSaved)
    provenance = load_model(tmp_path / "job" / saved.path).card.provenance
    assert provenance.best_validation_dice is not None
