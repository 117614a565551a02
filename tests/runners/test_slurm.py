"""The runner of Slurm with a real controller, where one responds to ``sinfo``."""

import shutil
import subprocess
from pathlib import Path

import pytest
from runner_cases import SMALL, has_submitit, training, until

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import store
from napari_graphflow.runners import runner_of
from napari_graphflow.runners.handover import read_note
from napari_graphflow.runners.slurm import ENDED, Slurm, known_to_slurm


def slurm_responds() -> bool:
    """Whether a cluster responds."""
    if shutil.which("sinfo") is None:
        return False
    try:
        return (
            subprocess.run(["sinfo"], capture_output=True, timeout=30, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


pytestmark = [pytest.mark.slow, has_submitit, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def a_cluster() -> None:
    if not slurm_responds():
        pytest.skip("needs a Slurm cluster that responds to sinfo")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # which sbatch hands on
    return Slurm("slurm")


def test_slurm_trains_and_distils(blobs: Path, slurm: Slurm) -> None:
    teacher = store.create("train", training(blobs))
    slurm.submit(teacher)
    until(lambda: not slurm.poll(teacher).active)
    assert teacher.status().state == "done", slurm.logs(teacher)
    config = DistillationConfig(
        dataset=blobs, teacher=teacher.model, method=LogitsOptions(), teacher_min_dice=0,
        network="enet", width=8, **SMALL,
    )  # fmt: skip
    student = store.create("distill", config)
    slurm.submit(student)
    assert student.status().process.runner == "slurm"
    until(lambda: not slurm.poll(student).active)
    assert student.status().state == "done", slurm.logs(student)
    assert (student.model / "model.json").is_file()


def test_a_job_on_slurm_is_paused_resumed_and_cancelled(blobs: Path, slurm: Slurm) -> None:
    job = store.create("train", training(blobs, steps=1_000_000, validate_every=1_000_000))
    slurm.submit(job)
    until(lambda: slurm.poll(job).run.step > 2)
    job.pause()
    until(lambda: not slurm.poll(job).active)
    step = job.status().run.step
    assert job.status().state == "paused", slurm.logs(job)
    again = runner_of(job)
    assert isinstance(again, Slurm)
    again.submit(job)
    until(lambda: again.poll(job).run.step > step)
    status = runner_of(job).cancel(job)  # with a handle that did not submit it
    assert (status.state, status.failure) == ("cancelled", None)
    number = read_note(job)["id"]
    until(lambda: all(state in ENDED for state, _ in known_to_slurm(number)))


def test_a_job_that_waits_on_slurm_or_does_not_listen_is_cancelled_there(
    blobs: Path, slurm: Slurm
) -> None:
    jobs = [store.create("train", training(blobs, steps=1_000_000)) for _ in range(2)]
    for job in jobs:
        slurm.submit(job)
    until(lambda: slurm.poll(jobs[0]).run.step > 2)
    for job, timeout in ((jobs[1], 0.5), (jobs[0], 0.0)):
        status = slurm.cancel(job, timeout)
        assert (status.state, status.failure) == ("cancelled", None)
        number = read_note(job)["id"]
        until(lambda number=number: all(s in ENDED for s, _ in known_to_slurm(number)))


def test_a_job_that_ends_on_slurm_before_it_starts_has_failed(blobs: Path, slurm: Slurm) -> None:
    first, waiting = (store.create("train", training(blobs, steps=1_000_000)) for _ in range(2))
    slurm.submit(first)
    slurm.submit(waiting)
    subprocess.run(["scancel", read_note(waiting)["id"]], check=True)
    until(lambda: not slurm.poll(waiting).active)
    assert "Slurm ended the job before it started" in waiting.status().failure.text
    slurm.cancel(first)


def test_resources_that_the_cluster_does_not_have_are_refused(
    blobs: Path, slurm: Slurm, home: Path
) -> None:
    (home / "slurm.json").write_text('{"timeout_min": 5, "slurm_partition": "nowhere"}')
    job = store.create("train", training(blobs))
    with pytest.raises(UserError, match="Slurm rejected the job"):
        slurm.submit(job)
    assert job.status().state == "failed"
