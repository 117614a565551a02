"""Jobs as real processes: started, watched, paused, cancelled, killed, found again."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from job_cases import new_job
from waiting import until

from napari_graphflow.errors import UserError
from napari_graphflow.jobs import queue, store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import SILENT, RunReport, Status
from napari_graphflow.system.events import Alive, Failed, Metric, Phase, Progress, StateChanged
from napari_graphflow.system.failures import EXIT_CODES, Failure
from napari_graphflow.system.processes import process_start
from napari_graphflow.training import process

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SCRIPT = """
import os, sys, time
from pathlib import Path
from napari_graphflow.system.events import Alive, Metric, ModelSaved, PeakMemory, Phase, Progress
from napari_graphflow.training import process
folder = Path(sys.argv[1])
def step(number, total=100000):
    time.sleep(0.01)
    return Progress(step=number, total=total, eta_s=1.0)
def events():
BODY
sys.exit(process.run(folder, events()))
"""
ENDLESS = """
try:
    yield Phase(kind="training", name="training")
    for number in range(1, 100000):
        yield step(number)
finally:
    (folder / "checkpoints" / "last").write_text(str(number))
"""
SHORT = """
yield Phase(kind="training", name="training")
for number in range(1, 11):
    yield step(number, 10)
    yield Metric(name="dice", value=number / 20, step=number, split="val")
    yield Alive()
yield PeakMemory(peak_bytes=123)
yield ModelSaved(path="artifacts/model", name="model")
"""
UNRESPONSIVE = """
yield Phase(kind="training", name="unresponsive")
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], Job]]:
    """Start a job that yields the events of a piece of Python."""
    made: list[Job] = []

    def start(body: str, job: Job | None = None) -> Job:
        indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
        script = tmp_path / f"script{len(made)}.py"
        script.write_text(SCRIPT.replace("BODY", indented))
        job = job or new_job(tmp_path)
        made.append(job)
        return queue.start(job, [sys.executable, str(script), str(job.folder)])

    yield start
    for job in made:
        if job.status().active:
            job.cancel(0)


def running(job: Job) -> Status:
    return until(lambda: s if (s := job.status()).state == "running" and s.run.step else None)


def from_another_process(job: Job, expression: str) -> Any:
    """Evaluate an expression on the job in a process that is not its parent."""
    code = "import json, sys; from napari_graphflow.jobs.job import Job\njob = Job(sys.argv[1])\n"
    code += f"print(json.dumps({expression}))"
    seen = subprocess.run(
        [sys.executable, "-c", code, str(job.folder)], capture_output=True, text=True, check=True
    )
    return json.loads(seen.stdout)


def states(job: Job) -> list[str]:
    return [event.state for event in job.events()[0] if isinstance(event, StateChanged)]


# A job that runs


