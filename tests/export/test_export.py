"""Exported models: run by their own script, compared with PyTorch."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from export_cases import CLASSES, save

from napari_graphflow.cli import main
from napari_graphflow.config import exports
from napari_graphflow.config.exports import ExportParity, Limits
from napari_graphflow.errors import UserError
from napari_graphflow.export.folder import export_model
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.saved import load_model

DIRECT = [
    pytest.param(kind, marks=pytest.mark.skipif(find_spec(package) is None, reason=package))
    for kind, package in (("onnx", "onnx"), ("openvino", "openvino"))
]
WITHOUT_THIS_PROJECT = """
import runpy, sys
for name in ("napari_graphflow", "torch", "monai", "pydantic", "scipy"):
    sys.modules[name] = None
sys.argv[:] = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def scan(shape: tuple[int, ...] = (9, 37, 19), channels: int = 0) -> Volume:
    random = np.random.default_rng(0)
    noise = random.normal(size=shape + ((channels,) if channels else ())).astype(np.float32)
    return Volume(noise, (2.5, 0.7, 0.8), (3, 0, 1), (0, 1, 0, -1, 0, 0, 0, 0, 1), channels > 0)


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script of an export where neither this project nor torch can be imported."""
    command = [sys.executable, "-c", WITHOUT_THIS_PROJECT, folder / "segment.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "model", channels=2)


@pytest.fixture(scope="module", params=DIRECT)
def exported(
    model: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, ExportParity]:
    out = tmp_path_factory.mktemp("out") / "folder"
    return out, export_model(model, request.param, out)


def test_an_export_computes_the_same_and_is_described(exported) -> None:
    folder, parity = exported
    assert parity == ExportParity.model_validate_json((folder / "parity.json").read_text())
    assert [one.case for one in parity.cases] == ["generated 1", "generated 2"]
    assert all(set(one.dice) == {"organ", "lesion"} for one in parity.cases)
    assert all(one.export_seconds > 0 and one.torch_seconds > 0 for one in parity.cases)
    readme = (folder / "README.md").read_text("utf-8")
    assert "| 2 | lesion |" in readme
    assert "Licence: CC0" in readme


def test_the_script_needs_neither_this_project_nor_torch(exported, model, tmp_path: Path) -> None:
    both = scan(channels=2)
    files = [tmp_path / f"scan_{index:04}.nii.gz" for index in (0, 1)]
    for index, file in enumerate(files):
        write_volume(file, both.with_array(both.array[..., index]))
    done = run(exported[0], *files, "--out", tmp_path / "mask.nii.gz")
    assert done.returncode == 0, done.stderr
    expected = segment(in_torch(load_model(model)), both)
    found = read_volume(tmp_path / "mask.nii.gz")
    assert found.same_grid(both)
    assert (found.array != expected.labels.array).mean() < 1e-3


def test_a_scan_of_too_few_channels_is_refused_by_the_script(exported, tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii.gz", scan())
    done = run(exported[0], tmp_path / "scan.nii.gz", "--out", tmp_path / "mask.nii.gz")
    assert done.returncode == 2
    assert done.stderr.startswith("error: The network needs 2 channels, but the image has 1.")


def test_a_damaged_export_is_one_sentence(exported, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported[0], folder)
    network = next(one for one in folder.iterdir() if one.suffix in (".onnx", ".xml"))
    network.write_bytes(network.read_bytes()[:500])
    write_volume(tmp_path / "a.nii.gz", scan())
    files = [tmp_path / "a.nii.gz"] * 2
    done = run(folder, *files, "--out", tmp_path / "mask.nii.gz")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {network.name} is missing, damaged, or needs another")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_an_onnx_file_names_its_classes_spacing_and_licence(exported) -> None:
    onnx = pytest.importorskip("onnx")
    if not (exported[0] / "model.onnx").exists():
        pytest.skip("not the export to ONNX")
    network = onnx.load(exported[0] / "model.onnx")
    facts = {one.key: one.value for one in network.metadata_props}
    assert json.loads(facts["classes"]) == CLASSES
    assert json.loads(facts["spacing"]) == [2.0, 1.0, 1.0]
    assert facts["licence"] == "CC0"
    sides = [axis.dim_param for axis in network.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", "", "height", "width"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (3, {"intensity": "ct_window", "spacing": (1.5, 1.5, 1.5), "axes": ("x", "z", "y")}),
        (2, {"intensity": "percentile", "orientation": "stored", "spacing": None}),
        (2, {"intensity": "range", "spacing": None, "size": (40, 24)}),
        (2, {"intensity": "mean_std", "mean": (5.0,), "std": (2.0,), "clip": (-3.0, 9.0)}),
    ],
)
def test_all_kinds_of_preprocessing_are_exported(tmp_path: Path, dims, options) -> None:
    pytest.importorskip("openvino")
    parity = export_model(save(tmp_path / "model", dims, **options), "openvino", tmp_path / "out")
    assert parity.problem == ""


def test_an_export_that_differs_is_not_finished_and_the_exit_code_is_3(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("openvino")
    strict = Limits(probability_difference=-1.0, equal_labels=0.0, dice=0.0)
    info = exports.EXPORTS["openvino"]._replace(limits=strict)
    monkeypatch.setitem(exports.EXPORTS, "openvino", info)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), "--to", "openvino", "--out", str(tmp_path / "out")])
    assert ended.value.code == 3
    message = capsys.readouterr().err
    assert "not finished: on generated 1 it differs by" in message
    assert "Nothing was written" in message
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_and_a_missing_package_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="already exists"):
        export_model(model, "openvino", model)
    info = exports.EXPORTS["openvino"]._replace(packages=("no_such_package",))
    monkeypatch.setitem(exports.EXPORTS, "openvino", info)
    with pytest.raises(UserError, match="no_such_package is not installed") as caught:
        export_model(model, "openvino", tmp_path / "out")
    assert "pip install" in caught.value.remedy


@pytest.mark.slow
def test_an_export_in_8_bits_is_quantised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nncf")
    # Random weights are more sensitive than trained ones.
    limits = Limits(probability_difference=None, equal_labels=0.5, dice=0.5)
    info = exports.EXPORTS["openvino-int8"]._replace(limits=limits)
    monkeypatch.setitem(exports.EXPORTS, "openvino-int8", info)
    parity = export_model(save(tmp_path / "model", 2), "openvino-int8", tmp_path / "out")
    assert parity.problem == ""
    text = (tmp_path / "out" / "model.xml").read_text("utf-8")
    assert "FakeQuantize" in text
