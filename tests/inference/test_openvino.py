"""The OpenVINO form of a model, compared with torch, and used without it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from job_cases import new_job
from torch import nn
from waiting import until

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.openvino_form import form_folder, read_form
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch, load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.queue import start
from napari_graphflow.models import openvino_form
from napari_graphflow.models.saved import load_model, save_model
from napari_graphflow.networks import build
from napari_graphflow.system.events import Warned
from napari_graphflow.training.conversion import convert_result

pytest.importorskip("openvino")

CLASSES = {"background": 0, "organ": 1, "lesion": 2}
WITHOUT_TORCH = """
import sys
for name in ("torch", "monai", "safetensors", "lightning_fabric"):
    sys.modules[name] = None
from napari_graphflow.cli import main
sys.exit(main(sys.argv[1:]))
"""


def save(folder: Path, dims: int, network: str = "enet", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    spacing = (2.0, 1.0, 1.0)
    card = ModelCard(
        name="model", role="student", network=network, dims=dims, in_channels=1, classes=CLASSES,
        patch_size=(16,) * dims, width=8,
        preprocessing=Preprocessing(intensity="zscore", spacing=spacing),
    )  # fmt: skip
    module = build(network, 1, len(CLASSES), dims, 8)
    with torch.no_grad():
        # Otherwise all classes are equally likely, and differences would not be noticed.
        *_, last = (one for one in module.modules() if hasattr(one, "kernel_size"))
        last.weight *= 100
    save_model(folder, card, module)
    return folder


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHFLOW_ENGINE")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Converted models by their number of axes."""
    root = tmp_path_factory.mktemp("converted")
    folders = {dims: save(root / f"model{dims}", dims) for dims in (2, 3)}
    for folder in folders.values():
        openvino_form.convert(load_model(folder))
    return folders


def scan(shape: tuple[int, ...] = (21, 37, 19)) -> Volume:
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    noise[:3] = 0
    return Volume(noise, (2.5, 0.7, 0.8), (0, 0, 0), tuple(np.eye(3).ravel()))


@pytest.mark.parametrize("dims", [2, 3])
def test_masks_and_probabilities_equal_those_of_torch(
    converted: dict[int, Path], dims: int
) -> None:
    expected = segment(in_torch(load_model(converted[dims])), scan(), probabilities=True)
    model = load_for_inference(converted[dims], "cpu")
    found = segment(model, scan(), probabilities=True)
    assert found.device == "CPU, OpenVINO"
    assert expected.device == "CPU"
    np.testing.assert_array_equal(found.labels.array, expected.labels.array)
    assert len(np.unique(found.labels.array)) > 1
    np.testing.assert_allclose(
        found.probabilities.array.astype(float), expected.probabilities.array, atol=2e-3
    )
    without = segment(model, scan())
    assert (without.labels.array != found.labels.array).mean() < 1e-3  # ties by rounding


def test_parity_and_seconds_are_recorded(converted: dict[int, Path]) -> None:
    form = read_form(converted[3])
    assert form is not None
    assert 0 <= form.parity.probability_difference < 1e-3
    assert form.parity.equal_labels > 0.9999
    assert form.parity.torch_seconds > 0
    assert form.parity.openvino_seconds > 0


def test_a_form_of_other_weights_is_not_used(converted: dict[int, Path], tmp_path: Path) -> None:
    other = save(tmp_path / "other", 2, seed=1)
    form_folder(converted[2]).rename(form_folder(other))
    try:
        assert segment(load_for_inference(other, "cpu"), scan()).device == "CPU"
    finally:
        form_folder(other).rename(form_folder(converted[2]))


