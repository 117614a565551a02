"""The command line, run in separate processes."""

import errno
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.cli import main
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.runners import Local
from napari_graphflow.system.failures import Failure

SMALL = [
    "--width", "4", "--steps", "2", "--validate-every", "2", "--patch-size", "16", "16", "16",
    "--batch-size", "1", "--threads", "1", "--device", "cpu",
]  # fmt: skip


def cli(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napari_graphflow", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def models(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and a student, trained and distilled by the command line alone."""
    folder = tmp_path_factory.mktemp("models")
    os.environ["GRAPHFLOW_HOME"] = str(folder / "home")
    trained = cli("train", blobs, *SMALL, "--out", folder / "teacher", "--json")
    assert json.loads(trained.stdout)["state"] == "done"
    distilled = cli(
        *("distill", "--dataset", blobs, "--teacher", folder / "teacher", *SMALL[2:]),
        *("--width", "8", "--network", "enet", "--graph-flow.paraphraser-steps", "2"),
        *("--teacher-min-dice", "0"),
        *("--out", folder / "student"),
    )
    assert "model:" in distilled.stdout
    return folder


def test_masks_and_scores_of_a_distilled_student(models, blobs, tmp_path):
    out = tmp_path / "masks"
    cli("segment", blobs / "imagesTs", "--model", models / "student", "--out", out)
    for name in ("blob_6", "blob_7"):
        image = sitk.ReadImage(str(blobs / "imagesTs" / f"{name}_0000.nii.gz"))
        mask = sitk.ReadImage(str(out / f"{name}.nii.gz"))
        assert mask.GetSize() == image.GetSize()
        assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
        assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
        assert mask.GetDirection() == pytest.approx(image.GetDirection())
        names = json.loads((out / f"{name}.nii.gz.labels.json").read_text("utf-8"))
        assert names == {"labels": {"background": 0, "organ": 1, "lesion": 2}}
    by_model = cli("evaluate", blobs, "--model", models / "student", "--json")
    by_files = cli("evaluate", blobs, "--predictions", out, "--out", tmp_path / "scores", "--json")
    table = cli(
        *("evaluate", blobs, "--predictions", out),
        *("--organs", "whole=organ+lesion", "--lesions", "lesion"),
    )
    assert "VOE" in table.stdout
    assert "whole" in table.stdout
    assert "of 2 lesions found" in table.stdout
    first, second = json.loads(by_model.stdout), json.loads(by_files.stdout)
    assert first["cases"] == second["cases"]
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert rows[0].startswith("case,class,dice_score")
    assert len(rows) == 1 + 2 * 2
    assert json.loads((tmp_path / "scores.json").read_text())["split"] == "test"


def test_finished_jobs_are_listed_and_shown(models, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_HOME", str(models / "home"))
    listed = json.loads(cli("jobs", "list", "--json").stdout)
    assert [row["state"] for row in listed] == ["done", "done"]
    shown = cli("jobs", "show", Path(listed[0]["folder"]).name).stdout
    assert "done" in shown
    assert "val dice" in shown


def test_the_list_of_jobs_shows_the_remaining_time(tmp_path):
    for state in ("running", "paused"):
        job = create("train", TrainingConfig(dataset=tmp_path, name=state))
        with job.writing():
            status = Status(
                state=state,
                run=RunReport(eta_s=7512.4),
                process=Process(host="elsewhere", heartbeat=time.time()),
            )
            job.write_status(status)
    head, paused, running = cli("jobs", "list").stdout.splitlines()
    assert "left" in head
    assert "2 h 05" in running
    assert "2 h 05" not in paused


@pytest.mark.slow
def test_a_detached_job_can_be_cancelled(models, blobs, tmp_path):
    long = [*SMALL, "--steps", "100000"]
    del long[2:4]
    folder = cli("train", blobs, *long, "--detach").stdout.strip()
    assert "cancelled" in cli("jobs", "cancel", folder).stdout
    assert "cancelled" in cli("jobs", "show", folder).stdout


def test_a_paused_job_exits_with_code_0_and_explains_how_to_resume(
    blobs, tmp_path, monkeypatch, capsys
):
    class Pausing(Local):
        def submit(self, job: Job) -> None:
            job.write_status(Status(state="paused"))

    module = import_module("napari_graphflow.cli.train")
    monkeypatch.setattr(module, "get_runner", lambda *_: Pausing())
    config = TrainingConfig(dataset=blobs, network="unet")
    assert module.train(config, out=tmp_path / "model") == 0
    stderr = capsys.readouterr().err
    (job,) = list_jobs()
    assert f"Paused. Resume with: napari-graphflow jobs resume {job.name}\n" in stderr
    assert f"copy its model from {job.model} to {tmp_path / 'model'}." in stderr
    assert "model:" not in stderr


def test_invalid_input_gives_one_sentence_and_exit_code_2(models, blobs, tmp_path, capsys):
    image = tmp_path / "image.png"
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((20, 20, 3), np.uint8), isVector=True), str(image)
    )
    truncated = tmp_path / "truncated.nii.gz"
    whole = (blobs / "imagesTs" / "blob_6_0000.nii.gz").read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    unlabelled = tmp_path / "unlabelled"
    (unlabelled / "imagesTr").mkdir(parents=True)
    (unlabelled / "labelsTr").mkdir()
    (unlabelled / "dataset.json").write_text((blobs / "dataset.json").read_text())
    (unlabelled / "imagesTr" / "a_0000.nii.gz").write_bytes(whole)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    small = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    for name in ("blob_6", "blob_7"):
        sitk.WriteImage(small, str(wrong / f"{name}.nii.gz"))
    student, out = models / "student", tmp_path / "out"
    distil = ["distill", "--dataset", blobs, "--teacher", models / "teacher"]
    for words, arguments in {
        "error: --method: Input should be 'graph_flow', 'emkd'": [*distil, "--method", "emdk"],
        "error: --batch-size: Input should be greater": [*distil, "--batch-size=-3"],
        "error: --emkd.power: Input should be less": [*distil, "--emkd.power", "90"],
        "--emkd.* are not options of the method graph_flow": [*distil, "--emkd.power", "2"],
        "error: --task chooses the method itself": [
            *distil,
            *("--task", "organs", "--method", "emkd"),
        ],
        "--dist.* are not options of the method graph_flow.": [
            *distil,
            *("--task", "organs", "--dist.weight", "2"),
        ],
        "error: patch_size has 2 numbers but dims is 3": [*distil, "--patch-size", "3", "4"],
        "error: Unknown option: --bach-size=3. Did you mean --batch-size?": [
            *distil,
            "--bach-size=3",
        ],
        "There is no file or folder": [
            "segment",
            "nowhere.nii.gz",
            "--model",
            student,
            "--out",
            out,
        ],
        "truncated.nii.gz": ["segment", truncated, "--model", student, "--out", out],
        "it needs 3D volumes": ["segment", image, "--model", student, "--out", out],
        "not a saved model": ["segment", truncated, "--model", tmp_path, "--out", out],
        "no labelled training case": ["train", unlabelled, *SMALL],
        "3 x 4 x 5": ["evaluate", blobs, "--predictions", wrong],
        "only 2 have a mask": ["train", blobs, *SMALL, "--labelled", "9"],
        "before there is a model": ["train", blobs, *SMALL, "--out", out, "--detach"],
        "dims": ["train", blobs, "--dims", "4"],
        "has 2 numbers but dims is 3": ["train", blobs, "--patch-size", "16", "16"],
    }.items():
        with pytest.raises(SystemExit) as end:
            main([str(one) for one in arguments])
        written = " ".join(capsys.readouterr().err.split())
        assert end.value.code == 2 and words in written, (words, written)
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", 4),
        (RuntimeError("CUDA error: unspecified launch failure"), "gpu", 7),
        (MemoryError(), "out_of_memory", 3),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "not_installed", 2),
        (OSError("of no known kind"), "unexpected", 1),
    ],
)
def test_the_exit_code_of_a_failure_is_that_in_the_json(
    monkeypatch, capsys, error, code, exit_code
):
    def broken(*_):
        raise error

    monkeypatch.setattr(import_module("napari_graphflow.cli.jobs"), "list_devices", broken)
    with pytest.raises(SystemExit) as end:
        main(["jobs", "devices", "--json"])
    printed = capsys.readouterr()
    failure = Failure.model_validate(json.loads(printed.out)["failure"])
    assert (failure.code, failure.exit_code, end.value.code) == (code, exit_code, exit_code)
    assert printed.err == f"error: {failure}\n"