def test_a_job_runs_to_its_end(started: Callable[[str], Job]) -> None:
    job = started(SHORT)
    events = list(job.follow(0.02))
    status = job.status()
    assert (status.state, status.exit_code, status.failure) == ("done", 0, None)
    assert status.run == RunReport(
        phase="training", step=10, total=10, best=0.5, peak_bytes=123, model="artifacts/model"
    )
    assert states(job) == ["queued", "running", "done"]
    assert [e.value for e in events if isinstance(e, Metric)] == [n / 20 for n in range(1, 11)]
    assert [e.step for e in events if isinstance(e, Progress)][-1] == 10
    assert not [e for e in events if isinstance(e, Alive)]
    assert all(abs((e.t or 0) - time.time()) < 60 for e in events)
    assert [path.name for path in job.folder.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(UserError, match="is done and cannot be started"):
        queue.start(job)
    with pytest.raises(UserError, match="is done and cannot be cancelled"):
        job.cancel()


def test_frequent_progress_events_are_thinned_out(started: Callable[[str], Job]) -> None:
    job = started("for n in range(3000): yield Progress(step=n, total=2999)")
    assert job.wait(60).run.step == 2999
    written = [event for event in job.events()[0] if isinstance(event, Progress)]
    assert written[-1].step == 2999
    assert len(written) < 100


@posix
def test_a_job_survives_the_death_of_its_parent(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    (tmp_path / "job.py").write_text(SCRIPT.replace("BODY", "    yield step(1)\n    time.sleep(1)"))
    parent = (
        "import os, sys, signal; from napari_graphflow.jobs import job, queue;"
        "queue.start(job.Job(sys.argv[2]), [sys.executable, *sys.argv[1:]]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", parent, str(tmp_path / "job.py"), str(job.folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    seen = running(store.list_jobs()[0])
    assert os.getsid(seen.process.pid or 0) == seen.process.pid
    assert job.wait(60).state == "done"


def test_a_running_job_is_visible_to_others_and_not_started_twice(
    started: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graphflow.jobs.folder.LOCK_TIMEOUT", 0.1)
    job = started(ENDLESS)
    running(job)
    assert from_another_process(job, "job.status().state") == "running"
    with pytest.raises(UserError, match="is running and cannot be started"):
        queue.start(Job(job.folder))
    with pytest.raises(UserError, match="run by another process"):
        process.run(job.folder, iter(()))
    with pytest.raises(UserError, match="still active"):
        job.delete()
    assert states(job) == ["queued", "running"]
    assert job.cancel().state == "cancelled"
    assert from_another_process(job, "job.status().state") == "cancelled"
    job.delete()
    assert not job.folder.exists()
    assert store.list_jobs() == []


def test_a_cancelled_job_writes_a_checkpoint(started: Callable[[str], Job]) -> None:
    job = started(ENDLESS)
    step = running(job).run.step
    began = time.monotonic()
    status = job.cancel()
    assert time.monotonic() - began < 8
    assert (status.state, status.exit_code) == ("cancelled", EXIT_CODES["cancelled"])
    assert int((job.checkpoints / "last").read_text()) >= step
    assert states(job)[-1] == "cancelled"
    assert list(job.control.iterdir()) == []


def test_a_job_is_cancelled_by_a_request_file_or_before_its_start(
    started: Callable[[str], Job],
) -> None:
    job = started(ENDLESS)
    job.request_file("cancel").touch()
    assert job.wait(60).state == "cancelled"
    waiting = new_job(job.folder)
    assert waiting.cancel().state == "cancelled"
    assert states(waiting) == ["cancelled"]


@posix
def test_begin_cancel_terminates_and_then_kills_an_unresponsive_job(
    started: Callable[[str], Job],
) -> None:
    job = started(UNRESPONSIVE)
    status = until(lambda: s if (s := job.status()).run.phase == "unresponsive" else None)
    began = time.monotonic()
    steps = job.begin_cancel(timeout=0.4)
    assert time.monotonic() - began < 0.3
    until(lambda: next(steps, None) is None)
    assert 0.8 < time.monotonic() - began < 30
    assert job.status().state == "cancelled"
    assert not process_start(status.process.pid)
    assert states(job) == ["queued", "running", "cancelled"]


@posix
def test_sigterm_pauses_a_job(started: Callable[[str], Job]) -> None:
    job = started(ENDLESS)
    os.kill(running(job).process.pid or 0, signal.SIGTERM)
    status = job.wait(60)
    assert (status.state, status.exit_code) == ("paused", 0)
    assert "shut down" in status.failure.text
    assert "Resume" in status.failure.remedy
    assert (job.checkpoints / "last").exists()


def test_a_paused_job_resumes_from_its_checkpoint(started: Callable[..., Job]) -> None:
    job = started(ENDLESS)
    running(job)
    job.pause()
    assert job.wait(60).state == "paused"
    paused_at = int((job.checkpoints / "last").read_text())
    with pytest.raises(UserError, match="is paused and cannot be paused"):
        job.pause()
    started(
        'last = int((folder / "checkpoints" / "last").read_text())\n'
        "yield Progress(step=last + 1, total=last + 1)",
        job,
    )
    assert job.wait(60).state == "done"
    assert job.status().run.step == paused_at + 1
    assert states(job) == ["queued", "running", "paused", "queued", "running", "done"]


# Failures


FAILURES = {
    "user": ("raise process.UserError('No masks.', 'Add.')", 2),
    "out_of_memory": ("raise RuntimeError(\"can't allocate memory\")", 3),
    "disk_full": ("open('/dev/full', 'wb', 0).write(b'x')", 4),
    "not_a_number": ("raise FloatingPointError('The loss became NaN at step 3.')", 5),
    "missing_file": ("open('/nowhere/case')", 2),
    "drive_gone": ("raise OSError(__import__('errno').ESTALE, 'Stale file handle', '/mnt/a')", 6),
    "unexpected": ("{}['secret']", 1),
}  # fmt: skip


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_is_described_in_status_and_events(
    started: Callable[[str], Job], code: str
) -> None:
    body, exit_code = FAILURES[code]
    if "/dev/full" in body and not Path("/dev/full").is_char_device():
        pytest.skip("needs /dev/full")
    job = started(f'yield Phase(kind="training", name="training")\n{body}')
    status = job.wait(60)
    assert (status.state, status.failure.code, status.exit_code) == ("failed", code, exit_code)
    (error,) = (event for event in job.events()[0] if isinstance(event, Failed))
    assert error.failure == status.failure
    assert "Traceback" not in job.status_file.read_text() + job.events_file.read_text()
    assert job.log.read_text().count("Traceback") == 1
    assert states(job)[-1] == "failed"


def test_a_folder_that_is_missing_for_a_while_is_reported_as_a_disconnected_drive(
    started: Callable[..., Job],
) -> None:
    body = """
    folder.rename(folder.with_suffix(".away"))
    import threading
    threading.Timer(1.5, folder.with_suffix(".away").rename, [folder]).start()
    (folder / "checkpoints" / "last").write_text("1")
    yield
    """
    job = started(textwrap.dedent(body))
    status = until(lambda: s if (s := job.status()).state == "failed" else None, 300)
    assert (status.state, status.failure.code, status.exit_code) == ("failed", "drive_gone", 6)
    assert "is not responding" in status.failure.text
    assert started(SHORT, job).wait(60).state == "done"


def test_a_failed_job_can_be_restarted(started: Callable[..., Job]) -> None:
    job = started("raise MemoryError\nyield")
    assert job.wait(60).state == "failed"
    status = started(SHORT, job).wait(60)
    assert (status.state, status.failure, status.exit_code) == ("done", None, 0)


def test_the_default_command_runs_and_obeys_a_cancel_request(tmp_path: Path) -> None:
    job = queue.start(new_job(tmp_path))
    job.request_file("cancel").touch()
    assert job.wait(60).state == "cancelled", job.log.read_text()


def test_the_default_command_names_a_missing_dataset(tmp_path: Path) -> None:
    job = queue.start(new_job(tmp_path / "no dataset"))
    status = job.wait(60)
    assert (status.state, status.exit_code) == ("failed", 2), job.log.read_text()
    assert "no dataset" in status.failure.text
    phases = [event for event in job.events()[0] if isinstance(event, Phase)]
    assert not phases, "a wrong folder is reported before torch is imported"


# Killed and crashed jobs


@posix
def test_a_killed_job_is_lost_and_can_be_resumed(started: Callable[..., Job]) -> None:
    job = started(ENDLESS)
    os.kill(running(job).process.pid or 0, signal.SIGKILL)
    status = job.wait(60)
    assert (status.state, status.failure.code, status.run.eta_s) == ("lost", "killed", None)
    assert "memory ran out" in status.failure.text
    until(lambda: job.saved_status().state == "lost")
    assert from_another_process(job, "job.status().as_dict()") == status.as_dict()
    assert [path.name for path in job.folder.glob("**/.*") if path.name != ".reserve"] == []
    with job.events_file.open("ab") as file:
        file.write(b'{"event": "tor')
    assert started(SHORT, job).wait(60).state == "done"
    assert states(job) == ["queued", "running", "lost", "queued", "running", "done"]
    assert not job.reserve.exists()


@posix
def test_a_crash_is_read_from_the_log_without_a_parent_process(
    started: Callable[[str], Job],
) -> None:
    crash = 'yield step(1)\nos.kill(os.getpid(), __import__("signal").SIGSEGV)'
    job = started(crash)
    of_parent = job.wait(60)
    assert of_parent.failure.code == "crashed"
    until(lambda: job.saved_status().state == "lost")
    # As if the process that started it had ended.
    with job.writing():
        silenced = {"state": "running", "failure": None}
        job.write_status(job.saved_status().model_copy(update=silenced))
    seen = from_another_process(job, "job.status().as_dict()")
    assert seen["state"] == "lost"
    assert Failure.model_validate(seen["failure"]).text == of_parent.failure.text
    # The next process leaves no error message.
    job.write_status(Status(state="lost"))
    started('yield step(1)\nos.kill(os.getpid(), __import__("signal").SIGKILL)', job)
    until(lambda: (why := job.saved_status().failure) and why.code == "killed")
    with job.writing():
        job.write_status(job.saved_status().model_copy(update={"state": "running"}))
    assert "left no error message" in from_another_process(job, "job.status().failure.text")


def test_a_job_that_ends_before_its_first_status_is_lost(tmp_path: Path) -> None:
    job = queue.start(
        new_job(tmp_path), [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"]
    )
    status = job.wait(60)
    assert (status.state, status.failure.code) == ("lost", "ended")
    assert "exit code 3" in status.failure.text
    assert str(job.log) in status.failure.remedy
    assert "no such thing" in job.log.read_text()


def test_a_job_with_a_missing_program_fails(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    with pytest.raises(UserError, match="is missing"):
        queue.start(job, [str(tmp_path / "no program")])
    assert job.status().state == "failed"


@posix
def test_a_suspended_job_is_not_lost(started: Callable[[str], Job]) -> None:
    job = started(ENDLESS)
    pid = running(job).process.pid or 0
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    stopped = job.status()
    job.write_status(stopped.with_process(heartbeat=time.time() - 2 * SILENT))
    assert job.status().state == "running"
    assert "has not responded" in job.status().notice
    os.kill(pid, signal.SIGCONT)
    until(lambda: not job.status().notice)
    assert job.cancel().state == "cancelled"


@posix
def test_heartbeats_continue_during_a_long_call(started: Callable[[str], Job]) -> None:
    job = started('yield Phase(kind="training", name="long")\ntime.sleep(30)')
    first = until(lambda: s if (s := job.status()).run.phase == "long" else None).process.heartbeat
    until(lambda: (job.status().process.heartbeat or 0) > (first or 0) + 1)
    job.cancel(0.2)