@pytest.mark.parametrize("damage", ["no file", "cut", "not XML", "no record"])
def test_a_damaged_form_falls_back_to_torch(
    converted: dict[int, Path], tmp_path: Path, damage: str
) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(converted[2], folder)
    network, record = form_folder(folder) / "model.xml", form_folder(folder) / "form.json"
    if damage == "no file":
        network.unlink()
    elif damage == "no record":
        record.write_text("{}")
    else:
        text = network.read_text("utf-8")
        network.write_text(text[: len(text) // 2] if damage == "cut" else "nothing", "utf-8")
    assert segment(load_for_inference(folder, "cpu"), scan()).device == "CPU"


@pytest.mark.slow
def test_a_network_that_computes_something_else_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model", 2)
    monkeypatch.setattr(openvino_form, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differs from PyTorch"):
        openvino_form.convert(load_model(folder))
    assert not form_folder(folder).exists()


def test_a_student_segments_a_file_without_torch(
    converted: dict[int, Path], tmp_path: Path
) -> None:
    write_volume(tmp_path / "scan.nii.gz", scan())
    expected = segment(in_torch(load_model(converted[2])), read_volume(tmp_path / "scan.nii.gz"))
    command = ["segment", tmp_path / "scan.nii.gz", "--model", converted[2], "--out"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, command), str(tmp_path / "mask.nii.gz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mask = read_volume(tmp_path / "mask.nii.gz").array
    assert (mask != expected.labels.array).mean() < 1e-3


def test_a_model_without_its_form_needs_torch_and_says_so(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", 2)
    write_volume(tmp_path / "scan.nii.gz", scan())
    command = ["segment", tmp_path / "scan.nii.gz", "--model", folder, "--out", tmp_path / "m.nii"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, command), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "PyTorch" in json.dumps(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_a_finished_job_has_converted_its_model(tmp_path: Path, blobs: Path) -> None:
    job = new_job(
        blobs, network="enet", role="student", width=8, steps=2, patch_size=(16, 16, 16),
        threads=1, validate_every=2,
    )  # fmt: skip
    start(job)
    until(lambda: job.status().state == "done")
    assert read_form(job.model) is not None
    assert (job.status().run.step, job.status().run.total) == (2, 2)
    assert load_for_inference(job.model, "cpu").engine.title == "CPU, OpenVINO"


class _Unsupported(nn.Module):
    """A network with an operation that OpenVINO does not have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.inner(x))


def test_an_unsupported_operator_is_one_sentence_and_torch_goes_on(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", 2)
    model = load_model(folder)
    model.adapter.module = _Unsupported(model.adapter.module)
    with pytest.raises(UserError, match="cannot convert the network") as refused:
        openvino_form.convert(model)
    assert len(str(refused.value).splitlines()) == 1
    assert not form_folder(folder).exists()
    assert segment(load_for_inference(folder, "cpu"), scan()).device == "CPU"


def test_a_job_whose_model_cannot_be_converted_is_done_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(model: object) -> None:
        raise UserError("OpenVINO cannot convert it.", "The model runs in PyTorch.")

    monkeypatch.setattr(openvino_form, "convert", convert)
    save(JobPaths(tmp_path).model, 2)
    *_, last = convert_result(tmp_path)
    assert isinstance(last, Warned)
    assert "cannot convert" in last.text


def test_a_processor_without_the_instructions_falls_back_to_torch(
    converted: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("unsupported instruction set")

    monkeypatch.setattr("openvino.Core.compile_model", refuse)
    assert segment(load_for_inference(converted[2], "cpu"), scan()).device == "CPU"


def test_a_cache_that_cannot_be_written_only_costs_time(
    converted: dict[int, Path], home: Path
) -> None:
    (home / "openvino").write_text("not a folder", "utf-8")
    assert segment(load_for_inference(converted[2], "cpu"), scan()).device == "CPU, OpenVINO"


def test_damaged_blobs_in_the_cache_change_no_mask(converted: dict[int, Path], home: Path) -> None:
    expected = segment(load_for_inference(converted[2], "cpu"), scan()).labels.array
    blobs = list((home / "openvino").glob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.write_bytes(b"of another version" + blob.read_bytes()[20:200])
    found = segment(load_for_inference(converted[2], "cpu"), scan()).labels.array
    np.testing.assert_array_equal(found, expected)
