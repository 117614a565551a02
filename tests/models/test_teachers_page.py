"""The commands of docs/teachers.md for masks and whole networks, run as they are written."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from prediction_cases import NEEDED, truth, write_mask

from napari_graphflow.cli import main
from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.jobs.readiness import check_run

PAGE = Path(__file__).parent.parent.parent / "docs" / "teachers.md"


def commands(section: str) -> list[list[str]]:
    text = PAGE.read_text("utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line)[1:] for line in block.splitlines()]


@pytest.fixture
def place(blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the dataset of the page, and its predictions."""
    shutil.copytree(blobs, tmp_path / "liver-pilot")
    described = tmp_path / "liver-pilot" / "dataset.json"
    content = json.loads(described.read_text("utf-8"))
    content["labels"] = {"background": 0, "liver": 1, "tumour": 2}
    described.write_text(json.dumps(content), "utf-8")
    for number in NEEDED:
        labels, image = truth(blobs, number)
        cyst = (labels == 2) & (np.arange(20) < 10)
        values = np.where(cyst, 9, np.where(labels == 2, 7, labels)).astype(np.uint8)
        write_mask(tmp_path / "predictions" / f"blob_{number}.nii.gz", values, image)
    names = {"labels": {"background": 0, "Liver": 1, "lesion": 7, "cyst": 9}}
    (tmp_path / "predictions" / "dataset.json").write_text(json.dumps(names), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(words: list[str]) -> None:
    """Check that a distillation of the page could start."""
    options = dict(zip(words[1::2], words[2::2], strict=False))
    check_run(
        DistillationConfig(
            dataset=Path(options["--dataset"]),
            teacher=Path(options["--teacher"]),
            network=options["--network"],
            method=METHODS[options["--method"]].options(),
        )
    )


def test_masks_become_a_teacher_by_the_commands_of_the_page(place: Path) -> None:
    importing, distilling = commands("A folder of predictions")
    with pytest.raises(SystemExit, match="0"):
        main(importing)
    assert read_model_card(place / "teacher").mapping["cyst"] == "tumour"
    checked(distilling)


def test_a_network_in_python_becomes_a_teacher_by_the_lines_of_the_page(place: Path) -> None:
    pytest.importorskip("openvino")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    card = read_model_card(place / "teacher")
    assert (card.name, card.kind) == ("Conv3d", "answers only")


def test_a_network_becomes_a_teacher_by_the_commands_of_the_page(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x = ops.parameter([-1, 1, -1, -1, -1], np.float32, name="x")
    third = np.array([-8, -4, 8], np.float32).reshape(1, 3, 1, 1, 1)
    logits = ops.add(
        ops.multiply(x, third / 100), np.array([4, 3, -12], np.float32).reshape(third.shape)
    )
    network = openvino.Model([logits], [x], "network")
    openvino.save_model(network, place / "network.xml", False)
    card = {
        "dims": 3, "in_channels": 1, "patch_size": [16, 16, 16],
        "classes": {"background": 0, "liver": 1, "tumour": 2},
        "preprocessing": {"intensity": "none"},
    }  # fmt: skip
    (place / "network.json").write_text(json.dumps(card), "utf-8")
    safe, _, distilling = commands("ONNX, OpenVINO, TorchScript and torch.export")
    assert safe[2] == "network.onnx"
    with pytest.raises(SystemExit, match="0"):
        main([word.replace(".onnx", ".xml") for word in [*safe, "--force"]])
    checked(distilling)
    assert "Teacher: mean Dice" in capsys.readouterr().out
