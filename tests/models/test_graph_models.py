"""Whole networks of other programs (ONNX, OpenVINO, TorchScript, torch.export) as teachers."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import distillation

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.models.importing import ImportOptions, import_teacher
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import ModelSaved
from napari_graphflow.training.loop import distill

openvino = pytest.importorskip("openvino")
# Of torch's exporters.
pytestmark = pytest.mark.filterwarnings("ignore")
CARD = {
    "dims": 3, "in_channels": 1, "classes": {"background": 0, "organ": 1, "lesion": 2},
    "patch_size": [16, 16, 16], "divisor": 4,
    "preprocessing": {"orientation": "RAS", "intensity": "mean_std", "mean": 50, "std": 100},
}  # fmt: skip
KINDS = ("model.xml", "model.onnx", "model.ts", "model.pt2")


class Small(nn.Module):
    """Answers by intensity, blurred over the neighbours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blur = nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate")
        nn.init.constant_(self.blur.weight, 1 / 27)
        nn.init.zeros_(self.blur.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blur(x)
        return torch.cat([-8 * x, 2 - 4 * (x - 0.5).abs(), 8 * (x - 1)], 1)


def export(folder: Path, name: str, network: nn.Module | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path, network, image = folder / name, (network or Small()).eval(), torch.rand(1, 1, 16, 16, 16)
    if path.suffix == ".onnx":
        pytest.importorskip("onnx")
        sizes = {"x": {2: "z", 3: "y", 4: "w"}}
        torch.onnx.export(network, image, path, input_names=["x"], dynamic_axes=sizes, dynamo=False)
    elif path.suffix == ".xml":
        sizes = [-1, 1, -1, -1, -1]
        openvino.save_model(
            openvino.convert_model(network, example_input=image, input=sizes), path, False
        )
    elif path.suffix == ".ts":
        torch.jit.save(torch.jit.trace(network, image), path)
    else:
        torch.export.save(torch.export.export(network, (image,)), path)
    (folder / "model.json").write_text(json.dumps(CARD), "utf-8")
    return path


@pytest.mark.parametrize(
    "name",
    [KINDS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS[1:])],
)
def test_its_labels_are_those_of_a_loop(blobs: Path, tmp_path: Path, name: str) -> None:
    path = export(tmp_path / "from", name)
    model = import_teacher(path, tmp_path / "teacher", ImportOptions(trust=True))
    fixed = name.endswith("pt2")
    assert (model.card.windows == "patch") == fixed
    image = read_case(next(one for one in Dataset.open(blobs).cases if one.name == "blob_5"))
    found = segment(load_for_inference(model.folder, "cpu"), image).labels.array
    # Stored R, P, I; the network receives R, A, S: y and z reversed.
    x = torch.from_numpy((image.array[::-1, ::-1].astype(np.float32) - 50) / 100)[None, None]
    with torch.no_grad():
        expected = Small()(x)[0].argmax(0).numpy()[::-1, ::-1]
    # Windows of a fixed size end elsewhere, and their blur with them.
    assert (found == expected).mean() > (0.98 if fixed else 0.9999)
    assert weights_hash(model.folder)


@pytest.mark.parametrize("name", ["model.ts", "model.pt2", "model.pt"])
def test_a_program_is_refused_unless_it_is_trusted(tmp_path: Path, name: str, monkeypatch) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
    (tmp_path / "model.json").write_text(json.dumps(CARD), "utf-8")
    for module in (torch.jit, torch.export):
        monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(
        UserError, match=r"program of PyTorch, which can do anything.*--trust"
    ) as caught:
        import_teacher(path, tmp_path / "teacher")
    assert caught.value.code == "untrusted"
    assert not (tmp_path / "teacher").exists()


def test_it_teaches_class_probabilities_only(blobs: Path, tmp_path: Path) -> None:
    model = import_teacher(export(tmp_path / "from", "model.xml"), tmp_path / "teacher")
    short = {"steps": 2, "validate_every": 2, "method": LogitsOptions(), "teacher_min_dice": 0.4}
    run = distillation(blobs, model.folder, **short)
    assert isinstance(list(distill(run, tmp_path / "run"))[-1], ModelSaved)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert {"teacher/network.xml", "teacher/network.bin"} <= set(manifest)
    with pytest.raises(UserError, match="Graph Flow needs feature maps, and this teacher has"):
        check_run(distillation(blobs, model.folder))


class Answers(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.network = kind, Small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(x)
        if self.kind == "sigmoids":
            return logits.sigmoid()
        if self.kind == "classes last":
            return logits.moveaxis(1, -1)
        return logits.softmax(1) if self.kind == "probabilities" else logits[:, 1:2]


def test_probabilities_are_recognised(tmp_path: Path) -> None:
    path = export(tmp_path / "from", "model.xml", Answers("probabilities"))
    model, image = import_teacher(path, tmp_path / "teacher"), torch.rand(1, 1, 16, 16, 16)
    assert read_model_card(model.folder).arguments["output"] == "probabilities"
    with torch.no_grad():
        found, expected = model.module(image).logits.softmax(1), Small()(image).softmax(1)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("sigmoids", "a separate sigmoid"), ("classes last", r"shape \(1, 16, 16, 16, 3\)")],
)
def test_answers_that_are_no_logits_are_refused(tmp_path: Path, kind: str, sentence: str) -> None:
    path = export(tmp_path / "from", "model.xml", Answers(kind))
    with pytest.raises(UserError, match=sentence):
        import_teacher(path, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (None, "model.xml does not say which images it is for"),
        ({"classes": {"background": 0, "organ": 1}}, "answers with 3 classes, but its card has 2"),
        ({"patch_size": [16, 16]}, "patch_size has 2 numbers, but dims is 3"),
        ({"in_channels": 2}, "cannot process an image of 16 x 16 x 16 voxels in 2 channels"),
    ],
)
def test_a_card_that_is_missing_or_wrong_is_refused(tmp_path: Path, card, sentence) -> None:
    path = export(tmp_path / "from", "model.xml")
    described = path.with_suffix(".json")
    described.unlink() if card is None else described.write_text(json.dumps(CARD | card), "utf-8")
    with pytest.raises(UserError, match=sentence) as caught:
        import_teacher(path, tmp_path / "teacher")
    assert caught.value.code == ("undescribed" if card is None else "user")
    assert not (tmp_path / "teacher").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "from", "model.xml")
    path.write_text("<net", "utf-8")
    with pytest.raises(UserError, match=r"model.xml cannot be read by OpenVINO"):
        import_teacher(path, tmp_path / "teacher")
    with pytest.raises(UserError):
        load_model(tmp_path / "teacher")


@pytest.mark.parametrize("name", ["model.onnx", "model.ts"])
def test_without_openvino_its_installation_is_named(tmp_path: Path, name: str, monkeypatch) -> None:
    path = export(tmp_path, name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="OpenVINO is not installed") as caught:
        import_teacher(path, tmp_path / "teacher", ImportOptions(trust=True))
    assert "pip install" in caught.value.remedy
    assert not (tmp_path / "teacher").exists()
