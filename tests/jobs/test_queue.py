"""The queue: when jobs start, also after the process that submitted them has ended."""

import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from job_cases import new_job
from waiting import until

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.keeper import keep
from napari_graphflow.jobs.queue import move, start, start_next, submit, waiting
from napari_graphflow.jobs.status import TRANSITIONS, Process, RunReport, State, Status
from napari_graphflow.system.devices import Device, available_device, devices
from napari_graphflow.system.events import StateChanged
from napari_graphflow.training import process

posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell script, signals")


OCCUPY = """
import sys, time
from pathlib import Path
from napari_graphflow.jobs.queue import start_keeper
from napari_graphflow.system.events import Alive
from napari_graphflow.training import process
def events():
    while True:
        yield Alive()
        time.sleep(0.05)
folder = Path(sys.argv[1])
process.run(folder, events())
start_keeper(folder.parent)
"""


def occupy(job: Job) -> Job:
    """Occupy the device with a job that does nothing."""
    return start(job, [sys.executable, "-c", OCCUPY, str(job.folder)], device="cpu")


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("after", TRANSITIONS)
def test_transitions_outside_the_table_are_refused(
    tmp_path: Path, before: State, after: State
) -> None:
    job = new_job(tmp_path)
    job.write_status(Status(state=before))
    # To other processes, an active job without a process is lost.
    seen = job.status().state
    with job.writing():
        if after in TRANSITIONS[before] | TRANSITIONS[seen]:
            job.write_state(Status(state=after))
            assert job.saved_status().state == after
        else:
            with pytest.raises(ValueError, match=f"that is {before} cannot become {after}"):
                job.write_state(Status(state=after))
            assert job.saved_status().state == before


def test_one_job_runs_per_device_and_the_others_wait_in_order(tmp_path: Path) -> None:
    first = occupy(new_job(tmp_path))
    later = [submit(new_job(tmp_path, name=name)) for name in "abc"]
    root = first.folder.parent
    assert [job.status().state for job in later] == ["queued"] * 3
    assert all(job.status().waiting for job in later)
    assert waiting(root) == later
    assert start_next(root) == []
    a, b, c = later
    move(c, -1)
    assert waiting(root) == [a, c, b]
    move(c, -5)
    assert waiting(root) == [c, a, b]
    move(c, 1)
    assert waiting(root) == [a, c, b]
    assert a.cancel().state == "cancelled"
    assert waiting(root) == [c, b]
    with pytest.raises(UserError, match="is cancelled and not waiting"):
        move(a, 1)
    with pytest.raises(UserError, match="is queued and cannot be started"):
        submit(b)
    for job in (c, b):
        job.cancel()
    first.cancel(0.5)
    changes = [event for event in c.events()[0] if isinstance(event, StateChanged)]
    assert [change.state for change in changes] == ["queued", "cancelled"]


def test_a_job_started_without_the_queue_never_waits_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Status] = []
    write = Job.write_status

    def note(job: Job, status: Status) -> None:
        written.append(status)
        write(job, status)

    monkeypatch.setattr(Job, "write_status", note)
    job = new_job(tmp_path)
    assert start(job, [sys.executable, "-c", ""]).wait(60).state == "lost"
    job.hand_over("slurm")
    queued = [status for status in written if status.state == "queued"]
    assert [status.process.runner for status in queued] == ["", "slurm"]
    assert not any(status.waiting for status in queued), "the queue would start it a second time"


def test_two_threads_do_not_start_two_jobs_on_one_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_job(tmp_path), new_job(tmp_path)
    root = first.folder.parent
    for rank, job in enumerate((first, second)):
        job.enqueue(Process(rank=rank))

    def slow_driver() -> list[Device]:
        time.sleep(0.3)
        return [Device("cpu", "CPU", 16, 8)]

    monkeypatch.setattr("napari_graphflow.jobs.queue.devices", slow_driver)
    monkeypatch.setattr("napari_graphflow.jobs.queue.start", lambda job, device: occupy(job))
    with ThreadPoolExecutor() as threads:
        started = [*itertools.chain(*threads.map(start_next, [root] * 3))]
    waits = second.status().waiting
    for job in (second, first):
        job.cancel(0.5)
    assert (started, waits) == ([first], True)


def test_each_computer_has_its_own_queue(tmp_path: Path) -> None:
    theirs, paused, running = new_job(tmp_path), new_job(tmp_path), new_job(tmp_path)
    root = theirs.folder.parent
    elsewhere = Status(process=Process(host="elsewhere", device="cpu", heartbeat=time.time()))
    theirs.write_status(Status(state="queued", process=Process(host="elsewhere")))
    paused.write_status(elsewhere.model_copy(update={"state": "paused"}))
    running.write_status(elsewhere.model_copy(update={"state": "running"}))
    paused.request("resume")
    assert start_next(root) == waiting(root) == []
    assert theirs.status().waiting
    assert paused.status().state == "paused"
    # A job on another computer does not occupy a device of this one.
    mine = submit(new_job(tmp_path / "gone"))
    assert mine.status().process.host == socket.gethostname()
    until(lambda: mine.status().state == "failed")
    keep(root)  # no job waits


@pytest.mark.parametrize(("runner", "continues"), [("", True), ("slurm", False)])
def test_a_job_of_an_engine_does_not_start_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str, *, continues: bool
) -> None:
    continued: list[Path] = []
    monkeypatch.setattr(process, "start_keeper", continued.append)
    job = new_job(tmp_path / "gone")
    if runner:
        job.hand_over(runner)
    assert process.main(job.folder) == 2
    assert job.status().state == "failed"
    assert continued == [job.folder.parent] * continues


