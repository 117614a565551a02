"""A job's folder that names a cluster, and a cluster that names files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_cases import new_job

from napari_graphflow.cli import main
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.runners import runner_of
from napari_graphflow.runners.foreign import accept_job, named_elsewhere
from napari_graphflow.runners.ray import node
from napari_graphflow.runners.ray.transfer import Transfer
from napari_graphflow.system.files import path_inside

ADDRESS, CLIENT = "http://stranger:8265", "ray://stranger:10001"
ESCAPES = ["../../x", "/x", "a/../../x", "..", "", "..\\x", "models/../../x"]


@pytest.fixture
def forged(monkeypatch: pytest.MonkeyPatch, home: Path) -> Job:
    """A queued job whose folder names a cluster that nobody has chosen here."""

    def called(*_: Any) -> None:
        raise AssertionError("the cluster was called")

    monkeypatch.setattr("napari_graphflow.runners.ray.runner.engine", called)
    job = new_job(home)
    job.write_status(Status(state="queued", process=Process(runner="ray", launched=1e12)))
    note = {"runner": "ray-packed", "address": ADDRESS, "client": CLIENT, "workers": 1, "id": "x"}
    job.runner_note.write_text(json.dumps(note))
    return job


def exit_code(*command: str) -> object:
    with pytest.raises(SystemExit) as end:
        main(list(command))
    return end.value.code


@pytest.mark.parametrize("command", ["list", "show", "logs"])
def test_listing_and_showing_never_call_a_strangers_cluster(
    forged: Job, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = () if command == "list" else (str(forged.folder),)
    root = ("--root", str(forged.folder.parent)) if command == "list" else ()
    assert exit_code("jobs", command, *job, *root) == 0
    shown = capsys.readouterr()
    if command != "list":
        assert ADDRESS in shown.out.replace("\n", "") + shown.err.replace("\n", "")


def test_resuming_on_a_strangers_cluster_needs_its_acceptance(
    forged: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("jobs", "resume", str(forged.folder)) == 2
    assert "was not used from here" in " ".join(capsys.readouterr().err.split())
    assert named_elsewhere(forged) == [f"runs on the cluster {one}" for one in (ADDRESS, CLIENT)]
    accept_job(forged)
    assert named_elsewhere(forged) == []
    assert runner_of(forged).poll(forged).state == "queued"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"runner": "ray"}', '{"runner": "shell", "address": "x"}',
     '{"runner": "slurm", "cluster": "x"}', '{"runner": "slurm", "cluster": "slurm", "id": 7}',
     '{"runner": "slurm", "cluster": "slurm", "id": "--user=me"}',
     '{"runner": "ray", "address": "x", "id": "../x"}'],
)  # fmt: skip
def test_a_record_that_no_runner_wrote_is_refused(forged: Job, text: str) -> None:
    forged.runner_note.write_text(text)
    with pytest.raises(UserError, match=r"runner\.json cannot be read"):
        runner_of(forged)


@pytest.mark.parametrize("name", ESCAPES)
def test_a_path_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of the folder"):
        path_inside(tmp_path, name)


def test_a_path_through_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "models").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of the folder"):
        path_inside(tmp_path / "job", "models/x")
    assert path_inside(tmp_path, "job/x") == tmp_path / "job" / "x"


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../x"])
def test_a_file_of_a_cluster_is_not_written_outside_the_job(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(tmp_path)
    job.runner_note.write_text(json.dumps({"runner": "ray-packed", "address": "x", "id": "y"}))
    transfer = Transfer(job)
    answer: Callable[..., Any] = lambda *_, **__: ((1, 1), b"x")  # noqa: E731
    monkeypatch.setattr(transfer, "_ask", answer)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="leads out of the folder"):
        transfer._fetch({name: (1, 1)}, "node", ended=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", "../jobs"])
def test_the_cluster_reads_and_deletes_only_folders_of_packed_jobs(name: str, home: Path) -> None:
    (home / "jobs").mkdir(exist_ok=True)
    for ask in (node.forget, node.log):
        with pytest.raises(UserError, match="leads out of the folder"):
            ask(name)
    assert (home / "jobs").is_dir()
