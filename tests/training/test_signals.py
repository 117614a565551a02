"""What a job makes of signals: a shutdown pauses it, a user cancels it."""

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
from napari_graphflow.training import process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return store.create("train", TrainingConfig(dataset=tmp_path, device="cpu"))


def hit(*numbers: int) -> None:
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


CANCELLED = ("cancelled", process.CANCELLED_EXIT_CODE)


@pytest.mark.parametrize("times", [1, 2])
def test_a_shutdown_pauses(job: Job, times: int) -> None:
    assert run(job, lambda: hit(*[signal.SIGTERM] * times)) == ("paused", 0)
    status = job.status()
    assert status.text.endswith("or because the computer was shut down.")
    assert status.remedy == "Resume it to go on from its last checkpoint."
    assert job.requests() == set()
    job.enqueue(Process())
    assert job.status().text == ""


@pytest.mark.parametrize("times", [1, 2])
def test_terminate_after_the_request_to_cancel_cancels(job: Job, times: int) -> None:
    def press() -> None:
        job.request("cancel")
        hit(*[signal.SIGTERM] * times)

    assert run(job, press) == CANCELLED


def test_an_interrupt_cancels(job: Job) -> None:
    assert run(job, lambda: hit(signal.SIGINT)) == CANCELLED


def test_a_shutdown_that_ends_the_helpers_first_pauses_as_well(job: Job) -> None:
    def lose_helper() -> None:
        hit(signal.SIGTERM)
        raise RuntimeError("A worker was killed by signal: Terminated.")

    assert run(job, lose_helper) == ("paused", 0)
    assert "killed by signal" in job.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_shut_down_starts_no_other(
    job: Job, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(process, "keep_going", asked.append)
    monkeypatch.setattr(process, "_events", lambda job: events(job, lambda: hit(number)))
    process.main(job.folder)
    assert asked == [job.folder.parent] * (number == signal.SIGINT)