def test_an_unexpected_error_keeps_its_traceback_and_is_printed_as_json(monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("of the program")

    monkeypatch.setattr(import_module("napari_graphflow.cli.jobs"), "list_devices", broken)
    with pytest.raises(ZeroDivisionError):  # with which Python exits with code 1
        main(["jobs", "devices", "--json"])
    assert json.loads(capsys.readouterr().out)["failure"]["exit_code"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobs", "devices", "--unknown"], "--unknown"),
        (["train", "nowhere", "--steps", "-1"], "--steps: "),
    ],
)
def test_invalid_arguments_with_json_are_printed_as_json(capsys, arguments, words):
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    printed = capsys.readouterr()
    failure = Failure.model_validate(json.loads(printed.out)["failure"])
    assert (failure.code, failure.exit_code, end.value.code) == ("user", 2, 2)
    assert words in failure.text and printed.err.startswith("error: ")


def test_a_failure_of_a_command_with_json_is_printed_as_json(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["datasets", "check", str(tmp_path / "missing"), "--json"])
    printed = capsys.readouterr()
    failure = Failure.model_validate(json.loads(printed.out)["failure"])
    assert (failure.code, failure.exit_code, end.value.code) == ("user", 2, 2)
    assert str(tmp_path / "missing") in failure.text and failure.remedy
    assert printed.err.startswith("error: ")


def test_help_lists_every_command():
    text = cli("--help").stdout
    for command in ("datasets", "train", "distill", "segment", "evaluate", "jobs", "demo"):
        assert command in text
    assert "paraphraser" in cli("distill", "--help").stdout
