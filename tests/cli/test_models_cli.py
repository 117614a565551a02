"""``models list`` and ``models convert``."""

import json
from pathlib import Path

import pytest
from export_cases import save

from napari_graphflow.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


def test_a_converted_model_is_listed_with_its_engine_and_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    save(tmp_path / "small")
    save(tmp_path / "other")
    assert run("models", "convert", tmp_path / "small", "--json") == 0
    (parity,) = json.loads(capsys.readouterr().out)
    assert parity["probability_difference"] < 1e-3
    assert run("models", "list", tmp_path, "--json") == 0
    other, small = json.loads(capsys.readouterr().out)
    assert (other["engine"], other["seconds"]) == ("PyTorch", None)
    assert (small["engine"], small["seconds"]) == ("OpenVINO", parity["openvino_seconds"])
    assert run("models", "list", tmp_path) == 0
    assert "OpenVINO" in capsys.readouterr().out


def test_a_missing_model_or_folder_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    assert run("models", "convert", tmp_path / "none") == 2
    assert run("models", "list", tmp_path / "none") == 2


def test_an_empty_list_says_which_folder_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "list", tmp_path) == 0
    said = capsys.readouterr().out
    assert str(tmp_path) in said and "models list FOLDER" in said
