"""``jobs``: following a job does not end it, and only jobs that have ended are removed."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from job_cases import new_job

from napari_graphflow.cli import main
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.system.failures import Failure

FAILED = Status(state="failed", failure=Failure(code="user", text="No."))


def command(*arguments: object, expect: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code == expect


def until(condition, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


@pytest.fixture
def long_job(blobs: Path):
    config = TrainingConfig(
        dataset=blobs, network="enet", width=8, dims=2, patch_size=(16, 16), threads=1,
        steps=1_000_000, validate_every=1_000_000, device="cpu",
    )  # fmt: skip
    job = queue.start(create("train", config))
    yield job
    if job.status().active:
        job.cancel(timeout=5)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_an_interrupt_of_show_follow_leaves_the_job_running(long_job: Job) -> None:
    until(lambda: long_job.status().run.step > 0)
    terminal, line = pty.openpty()
    follower = subprocess.Popen(
        [sys.executable, "-m", "napari_graphflow", "jobs", "show", long_job.folder, "--follow"],
        stdin=line, stdout=line, stderr=line, start_new_session=True,
    )  # fmt: skip
    os.close(line)
    shown = b""
    while b"training" not in shown:
        shown += os.read(terminal, 4096)
    os.killpg(follower.pid, signal.SIGINT)
    while b"the job goes on" not in shown:
        shown += os.read(terminal, 4096)
    assert follower.wait(30) == 130
    os.close(terminal)
    step = long_job.status().run.step
    until(lambda: long_job.status().run.step > step)
    assert long_job.status().state == "running"


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_a_job_is_in_a_session_of_its_own(long_job: Job) -> None:
    until(lambda: long_job.status().state == "running")
    pid = long_job.status().process.pid
    assert os.getsid(pid) == pid != os.getsid(0)


def test_a_job_that_has_ended_is_removed_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, other = new_job(tmp_path, "one", FAILED), new_job(tmp_path, "two", FAILED)
    command("jobs", "remove", failed.name, expect=2)  # there is no terminal to ask in
    assert "--yes" in capsys.readouterr().err
    assert failed.folder.is_dir()
    command("jobs", "remove", failed.name, "--yes")
    assert list_jobs() == [other]
    assert "Deleted 1 job." in capsys.readouterr().out


def test_all_failed_jobs_are_removed_and_no_others(tmp_path: Path) -> None:
    kept = [
        new_job(tmp_path, state, Status(state=state)) for state in ("created", "paused", "done")
    ]
    for name in ("one", "two"):
        new_job(tmp_path, name, FAILED)
    command("jobs", "remove", "--all-failed", "--yes")
    assert sorted(list_jobs()) == sorted(kept)
    command("jobs", "remove", "--all-failed", "--yes")


def test_an_active_job_and_other_folders_are_not_removed(tmp_path: Path) -> None:
    waiting = new_job(tmp_path, "waiting", Status(state="queued"))
    command("jobs", "remove", waiting.folder, "--yes", expect=2)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "job.json").write_text("{}", "utf-8")
    command("jobs", "remove", folder, "--yes", expect=2)
    command("jobs", "remove", "--yes", expect=2)
    command("jobs", "remove", waiting.folder, "--all-failed", "--yes", expect=2)
    assert waiting.folder.is_dir()
    assert folder.is_dir()


def test_a_folder_with_other_files_than_those_of_a_job_is_not_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = new_job(tmp_path, "one", FAILED)
    (job.folder / "notes.txt").write_text("mine", "utf-8")
    command("jobs", "remove", job.folder, "--yes", expect=2)
    assert "1 file or folder not written by the job: notes.txt" in said(capsys)
    (job.folder / "notes.txt").unlink()
    copied = tmp_path / "thesis"
    copied.mkdir()
    for path in (job.spec_file, job.status_file):
        shutil.copy(path, copied)
    (copied / "artifacts").mkdir()
    (copied / "artifacts" / "thesis.docx").write_text("mine", "utf-8")
    command("jobs", "remove", copied, "--yes", expect=2)
    assert "was not created for the job" in said(capsys)
    assert (copied / "artifacts" / "thesis.docx").is_file()
    command("jobs", "remove", job.folder, "--yes")
    assert not job.folder.exists()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_link_to_a_job_is_not_removed(tmp_path: Path) -> None:
    job = new_job(tmp_path, "one", FAILED)
    link = tmp_path / "link"
    link.symlink_to(job.folder)
    with pytest.raises(UserError, match="is a link"):
        Job(link).delete()
    assert job.folder.is_dir()
    assert link.is_symlink()


def test_an_estimate_and_a_training_take_relative_paths(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(blobs.parent)
    short = ("--network", "enet", "--width", 8, "--steps", 1, "--validate-every", 1)
    small = (*short, "--dims", 2, "--patch-size", 16, 16, "--device", "cpu", "--threads", 1)
    command("train", blobs.name, *small, "--estimate")
    assert "free on cpu" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    dataset = os.path.relpath(blobs, tmp_path)
    command("train", dataset, *small, "--out", "models/new", "--json")
    model = json.loads(capsys.readouterr().out)["model"]
    assert model == str(tmp_path.resolve() / "models/new")
    assert (Path(model) / "model.json").is_file()


def test_an_unknown_network_is_refused_before_a_job_exists(
    blobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("train", blobs, "--network", "enett", expect=2)
    assert "Choose enet or" in capsys.readouterr().err
    assert list_jobs() == []
