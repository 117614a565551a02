"""Signals to a job: a shutdown pauses it, an interrupt cancels it."""

import subprocess
import sys
from pathlib import Path

import pytest
from signalled import MISFORTUNES

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs import store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process
from napari_graphflow.system.failures import EXIT_CODES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
PAUSED = ("paused", 0)
CANCELLED = ("cancelled", EXIT_CODES["cancelled"])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return store.create("train", TrainingConfig(dataset=tmp_path, device="cpu"))


def run(job: Job, misfortune: str) -> tuple[str, int]:
    """Run the job in a process of its own, which may be killed."""
    assert misfortune in MISFORTUNES
    script = Path(__file__).parents[1] / "signalled.py"
    done = subprocess.run([sys.executable, script, job.folder, misfortune], check=False)
    assert (job.checkpoints / "last").exists()
    assert job.status().exit_code == done.returncode
    return job.status().state, done.returncode


@pytest.mark.parametrize("misfortune", ["SIGTERM", "SIGTERM twice"])
def test_a_shutdown_pauses_the_job(job: Job, misfortune: str) -> None:
    assert run(job, misfortune) == PAUSED
    status = job.status()
    assert status.failure.text.endswith("or because the computer was shut down.")
    assert status.failure.remedy == "Resume the job to continue from its last checkpoint."
    assert job.requests() == set()
    job.enqueue(Process())
    assert job.status().failure is None


@pytest.mark.parametrize("misfortune", ["cancel, SIGTERM", "cancel, SIGTERM twice"])
def test_sigterm_after_a_cancel_request_cancels_the_job(job: Job, misfortune: str) -> None:
    assert run(job, misfortune) == CANCELLED


def test_an_interrupt_cancels_the_job(job: Job) -> None:
    assert run(job, "SIGINT") == CANCELLED


def test_a_shutdown_that_first_ends_subprocesses_pauses_the_job(job: Job) -> None:
    assert run(job, "SIGTERM, subprocess lost") == PAUSED
    assert "killed by signal" in job.log.read_text()


@pytest.mark.parametrize(("misfortune", "continues"), [("SIGTERM", False), ("SIGINT", True)])
def test_a_job_that_is_shut_down_does_not_start_the_next_one(
    job: Job, misfortune: str, continues: bool
) -> None:
    run(job, misfortune)
    assert (job.folder.parent / "continued").exists() == continues
