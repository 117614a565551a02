"""Models from strangers: refused in a sentence before they answer at random or take the memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.models.saved import build_network, load_model, save_model
from napari_graphflow.networks import build

WEIGHTS = "weights.safetensors"


def card(**changes: Any) -> ModelCard:
    settings: dict[str, Any] = {
        "name": "enet", "role": "student", "network": "enet", "dims": 2, "in_channels": 1,
        "classes": {"background": 0, "organ": 1}, "patch_size": (16, 16),
        "preprocessing": Preprocessing(),
    }  # fmt: skip
    return ModelCard(**(settings | changes))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "enet", card(), build("enet", 1, 2, 2))
    return tmp_path / "enet"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    state = load_file(saved / WEIGHTS)
    name = next(name for name, one in state.items() if one.is_floating_point())
    state[name].view(-1)[-1] = value
    save_file(state, saved / WEIGHTS)
    with pytest.raises(UserError, match=f"NaN or infinite numbers, such as {name}"):
        load_model(saved)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.int64])
def test_weights_stored_as_integers_are_refused(saved: Path, kind: torch.dtype) -> None:
    state = {name: one.to(kind) for name, one in load_file(saved / WEIGHTS).items()}
    save_file(state, saved / WEIGHTS)
    with pytest.raises(UserError, match=r"stored as (int8|bool|int64)"):
        load_model(saved)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_read(saved: Path, kind: torch.dtype) -> None:
    stored = load_file(saved / WEIGHTS)
    save_file({n: one.to(kind) if one.is_floating_point() else one for n, one in stored.items()},
              saved / WEIGHTS)  # fmt: skip
    load_model(saved)


@pytest.mark.parametrize("width", [2000, 4096])
def test_a_network_of_absurd_width_is_refused_before_memory_is_allocated(width: int) -> None:
    with pytest.raises(UserError, match=r"has .*e\+.. weights"):
        build_network(card(network="unet", dims=3, patch_size=(16,) * 3, width=width))


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 10**6), ("width", 0), ("in_channels", 10**9), ("patch_size", (1, 1)),
     ("arguments", {"features": [10**6]})],
)  # fmt: skip
def test_a_card_with_an_absurd_number_cannot_be_read(
    saved: Path, field: str, value: object
) -> None:
    text = card().model_copy(update={field: value}).model_dump_json()
    (saved / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json cannot be read"):
        read_model_card(saved)


@pytest.mark.parametrize(
    ("field", "value"),
    [("window", (240.0, -160.0)), ("window", (1.0, 1.0)), ("window", (float("nan"), 1.0)),
     ("spacing", (-1.0, 1.0)), ("spacing", (1e9, 1.0)), ("spacing", (1e-30, 1.0))],
)  # fmt: skip
def test_preprocessing_that_leaves_nothing_of_an_image_is_refused(
    field: str, value: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=field if field == "spacing" else "bound|finite"):
        Preprocessing.model_validate({field: value})


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("monai:TorchVisionFCModel", {"weights": "DEFAULT"}),
        ("monai:VoxelMorph", {}),
        ("monai:FlexibleUNet", {"backbone": "efficientnet-b0", "pretrained": True}),
        ("monai:SegResNet", {"weights": "DEFAULT"}),
    ],
)
def test_a_monai_network_that_may_download_or_segments_nothing_is_refused(
    network: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"no segmentation network|would download"):
        build_network(card(network=network, arguments=arguments))
