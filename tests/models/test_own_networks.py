"""A network of one's own, an object in Python, as a teacher."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import distillation

import napari_graphflow as gf
from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks import build
from napari_graphflow.system.events import ModelSaved
from napari_graphflow.training.loop import distill

CARD: dict[str, Any] = {
    "dims": 3, "in_channels": 1, "classes": {"background": 0, "organ": 1, "lesion": 2},
    "patch_size": (16, 16, 16),
    "preprocessing": {"orientation": "RAS", "intensity": "mean_std", "mean": 50, "std": 100},
}  # fmt: skip


class Own(nn.Module):
    """Two levels with a skip; a list of outputs, as of deep supervision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv3d(8, 16, 2, 2), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1)
        )
        self.up = nn.ConvTranspose3d(16, 8, 2, 2)
        self.last = nn.Conv3d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = self.first(x)
        deep = self.deep(first)
        return [10 * self.last(torch.cat([first, self.up(deep)], 1)), deep]


@pytest.fixture
def own() -> nn.Module:
    network = Own()
    network(torch.randn(2, 1, 16, 16, 16))  # for other statistics than 0 and 1
    return network


def options(**changes: Any) -> gf.ImportOptions:
    return gf.ImportOptions(card=CARD | changes)


def test_its_labels_are_those_of_a_loop(own: nn.Module, blobs: Path, tmp_path: Path) -> None:
    model = gf.import_teacher(own, tmp_path / "teacher", options())
    assert own.training  # as it was
    card = model.card
    assert (card.name, card.role, card.divisor, card.windows) == ("Own", "teacher", 2, "whole")
    own.eval()
    for case in Dataset.open(blobs).cases[:3]:
        image = read_case(case)
        found = segment(load_for_inference(model.folder, "cpu"), image).labels.array
        # Stored R, P, I; the network receives R, A, S: y and z reversed.
        x = torch.from_numpy((image.array[::-1, ::-1].astype(np.float32) - 50) / 100)
        with torch.no_grad():
            expected = own(x[None, None])[0][0].argmax(0).numpy()[::-1, ::-1]
        assert len(np.unique(expected)) > 1
        assert (found == expected).mean() >= 0.999


def test_it_teaches_by_its_answers(own: nn.Module, blobs: Path, tmp_path: Path) -> None:
    model = gf.import_teacher(own, tmp_path / "teacher", options())
    short = {"steps": 2, "validate_every": 2, "method": LogitsOptions(), "teacher_min_dice": 0}
    run = distillation(blobs, model.folder, **short)
    assert isinstance(list(distill(run, tmp_path / "run"))[-1], ModelSaved)
    with pytest.raises(UserError, match="Graph Flow needs feature maps, and this teacher has"):
        check_run(distillation(blobs, model.folder))


def test_a_network_that_its_card_names_keeps_its_feature_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("unet", 1, 3, 3, width=4)
    model = gf.import_teacher(network, tmp_path / "teacher", options(network="unet", width=4))
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        found, expected = model.module(image), network.eval()(image)
    assert torch.allclose(found.logits, expected.logits, atol=1e-4)
    assert {"encoder", "decoder"} <= set(found.taps)


def test_a_network_of_other_arguments_than_its_card_is_refused(tmp_path: Path) -> None:
    from monai.networks.nets import UNet

    sizes = {"channels": (4, 8), "strides": (2,)}
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, act="tanh", **sizes)
    card = {"network": "monai:UNet", "arguments": sizes | {"act": "relu"}}
    with pytest.raises(UserError, match=r"answers otherwise: .* Correct arguments of monai:UNet"):
        gf.import_teacher(network, tmp_path / "teacher", options(**card))
    assert not (tmp_path / "teacher").exists()
    given = card | {"arguments": sizes | {"act": "tanh"}}
    assert gf.import_teacher(network, tmp_path / "teacher", options(**given)).card.gives_features


class Wrapped(nn.Module):
    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.change = Own().eval(), change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.change(self.network(x)[0])


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda x: x.softmax(1), "probabilities"),
        (lambda x: x[:, 1:2], "sigmoid"),
    ],
)
def test_what_it_answers_is_recognised(change, output: str, tmp_path: Path) -> None:
    classes = {"background": 0, "organ": 1} | ({"lesion": 2} if output == "probabilities" else {})
    network = Wrapped(change)
    model = gf.import_teacher(network, tmp_path / "teacher", options(classes=classes))
    assert model.card.arguments["output"] == output
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        found = model.module(image).logits.softmax(1)
        expected = network.network(image)[0]
    expected = expected.softmax(1) if output == "probabilities" else expected[:, 1:2].sigmoid()
    assert torch.allclose(found[:, -expected.shape[1] :], expected, atol=1e-4)


def decides(x: torch.Tensor) -> torch.Tensor:
    return x if x.shape[-1] == 16 else -x


def test_a_network_that_a_trace_does_not_know_at_other_sizes_runs_in_windows(
    tmp_path: Path,
) -> None:
    model = gf.import_teacher(Wrapped(decides), tmp_path / "teacher", options())
    assert (model.card.windows, model.card.arguments["fixed"]) == ("patch", True)


class ByValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 2 * x, 3 * x], 1) * (1 if x.mean() > 0 else -1)


def test_a_network_that_decides_by_the_values_of_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers otherwise"):
        gf.import_teacher(ByValue(), tmp_path / "teacher", options())


def test_a_network_that_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    network = Own()
    network.lock = threading.Lock()
    with pytest.raises(UserError, match="holds what cannot be copied"):
        gf.import_teacher(network, tmp_path / "teacher", options())


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (None, "Own does not say which images it is for. Pass a card with dims, in_channels"),
        ({"dims": 3}, "The card of Own is not valid: in_channels is missing"),
        (CARD | {"in_channels": 2}, "cannot process an image of 16 x 16 x 16 voxels in 2 channels"),
        (CARD | {"classes": {"background": 0, "a": 1}}, "answers with 3 classes, but its card has"),
        (CARD | {"patch_size": (15, 16, 16)}, "cannot process an image of 15 x 16 x 16 voxels"),
    ],
)
def test_a_card_that_is_missing_or_wrong_is_refused(own, card, sentence, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        gf.import_teacher(own, tmp_path / "teacher", gf.ImportOptions(card=card))
    assert sentence in str(caught.value)
    assert not (tmp_path / "teacher").exists()


def test_its_classes_are_mapped_to_those_of_a_dataset(own, blobs: Path, tmp_path: Path) -> None:
    names = {"background": 0, "left": 1, "right": 2}
    table = {"organ": ["Left", "RIGHT"], "lesion": []}
    given = gf.ImportOptions(card=CARD | {"classes": names}, classes=table)
    model = gf.import_teacher(own, tmp_path / "teacher", given)
    assert model.card.classes == {"background": 0, "organ": 1, "lesion": 2}
    assert ModelCard.model_validate_json((tmp_path / "teacher" / "model.json").read_text("utf-8"))
    assert load_model(model.folder).card.mapping["left"] == "organ"


def test_without_openvino_its_installation_is_named(own, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="OpenVINO is not installed"):
        gf.import_teacher(own, tmp_path / "teacher", options())
