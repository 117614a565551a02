"""Jobs written by others: what they name is not followed, and nobody's process is ended."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from job_cases import new_job
from waiting import until

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.labelling import RoundConfig
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.jobs.store import create
from napari_graphflow.jobs.trust import UntrustedError, accept, outside_paths, spec_hash
from napari_graphflow.system.processes import process_start, was_started_with

HOLD = """
import sys, time
from pathlib import Path
from napari_graphflow.system.files import locked
with locked(Path(sys.argv[1])) as free:
    print(free, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no job."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def foreign(tmp_path: Path, status: Status | None = None) -> Job:
    """A job whose settings were written by somebody else."""
    job = new_job(tmp_path)
    spec = json.loads(job.spec_file.read_text())
    spec["config"]["dataset"] = str(tmp_path / "private")
    job.spec_file.write_text(json.dumps(spec))
    if status is not None:
        job.write_status(status)
    return Job(job.folder)


def naming(pid: int) -> Status:
    """The status of a job that runs in a process."""
    process = Process(pid=pid, started=process_start(pid), heartbeat=time.time())
    return Status(state="running", process=process)


def test_a_job_from_elsewhere_is_not_started_until_it_is_accepted(tmp_path: Path) -> None:
    job = foreign(tmp_path)
    with pytest.raises(UntrustedError, match=r"reads .*private") as refused:
        job.enqueue(Process(rank=1.0))
    assert f"jobs trust {job.folder}" in refused.value.remedy
    assert job.status().state == "created"
    accept("jobs", spec_hash(job))
    assert job.enqueue(Process(rank=1.0)).waiting


def test_the_queue_passes_over_a_waiting_job_from_elsewhere(tmp_path: Path) -> None:
    waiting = Status(state="queued", process=Process(host=socket.gethostname(), rank=1.0))
    job = foreign(tmp_path, waiting)
    assert queue.start_next(job.folder.parent) == []
    assert job.status().waiting


def test_a_job_that_reads_only_its_own_folder_needs_no_question(tmp_path: Path) -> None:
    job = foreign(tmp_path)
    spec = job.spec | {"config": job.spec["config"] | {"dataset": "data/liver"}}
    job.spec_file.write_text(json.dumps(spec))
    assert outside_paths(Job(job.folder)) == []
    assert Job(job.folder).enqueue(Process(rank=1.0)).waiting


def test_paths_of_nested_settings_are_resolved_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    method = GeneralisableOptions(student=Path("student"), stages=Path("stages"))
    network = DistillationConfig(dataset=Path("d"), teacher=Path("t"), method=method)
    job = create("round", RoundConfig(dataset=Path("d"), number=1, network=network))
    resolved = [tmp_path / name for name in ("d", "d", "t", "student", "stages")]
    assert sorted(outside_paths(job)) == sorted(resolved)


def test_a_job_whose_settings_were_changed_is_one_from_elsewhere(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    job.spec_file.write_text(job.spec_file.read_text() + "\n")
    with pytest.raises(UntrustedError):
        Job(job.folder).enqueue(Process(rank=1.0))


def test_cancelling_ends_no_process_that_only_the_status_names(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    job = new_job(tmp_path)
    job.write_status(naming(stranger.pid))
    assert job.cancel(0).state == "cancelled", "nobody holds the lock of the job"
    assert stranger.poll() is None


def test_cancelling_ends_no_process_without_the_command_of_the_job(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    job = new_job(tmp_path)
    job.write_status(naming(stranger.pid))
    command = [sys.executable, "-c", HOLD, job.lock_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline().strip() == b"True"
        with pytest.raises(UserError, match=f"Process {stranger.pid} does not belong to the job"):
            job.cancel(0)
        assert stranger.poll() is None and holder.poll() is None
        holder.kill()


@pytest.mark.parametrize(
    "pid", [0, 1, os.getpid(), os.getppid()], ids=["none", "first", "own", "parent"]
)
def test_the_first_process_and_ancestors_are_never_those_of_a_job(pid: int, tmp_path: Path) -> None:
    arguments = psutil.Process().cmdline()
    assert not was_started_with(pid, Path(arguments[-1]))
    assert not was_started_with(pid, tmp_path)


def test_a_process_started_with_a_relative_path_is_recognised(tmp_path: Path) -> None:
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, "job"], cwd=tmp_path)
    try:
        # The system fills in the command of a new process a moment after it starts.
        until(lambda: was_started_with(process.pid, tmp_path / "job"))
        assert not was_started_with(process.pid, tmp_path / "other")
    finally:
        process.kill()
        process.wait()
