"""Runners with real engines: a local Ray cluster, and submitit in place of Slurm."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runner_cases import (
    PATIENCE,
    SMALL,
    has_ray,
    has_submitit,
    history,
    logits,
    metrics,
    training,
    until,
)

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import queue, store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.trust import accept
from napari_graphflow.runners import runner_of
from napari_graphflow.runners.handover import read_note
from napari_graphflow.runners.ray.runner import PackedRay, Ray
from napari_graphflow.runners.slurm import Slurm
from napari_graphflow.system.events import Progress, StateChanged
from napari_graphflow.system.processes import end_process_tree


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster on this computer."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for free in (one, two, three):
            free.bind(("127.0.0.1", 0))
        port, dashboard, client = (free.getsockname()[1] for free in (one, two, three))
    # As a module, so that the environment need not be activated.
    program = [sys.executable, "-m", "ray.scripts.scripts"]
    os.environ["GRAPHFLOW_CLUSTER"] = str(tmp_path_factory.mktemp("cluster"))
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        # On a busy computer, Ray starts slowly.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
        "RAY_gcs_server_port_wait_time_s": "600",
        "RAY_gcs_server_request_timeout_seconds": "600",
        "GRAPHFLOW_HOME": os.environ["GRAPHFLOW_CLUSTER"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    os.environ["GRAPHFLOW_RAY_CLIENT"] = f"ray://127.0.0.1:{client}"
    log = tmp_path_factory.mktemp("ray") / "log"
    head = subprocess.Popen(
        [*program, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats",
         "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=true",
         "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
         f"--ray-client-server-port={client}",
         "--object-store-memory=100000000"],
        env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    end = time.monotonic() + PATIENCE
    while True:
        try:
            Ray(address).connect()
            break
        except UserError:
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < end, "ray is not responding"
            time.sleep(1)
    yield address
    del os.environ["GRAPHFLOW_RAY_CLIENT"], os.environ["GRAPHFLOW_CLUSTER"]
    end_process_tree(head.pid, kill=False)
    try:
        head.wait(60)
    except subprocess.TimeoutExpired:
        end_process_tree(head.pid, kill=True)


def nothing_runs(ray: Ray) -> bool:
    """Whether the cluster itself reports every job as ended."""
    return all(one.status.is_terminal() for one in ray.client.list_jobs())


def assert_cancelled(ray: Ray, job: Job, *, waits: bool = False, timeout: float = 10.0) -> None:
    """Cancel a job, which the cluster confirms, or for one that waits there is said to be open.

    Ray tells a job that waits for a CPU to stop only when it gets one.
    """
    status = ray.cancel(job, timeout)
    assert status.state == "cancelled"
    if status.failure is not None:
        assert waits and "may continue there" in status.failure.text


@pytest.mark.slow
@has_ray
@pytest.mark.filterwarnings("ignore")
def test_ray_runs_a_distillation_and_cancels_another(ray_address: str, blobs: Path) -> None:
    ray = Ray(ray_address)
    accept("addresses", *ray.addresses)
    teacher = store.create("train", training(blobs))
    ray.submit(teacher)
    until(lambda: not ray.poll(teacher).active)
    assert teacher.status().state == "done", ray.logs(teacher)
    config = DistillationConfig(
        dataset=blobs, teacher=teacher.model, method=LogitsOptions(), teacher_min_dice=0,
        network="enet", width=8, **SMALL,
    )  # fmt: skip
    student = store.create("distill", config)
    ray.submit(student)
    assert student.status().process.runner == "ray"
    until(lambda: not ray.poll(student).active)
    assert student.status().state == "done", ray.logs(student)
    assert (student.model / "model.json").is_file()

    long = store.create("train", training(blobs, steps=1_000_000, validate_every=1_000_000))
    ray.submit(long)
    until(lambda: ray.poll(long).run.step > 2)
    again = runner_of(long)
    assert isinstance(again, Ray)
    assert_cancelled(again, long)

    waiting = [store.create("train", training(blobs, steps=1_000_000)) for _ in range(4)]
    for job in waiting:
        ray.submit(job)
    assert_cancelled(ray, waiting[-1], waits=True, timeout=0.5)
    for job in waiting[:-1]:
        assert_cancelled(ray, job, waits=True)
    until(lambda: nothing_runs(ray))


@pytest.mark.slow
@has_ray
@pytest.mark.filterwarnings("ignore")
def test_a_packed_job_runs_on_ray_and_is_downloaded(ray_address: str, blobs: Path) -> None:
    ray = PackedRay(ray_address)
    accept("addresses", *ray.addresses)
    teacher = store.create("train", training(blobs, validate_every=1))
    ray.submit(teacher)
    until(lambda: not ray.poll(teacher).active)
    assert teacher.status().state == "done", ray.logs(teacher)
    local = queue.start(store.create("train", training(blobs, validate_every=1)))
    assert local.wait(PATIENCE).state == "done", local.log.read_text()
    model = Path("artifacts", "model", "weights.safetensors")
    assert (teacher.folder / model).read_bytes() == (local.folder / model).read_bytes()
    assert metrics(teacher) == metrics(local)
    states = [event.state for event in history(teacher) if isinstance(event, StateChanged)]
    assert states == ["queued", "running", "done"]
    assert not list(Path(os.environ["GRAPHFLOW_CLUSTER"]).glob("packed/graphflow-*"))

    config = DistillationConfig(
        dataset=blobs, teacher=teacher.model, method=LogitsOptions(), teacher_min_dice=0,
        network="enet", width=8, **(SMALL | {"steps": 1_000_000, "validate_every": 1_000_000}),
    )  # fmt: skip
    student = store.create("distill", config)
    ray.submit(student)
    until(lambda: student.status().run.step > 2)
    student.pause()
    until(lambda: not student.status().active)
    assert student.status().state == "paused", ray.logs(student)
    step = student.status().run.step
    assert student.last_checkpoint.is_file()

    again = runner_of(student)
    assert isinstance(again, PackedRay)
    again.submit(student)
    until(lambda: student.status().run.step > step)
    name = read_note(student)["id"]
    transfer = student.status().process.pid
    os.kill(transfer, signal.SIGKILL)
    until(lambda: student.status().state == "lost")
    again.submit(student)
    until(lambda: student.status().state == "running" and student.status().run.step > step)
    assert read_note(student)["id"] == name, "the job continued on the cluster"
    assert_cancelled(again, student)
    until(lambda: nothing_runs(ray))
    steps = [e.step for e in history(student) if isinstance(e, Progress) and e.total > 9]
    assert max(steps) > step


@pytest.mark.slow
@has_ray
@pytest.mark.filterwarnings("ignore")
def test_two_ray_workers_give_the_same_model_as_one_process(ray_address: str, blobs: Path) -> None:
    # With 16 voxels the deepest map has a single voxel, whose normalisation amplifies rounding.
    shared_run = training(blobs, batch_size=2, patch_size=(32,) * 3)
    alone, *together = (store.create("train", shared_run) for _ in range(3))
    assert queue.start(alone).wait(PATIENCE).state == "done", alone.log.read_text()
    for job, kind in zip(together, (Ray, PackedRay), strict=True):
        ray = kind(ray_address, workers=2)
        ray.submit(job)
        until(lambda job=job, ray=ray: not ray.poll(job).active)
        assert job.status().state == "done", ray.logs(job)
        expected, found = metrics(alone), metrics(job)
        assert found.keys() == expected.keys()
        for key in expected:
            # Rounding may change the class of a few voxels.
            tolerance = 0.01 if key[0].startswith("dice") else 1e-4
            assert found[key] == pytest.approx(expected[key], rel=1e-3, abs=tolerance), key
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    shared, packed, expected = (logits(job, images) for job in (*together, alone))
    # One process with other kernels (without oneDNN) differs by as much: Adam scales up gradients
    # that are only rounding error.
    torch.testing.assert_close(shared, expected, rtol=1e-2, atol=5e-3)
    torch.testing.assert_close(packed, expected, rtol=1e-2, atol=5e-3)
    torch.testing.assert_close(packed, shared, rtol=1e-4, atol=1e-4)

    odd = store.create("train", training(blobs, batch_size=3))
    ray = Ray(ray_address, workers=2)
    ray.submit(odd)
    until(lambda: not ray.poll(odd).active)
    assert "cannot be divided evenly among 2 processes" in odd.status().failure.text
    many = store.create("train", training(blobs))
    ray = Ray(ray_address, workers=9)
    ray.submit(many)
    until(lambda: not ray.poll(many).active)
    assert many.status().state == "failed"
    assert many.status().failure.text == "The Ray cluster has 2 CPUs, but 9 workers were requested."


@pytest.mark.slow
@has_submitit
@pytest.mark.filterwarnings("ignore")
def test_submitit_runs_a_job_and_cancels_another(blobs: Path) -> None:
    slurm = Slurm("local")
    job = store.create("train", training(blobs))
    slurm.submit(job)
    until(lambda: not slurm.poll(job).active)
    assert job.status().state == "done", slurm.logs(job)
    long = store.create("train", training(blobs, steps=1_000_000, validate_every=1_000_000))
    slurm.submit(long)
    until(lambda: slurm.poll(long).run.step > 2)
    assert isinstance(runner_of(long), Slurm)
    status = runner_of(long).cancel(long)
    assert (status.state, status.failure) == ("cancelled", None)
    for handle in slurm._handles.values():  # nobody else waits for the local processes
        handle._process.wait(60)
