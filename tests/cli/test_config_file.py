"""``--config``, ``plan``, ``jobs show`` and ``jobs rerun``: runs as files."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from napari_graphflow.cli import app, main
from napari_graphflow.cli.config_file import config_of
from napari_graphflow.cli.train import distillation
from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.labelling import ProposalConfig, RoundConfig
from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.training.planning import plan


def parsed(*arguments: str) -> dict:
    app.config = config_of(arguments)
    return app.parse_args(arguments, exit_on_error=False, print_error=False)[1].arguments


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(one) for one in arguments])
    return end.value.code


def file(path: Path, content: dict) -> str:
    text = json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content)
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_options_beside_a_file_of_settings_take_precedence(tmp_path, name):
    settings = {"dataset": "d", "steps": 77, "patch_size": [64, 32], "dims": 2, "mirror": []}
    settings["preprocessing"] = {"intensity": "ct_window", "window": [-100, 200]}
    path = file(tmp_path / name, settings)
    expected = TrainingConfig(
        dataset=Path("d"), steps=5, patch_size=(64, 32), dims=2, mirror=(),
        preprocessing=Preprocessing(intensity="ct_window", window=(-100, 200)),
    )  # fmt: skip
    assert parsed("train", "--config", path, "--steps", "5")["config"] == expected


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_of_a_job_are_read_as_they_are(tmp_path, method):
    config = DistillationConfig(
        dataset=Path("d"), teacher=Path("t"), method={"name": method}, mirror=(), unlabelled=False,
        preprocessing=Preprocessing(spacing=(1, 0, 2), clip=(0, 5)), sources=("A",),
    )  # fmt: skip
    job = create("distill", config, tmp_path)
    found = distillation(parsed("distill", f"--config={job.folder}")["config"])
    assert found == job.config


def test_a_job_of_another_kind_a_wrong_name_and_a_missing_file_are_refused(tmp_path, capsys):
    job = create("train", TrainingConfig(dataset=Path("d")), tmp_path)
    assert exit_code("distill", "--config", job.folder) == 2
    assert exit_code("train", "--config", file(tmp_path / "a.yaml", {"stepz": 3})) == 2
    assert exit_code("train", "--config", tmp_path / "none.yaml") == 2
    (tmp_path / "b.yaml").write_text("a: [", "utf-8")
    assert exit_code("train", "--config", tmp_path / "b.yaml") == 2
    shown = capsys.readouterr().err
    for part in ("job of a train", "stepz", "no file", "cannot be read"):
        assert part in shown


def test_a_plan_gives_the_reasons_and_is_read_by_train(blobs, tmp_path, capsys):
    out = tmp_path / "run.yaml"
    assert exit_code("plan", "--dataset", blobs, "--network", "enet", "--out", out) == 0
    reasons = capsys.readouterr().err
    assert "Patch 16 x 16 x 16: the largest multiples of 16" in reasons
    assert "Intensity zscore" in reasons
    assert "not resampled" in reasons
    planned = parsed("train", "--config", str(out))["config"]
    assert planned == plan(TrainingConfig(dataset=blobs, network="enet"))[0]
    assert exit_code("plan", "--dataset", blobs, "--out", out) == 2


def test_a_job_shows_its_settings_and_is_run_again(blobs, home, capsys, monkeypatch):
    config = TrainingConfig(dataset=blobs, network="enet", steps=7)
    job = create("train", config)
    assert exit_code("jobs", "show", job.folder) == 0
    shown = capsys.readouterr().out.partition("defaults:")[2]
    assert yaml.safe_load(shown) == {"dataset": str(blobs), "network": "enet", "steps": 7}
    monkeypatch.setattr(sys.modules["napari_graphflow.cli.jobs"], "submit", lambda job: job)
    assert exit_code("jobs", "rerun", job.folder, "--detach") == 0
    again = next(one for one in list_jobs() if one != job)
    assert again.config == job.config


def test_a_job_from_elsewhere_is_not_run_again_unasked(blobs, tmp_path, capsys):
    job = create("train", TrainingConfig(dataset=blobs, network="enet"), tmp_path / "jobs")
    spec = json.loads(job.spec_file.read_text("utf-8"))
    job.spec_file.write_text(json.dumps(spec | {"title": "changed"}), "utf-8")
    assert exit_code("jobs", "rerun", job.folder) == 2
    assert "was not created here" in capsys.readouterr().err
    assert len(list_jobs(tmp_path / "jobs")) == 1


def test_the_settings_of_comparisons_and_proposals_are_read_as_they_are(tmp_path):
    compared = ComparisonConfig(a="x", b="y", dataset="d", split="val", names=True, name="title")
    job = create("compare", compared, tmp_path)
    found = parsed("compare", "--config", str(job.folder), "--report", "r.html", "--b", "z")
    assert found.items() >= {
        "a": Path("x").resolve(), "b": Path("z"), "dataset": Path("d").resolve(), "split": "val",
        "names": True, "title": "title",
    }.items()  # fmt: skip
    job = create("propose", ProposalConfig(dataset="d", model="m", cases=("a", "b")), tmp_path)
    found = parsed("propose", "--config", str(job.folder))
    assert found["folder"] == Path("d").resolve()
    assert (found["model"], found["cases"]) == (Path("m").resolve(), ("a", "b"))


@pytest.mark.parametrize("masks_only", [False, True])
def test_the_settings_of_a_round_are_read_as_they_are(tmp_path, masks_only):
    own = {"dataset": Path("d"), "network": "enet", "steps": 7, "batch_size": 3, "name": "mine"}
    network = TrainingConfig(**own)
    if not masks_only:
        network = DistillationConfig(**own, teacher="t", method={"name": "emkd"})
    teacher = TrainingConfig(dataset="d", network="unet", steps=9, width=8)
    config = RoundConfig(
        dataset="d", number=1, network=network, teacher=None if masks_only else teacher, alone=False
    )
    job = create("round", config, tmp_path)
    found = parsed("rounds", "start", "--config", str(job.folder))
    options = found["config"]
    assert (options.network, options.steps, options.batch_size) == ("enet", 7, 3)
    assert (found.get("masks_only", False), found["alone"]) == (masks_only, False)
    if not masks_only:
        assert (found["method"], found["teacher_network"]) == ("emkd", "unet")
        assert (found["teacher_steps"], found["teacher_width"]) == (9, 8)
    assert "teacher" not in found
    assert exit_code("train", "--config", job.folder) == 2


def test_folds_are_drawn_by_patient_and_each_case_is_validated_once(blobs, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(blobs, data)
    assert exit_code("datasets", "folds", data) == 2, "it has a split already"
    assert "--overwrite" in capsys.readouterr().err
    own = (data / "splits.json").read_bytes()
    assert exit_code("datasets", "folds", data, "--number", "3", "--overwrite") == 0
    assert (data / "splits.json.1").read_bytes() == own
    assert not (data / "splits.json").exists()
    (data / "splits_final.json").unlink()
    assert exit_code("train", "--dataset", data, "--network", "enet", "--folds", "2") == 2
    assert "datasets folds" in capsys.readouterr().err
    assert exit_code("datasets", "folds", data, "--number", "3") == 0
    folds = json.loads((data / "splits_final.json").read_text("utf-8"))
    assert sorted(name for one in folds for name in one["val"]) == ["blob_0", "blob_1", "blob_5"]
    assert all(not set(one["val"]) & set(one["train"]) for one in folds)
    assert exit_code("datasets", "folds", data, "--number", "9") == 2


def test_more_gpus_than_there_are_or_than_divide_the_batch_are_refused(blobs, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["napari_graphflow.cli.train"], "devices", list)
    asked = ("train", "--dataset", blobs, "--network", "enet", "--gpus")
    assert exit_code(*asked, "2") == 2
    assert exit_code(*asked, "3") == 2
    shown = capsys.readouterr().err
    assert "0 NVIDIA GPUs" in shown
    assert "multiple of --gpus" in shown


@pytest.mark.parametrize(
    ("command", "settings", "beside", "expected"),
    [
        ("export", {"model": "m", "to": "onnx", "out": "o"}, "--to=openvino", {"to": "openvino"}),
        ("demo", {"seeds": [3, 4], "window": False}, "--out=o", {"seeds": (3, 4), "window": False}),
        ("datasets import", {"images": "i", "out": "o"}, "--name=n", {"images": Path("i")}),
        ("models check", {"model": "m", "dataset": "d"}, "--min-dice=0.3", {"min_dice": 0.3}),
        ("models import", {"out": "o", "fold": ["0"]}, "--name=n", {"fold": ("0",), "name": "n"}),
        ("models ensemble", {"out": "o", "name": "n"}, "--name=m", {"out": Path("o"), "name": "m"}),
        ("datasets folds", {"folder": "d", "number": 3}, "--number=4", {"number": 4}),
        ("datasets export-mask", {"series": "2"}, "--names", {"series": "2", "names": True}),
        ("volumes convert", {"path": "a", "series": "2"}, "--out=b", {"series": "2"}),
    ],
)
def test_further_commands_take_a_file_of_settings(tmp_path, command, settings, beside, expected):
    path = file(tmp_path / "run.yaml", settings)
    given = {"models import": 1, "models ensemble": 2, "datasets export-mask": 3}
    words = [*command.split(), *["given"] * given.get(command, 0)]
    found = parsed(*words, "--config", path, beside)
    assert {name: found[name] for name in expected} == expected
