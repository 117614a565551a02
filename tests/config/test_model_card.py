"""Model cards: a model stays usable when its provenance is from another version."""

import json
from pathlib import Path
from typing import Any

import pytest

from napari_graphflow.config.model_card import ModelCard, Provenance, read_model_card
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError


def write_card(folder: Path, run: TrainingConfig, **changes: Any) -> None:
    """Write ``model.json``, its settings of the run changed."""
    card = ModelCard(
        name="small",
        role="student",
        network="enet",
        dims=3,
        in_channels=1,
        classes={"background": 0, "organ": 1},
        patch_size=(16, 16, 16),
        preprocessing=Preprocessing(),
        provenance=Provenance(dataset="blobs", labelled_cases=2, unlabelled_cases=3, run=run),
    )
    content = card.model_dump(mode="json")
    content["provenance"]["run"] |= changes
    (folder / "model.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    "run",
    [
        TrainingConfig(dataset=Path("blobs")),
        DistillationConfig(dataset=Path("blobs"), teacher=Path("teacher")),
    ],
)
def test_settings_of_a_run_survive_the_file_with_their_type(
    tmp_path: Path, run: TrainingConfig
) -> None:
    write_card(tmp_path, run)
    provenance = read_model_card(tmp_path).provenance
    assert provenance is not None
    assert type(provenance.run) is type(run) and provenance.run == run


def test_a_model_with_unknown_settings_of_its_run_can_be_opened(tmp_path: Path) -> None:
    write_card(tmp_path, TrainingConfig(dataset=Path("blobs")), option_of_another_version=1)
    card = read_model_card(tmp_path)
    assert card.name == "small"
    assert card.provenance is not None
    assert card.provenance.run is None and card.provenance.labelled_cases == 2


def test_a_card_with_an_invalid_field_is_refused_with_its_name_and_a_remedy(tmp_path: Path) -> None:
    write_card(tmp_path, TrainingConfig(dataset=Path("blobs")))
    path = tmp_path / "model.json"
    path.write_text(path.read_text("utf-8").replace('"in_channels": 1', '"in_channels": 0'))
    with pytest.raises(UserError, match="in_channels: Input should be greater") as caught:
        read_model_card(tmp_path)
    assert caught.value.remedy
