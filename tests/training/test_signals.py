"""Signals to a job: a shutdown pauses it, an interrupt cancels it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs import store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process
from napari_graphflow.system.events import Alive
from napari_graphflow.system.failures import EXIT_CODES
from napari_graphflow.training import process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return store.create("train", TrainingConfig(dataset=tmp_path, device="cpu"))


def send(*numbers: int) -> None:
    """Send signals to this process, in which the job runs."""
    for number in numbers:
        os.kill(os.getpid(), number)


def events(job: Job, misfortune: Callable[[], None]) -> Iterator[Alive]:
    try:
        misfortune()
        while True:
            yield Alive()
    finally:
        (job.checkpoints / "last").touch()


def run(job: Job, misfortune: Callable[[], None]) -> tuple[str, int]:
    code = process.run(job.folder, events(job, misfortune))
    assert (job.checkpoints / "last").exists()
    assert job.status().exit_code == code
    return job.status().state, code


CANCELLED = ("cancelled", EXIT_CODES["cancelled"])


@pytest.mark.parametrize("times", [1, 2])
def test_a_shutdown_pauses_the_job(job: Job, times: int) -> None:
    assert run(job, lambda: send(*[signal.SIGTERM] * times)) == ("paused", 0)
    status = job.status()
    assert status.failure.text.endswith("or because the computer was shut down.")
    assert status.failure.remedy == "Resume the job to continue from its last checkpoint."
    assert job.requests() == set()
    job.enqueue(Process())
    assert job.status().failure is None


@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_after_a_cancel_request_cancels_the_job(job: Job, times: int) -> None:
    def press() -> None:
        job.request("cancel")
        send(*[signal.SIGTERM] * times)

    assert run(job, press) == CANCELLED


def test_an_interrupt_cancels_the_job(job: Job) -> None:
    assert run(job, lambda: send(signal.SIGINT)) == CANCELLED


def test_a_shutdown_that_first_ends_subprocesses_pauses_the_job(job: Job) -> None:
    def lose_subprocess() -> None:
        send(signal.SIGTERM)
        raise RuntimeError("A worker was killed by signal: Terminated.")

    assert run(job, lose_subprocess) == ("paused", 0)
    assert "killed by signal" in job.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_shut_down_does_not_start_the_next_one(
    job: Job, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    continued: list[Path] = []
    monkeypatch.setattr(process, "start_keeper", continued.append)
    monkeypatch.setattr(process, "_events", lambda job: events(job, lambda: send(number)))
    process.main(job.folder)
    assert continued == [job.folder.parent] * (number == signal.SIGINT)
