"""``--folds`` of train and distill: a model for each fold, and their ensemble."""

import json
import shutil
from pathlib import Path

import pytest

from napari_graphflow.cli import main
from napari_graphflow.config.model_card import read_model_card, weights_hash


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_each_fold_learns_from_its_own_teacher_and_all_become_one_model(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, teachers, students = tmp_path / "data", tmp_path / "teachers", tmp_path / "students"
    shutil.copytree(blobs, data)
    (data / "splits.json").unlink()
    assert run("datasets", "folds", data, "--number", "2") == 0
    common = ("--dataset", data, "--steps", "2", "--patch-size", "16", "16", "16", "--threads", "1",
              "--validate-every", "2", "--folds", "2", "--json")  # fmt: skip
    small = ("--network", "unet", "--width", "4")
    assert run("train", *common, *small, "--out", teachers) == 0
    capsys.readouterr()
    learns = ("--network", "enet", "--width", "8", "--method", "logits", "--teacher-min-dice", "0")
    assert run("distill", *common, *learns, "--teacher", teachers, "--out", students) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["fold"] for one in found["folds"]] == [0, 1]
    assert Path(found["ensemble"]) == (students / "ensemble").resolve()
    for fold in (0, 1):
        made = read_model_card(students / f"fold_{fold}").provenance
        assert made is not None
        assert made.run is not None
        assert made.teacher is not None
        assert made.run.fold == fold
        assert made.teacher.sha256 == weights_hash(teachers / f"fold_{fold}")
    assert read_model_card(students / "ensemble").members == 2
    assert run("distill", *common, *learns, "--teacher", teachers, "--out", students) == 2
    assert run("train", *common, *small, "--out", tmp_path / "new", "--detach") == 2
