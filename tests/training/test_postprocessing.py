"""Post-processing learnt on the validation cases."""

from pathlib import Path

import numpy as np
import pytest
from training_cases import training

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.training import postprocessing
from napari_graphflow.training.batches import TrainingCase
from napari_graphflow.training.loop import train


def _with_a_speck(case: TrainingCase) -> np.ndarray:
    """Return the organ with a second part that is not in the reference."""
    labels = np.where(case.labels == 1, 1, 0)
    labels[0, 0, :3] = 1
    return labels


@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        (_with_a_speck, ("organ",)),
        (lambda case: np.asarray(case.labels), ()),
        (lambda case: np.zeros_like(case.labels), ()),
    ],
)
def test_the_largest_part_is_kept_where_it_raises_the_dice(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict, expected
) -> None:
    monkeypatch.setattr(postprocessing, "segmented", lambda network, case, card: predict(case))
    list(train(training(blobs, steps=1, validate_every=1), tmp_path))
    assert read_model_card(JobPaths(tmp_path).model).largest_part == expected


def test_a_structure_of_several_parts_keeps_them() -> None:
    assert postprocessing._helps([0.02, 0.01, float("nan")])
    assert not postprocessing._helps([0.02, -0.01])
    assert not postprocessing._helps([0.0, 0.0])
    assert not postprocessing._helps([float("nan")])