def test_a_paused_job_is_resumed_by_a_request_file(tmp_path: Path) -> None:
    job = new_job(tmp_path / "gone")
    job.write_status(
        Status(state="paused", run=RunReport(step=7), process=Process(host=socket.gethostname()))
    )
    job.request_file("resume").touch()
    assert start_next(job.folder.parent) == [job]
    until(lambda: job.status().state == "failed")
    assert (job.status().run.step, job.requests()) == (7, set())


@posix
def test_the_next_job_starts_when_one_ends_and_when_one_is_killed(tmp_path: Path) -> None:
    """The later jobs fail at once, because their dataset is missing."""
    first = occupy(new_job(tmp_path))
    second, third = (submit(new_job(tmp_path / "gone", name=name)) for name in ("b", "c"))
    until(lambda: first.status().state == "running")
    first.request_file("pause").touch()
    until(lambda: third.status().state == "failed")
    assert first.status().state == "paused"
    assert second.status().state == "failed"
    assert second.status().process.device == third.status().process.device == "cpu"
    ended = [e.t for e in second.events()[0] if isinstance(e, StateChanged)][-1]
    begun = [e.t for e in third.events()[0] if isinstance(e, StateChanged)][1]
    assert ended <= begun, "two jobs were on one device"

    occupy(first)
    until(lambda: first.status().state == "running")
    third.request_file("resume").touch()
    assert start_next(first.folder.parent) == []
    assert third.status().waiting
    os.kill(first.status().process.pid or 0, signal.SIGKILL)
    until(lambda: third.status().state == "failed")
    assert first.status().state == "lost"


def submit_from_an_ended_process(first: Job, *later: Job) -> None:
    """Occupy the device and submit jobs from a process that ends before the jobs."""
    window = "import sys; from pathlib import Path\n"
    window += "from napari_graphflow.jobs.job import Job\n"
    window += "from napari_graphflow.jobs.queue import start, submit\n"
    window += "first, *later = (Job(Path(folder)) for folder in sys.argv[2:])\n"
    window += "start(first, [sys.executable, '-c', sys.argv[1], str(first.folder)], device='cpu')\n"
    window += "for job in later: submit(job)"
    folders = [str(job.folder) for job in (first, *later)]
    subprocess.run([sys.executable, "-c", window, OCCUPY, *folders], check=True)
    until(lambda: first.status().state == "running")


@posix
def test_the_keeper_starts_the_next_job_when_one_is_killed(tmp_path: Path) -> None:
    first, second = new_job(tmp_path), new_job(tmp_path / "gone")
    submit_from_an_ended_process(first, second)
    assert second.status().waiting
    os.killpg(first.status().process.pid or 0, signal.SIGKILL)  # with all its children
    until(lambda: second.status().state == "failed")
    assert second.status().process.device == "cpu"
    assert first.status().state == "lost"


@posix
def test_the_keeper_records_how_a_job_was_killed(tmp_path: Path, blobs: Path) -> None:
    first, second, third = (new_job(one) for one in (tmp_path, blobs, tmp_path / "gone"))
    submit_from_an_ended_process(first, second, third)
    first.pause()
    until(lambda: second.saved_status().state == "running")
    os.kill(second.saved_status().process.pid or 0, signal.SIGKILL)
    until(lambda: second.saved_status().state == "lost")
    assert second.status().failure.code == "killed"
    until(lambda: third.saved_status().state == "failed")


GPUS = [
    Device("cuda:1", "GPU 1: B", 24, 20),
    Device("cuda:0", "GPU 0: A", 24, 3),
    Device("cpu", "CPU", 16, 8),
]


@pytest.mark.parametrize(
    ("requested", "busy", "expected"),
    [
        ("auto", set(), "cuda:1"),
        ("auto", {"cuda:1"}, "cuda:0"),
        ("auto", {"cuda:0", "cuda:1"}, None),
        ("cuda", {"cuda:1"}, "cuda:0"),
        ("cuda:1", {"cuda:1"}, None),
        ("cuda:0", {"cuda:1"}, "cuda:0"),
        ("cpu", {"cuda:0"}, "cpu"),
        ("cpu", {"cpu"}, None),
        ("mps", set(), "mps"),
        ("cuda:7", set(), "cuda:7"),
    ],
)
def test_a_free_device_is_chosen(requested: str, busy: set[str], expected: str | None) -> None:
    assert available_device(requested, GPUS, busy) == expected


def test_auto_chooses_the_cpu_without_a_gpu() -> None:
    assert available_device("auto", GPUS[-1:], set()) == "cpu"
    assert available_device("auto", GPUS[-1:], {"cpu"}) is None


@posix
def test_gpus_are_numbered_as_in_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        "echo '0, GPU-aa11, NVIDIA RTX A2000, 6138, 5000'\n"
        "echo '1, GPU-bb22, NVIDIA H200, 143771, 143000'\n"
        "echo '2, GPU-cc33, NVIDIA T4, 15360, 100'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = devices()
    assert [one.name for one in found if one.name[:4] == "cuda"] == ["cuda:1", "cuda:0", "cuda:2"]
    assert str(found[0]) == "GPU 1: NVIDIA H200, 139.6 of 140.4 GB free"
    assert found[-1].name == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-aa")
    assert [(d.name, d.title) for d in devices()[:2]] == [
        ("cuda:1", "GPU 1: NVIDIA RTX A2000"),
        ("cuda:0", "GPU 0: NVIDIA T4"),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices()[0].name in ("cpu", "mps")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert devices()[0].name in ("cpu", "mps")
