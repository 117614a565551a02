"""Jobs under kills, full disks and other faults: a resumed job equals an undisturbed one.

The jobs run in real processes, forked from one that has already imported torch. The short tests
kill each method once in a step and once in a checkpoint; ``make soak`` runs the others.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from misfortunes import Death, little_memory, live, small_files, wrong_clock
from waiting import until

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.methods import METHODS, GraphFlowOptions
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs import queue, store
from napari_graphflow.jobs.job import Job
from napari_graphflow.system.events import (
    CheckpointSaved,
    Event,
    Metric,
    Phase,
    SettingChosen,
    Warned,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
KILLS = 20

forkserver: Any = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None


@pytest.fixture(scope="module", autouse=True)
def preloaded() -> None:
    forkserver.set_forkserver_preload(
        ["napari_graphflow.training.process", "napari_graphflow.training.loop"]
        + [method.path.partition(":")[0] for method in METHODS.values()]
    )


@pytest.fixture(scope="module")
def teacher(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("teacher")
    config = TrainingConfig(
        dataset=blobs, network="unet", width=4, steps=10, validate_every=10, batch_size=1,
        patch_size=(16,) * 3, threads=1, device="cpu",
    )  # fmt: skip
    job = store.create("train", config, home)
    assert run(job) == 0, job.log.read_text()
    return job.model


def distillation(dataset: Path, teacher: Path, method: str, **changes: Any) -> DistillationConfig:
    short = {
        "graph_flow": GraphFlowOptions(paraphraser_steps=3),
        "generalisable": GeneralisableOptions(code_length=8, student_steps=2),
    }
    settings = {
        "network": "enet", "width": 8, "steps": 6, "validate_every": 3, "batch_size": 1,
        "patch_size": (16,) * 3, "threads": 1, "device": "cpu", "name": "student",
        "checkpoint_minutes": 1e-4, "teacher_min_dice": 0,
        "method": short.get(method) or METHODS[method].options(),
    }  # fmt: skip
    return DistillationConfig(dataset=dataset, teacher=teacher, **(settings | changes))


def launch(job: Job, death: Death | None = None, misfortune: Any = None) -> Any:
    process = forkserver.Process(target=live, args=(job.folder, death, misfortune))
    process.start()
    return process


def run(job: Job, death: Death | None = None, misfortune: Any = None) -> int:
    process = launch(job, death, misfortune)
    process.join()
    return int(process.exitcode)


def history(job: Job) -> list[Event]:
    events, offset = [], 0
    while found := job.events(offset):
        if not found[0]:
            return events
        events, offset = events + found[0], found[1]
    raise AssertionError


def outcome(job: Job) -> tuple[bytes, dict[Any, Any]]:
    """Return the weights, and the last value of each metric at each step."""
    assert job.status().state == "done", job.log.read_text()
    metrics = [event for event in history(job) if isinstance(event, Metric)]
    values = {(one.name, one.split, one.step): one.value for one in metrics}
    return (job.model / "weights.safetensors").read_bytes(), values


def assert_same(job: Job, undisturbed: Job) -> None:
    (weights, metrics), (expected, expected_metrics) = outcome(job), outcome(undisturbed)
    assert metrics == expected_metrics
    assert weights == expected


#: Killed in `make test-slow`; `test_training.py` and `test_generalisable.py` pause them all.
LONG = {"generalisable", "attention", "channel_wise", "dist", "emkd", "logits"}


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[pytest.mark.slow] if m in LONG else []) for m in METHODS],
)
def test_a_killed_job_resumes_bit_for_bit(blobs: Path, teacher: Path, method: str) -> None:
    undisturbed = store.create("distill", distillation(blobs, teacher, method))
    job = store.create("distill", distillation(blobs, teacher, method))
    assert run(undisturbed) == 0, undisturbed.log.read_text()
    count = random.Random(method).randrange(15, 40)
    for death in (("event", count), ("rename", 1), ("write", 1)):
        assert run(job, death) == -signal.SIGKILL, death
        assert job.status().state == "lost"
    assert run(job) == 0, job.log.read_text()
    assert_same(job, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"ema_decay": 0.9, "labels_only": 0.5}, {"cutmix": 0.5, "answers": "hard", "confidence": 0.6}],
    ids=["average", "unlabelled"],
)
def test_a_killed_job_with_other_settings_resumes_bit_for_bit(
    blobs: Path, teacher: Path, changes: dict[str, Any]
) -> None:
    config = distillation(blobs, teacher, "logits", augmentation="strong", labelled=1, **changes)
    undisturbed, job = store.create("distill", config), store.create("distill", config)
    assert run(undisturbed) == 0, undisturbed.log.read_text()
    for death in (("event", 20), ("rename", 1)):
        assert run(job, death) == -signal.SIGKILL, death
    assert run(job) == 0, job.log.read_text()
    assert_same(job, undisturbed)


@pytest.mark.slow
def test_a_job_killed_during_paraphraser_training_resumes_there(blobs: Path, teacher: Path) -> None:
    config = distillation(blobs, teacher, "graph_flow", checkpoint_minutes=1e-9)
    undisturbed, job = store.create("distill", config), store.create("distill", config)
    assert run(undisturbed) == 0, undisturbed.log.read_text()
    assert run(job, ("checkpoint", 4)) == -signal.SIGKILL
    before = history(job)
    assert not any(isinstance(event, Phase) and event.kind == "training" for event in before)
    assert run(job) == 0, job.log.read_text()
    after = history(job)[len(before) :]
    metrics = [event for event in after if isinstance(event, Metric)]
    assert next(one.step for one in metrics if one.name == "paraphraser/encoder") == 2
    assert_same(job, undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_job_that_runs_out_of_memory_continues_with_a_smaller_batch(blobs: Path) -> None:
    config = TrainingConfig(
        dataset=blobs, network="unet", width=4, steps=2, validate_every=2, batch_size=64,
        patch_size=(48,) * 3, threads=1, device="cpu",
    )  # fmt: skip
    job = store.create("train", config)
    assert run(job, misfortune=little_memory) == 0, job.log.read_text()
    warnings = [e.text for e in history(job) if isinstance(e, Warned) and e.code == "out_of_memory"]
    assert warnings[0] == (
        "Out of memory with batch size 64 and patches of 48 x 48 x 48 voxels. Resuming from the "
        "last checkpoint with batch size 32 and patches of 48 x 48 x 48 voxels."
    )
    settings = [e.batch_size for e in history(job) if isinstance(e, SettingChosen)]
    assert settings == [64 // 2**n for n in range(len(warnings) + 1)]
    setting = json.loads((job.folder / "setting.json").read_text())
    assert setting == {"batch_size": settings[-1], "patch_size": [48, 48, 48]}
    assert json.loads(job.spec_file.read_text())["config"]["batch_size"] == 64


def test_a_running_job_obeys_request_files(blobs: Path, teacher: Path) -> None:
    """Checkpoint, pause and cancel are requested by creating files."""
    config = distillation(blobs, teacher, "logits", steps=100_000, checkpoint_minutes=60)
    config = config.model_copy(update={"validate_every": 50_000})
    job = store.create("distill", config)
    process = launch(job)
    until(lambda: job.status().run.step > 1)
    before = sum(isinstance(event, CheckpointSaved) for event in history(job))
    job.checkpoint()
    until(lambda: sum(isinstance(event, CheckpointSaved) for event in history(job)) > before)
    assert "checkpoint_now" not in job.requests()
    assert job.status().state == "running"
    job.request_file("pause").touch()
    process.join()
    assert job.status().state == "paused"
    paused_at = job.status().run.step
    process = launch(job)
    until(lambda: job.status().run.step > paused_at)
    job.request_file("cancel").touch()
    process.join()
    assert job.status().state == "cancelled"


# The full set, run by make soak


@pytest.fixture(scope="module", params=METHODS)
def long(
    request: pytest.FixtureRequest, blobs: Path, teacher: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[DistillationConfig, Job]:  # fmt: skip
    """A longer distillation, and its undisturbed job."""
    config = distillation(blobs, teacher, request.param, steps=60, validate_every=10)
    job = store.create("distill", config, tmp_path_factory.mktemp("undisturbed"))
    assert run(job) == 0, job.log.read_text()
    return config, job


@pytest.mark.soak
def test_a_job_survives_twenty_random_kills(long: tuple[DistillationConfig, Job]) -> None:
    config, undisturbed = long
    job = store.create("distill", config)
    chance, deaths = random.Random(config.method.name), 0
    for attempt in range(10 * KILLS):
        kind = ("event", "milliseconds", "rename", "write")[attempt % 4]
        span = {"event": 60, "milliseconds": 1500, "rename": 6, "write": 3}[kind]
        code = run(job, (kind, chance.randrange(span)))
        if code == 0:
            break
        assert code == -signal.SIGKILL, job.log.read_text()
        deaths += 1
        assert job.status().state in ("created", "lost")
        if deaths == KILLS:
            assert run(job) == 0, job.log.read_text()
            break
    assert deaths == KILLS, f"it ended after {deaths} kills"
    assert_same(job, undisturbed)


@pytest.fixture(scope="module")
def calm(blobs: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    config = distillation(blobs, teacher, "graph_flow", steps=20, validate_every=5)
    job = store.create("distill", config, tmp_path_factory.mktemp("calm"))
    assert run(job) == 0, job.log.read_text()
    return job


@pytest.mark.soak
def test_a_job_resumes_if_its_newest_checkpoint_is_damaged(calm: Job) -> None:
    job = store.create("distill", calm.config)
    assert run(job, ("rename", 7)) == -signal.SIGKILL
    assert run(job, ("rename", 4)) == -signal.SIGKILL
    last = job.last_checkpoint
    if not last.exists():  # killed between the two renames
        last = job.previous_checkpoint
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    assert run(job) == 0, job.log.read_text()
    warnings = [event.text for event in history(job) if isinstance(event, Warned)]
    assert any("newest checkpoint is damaged" in text for text in warnings)
    assert_same(job, calm)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("file systems cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.soak
def test_a_job_fails_on_a_full_disk_and_resumes(calm: Job, small_disk: Path) -> None:
    job = store.create("distill", calm.config, small_disk)
    process = launch(job)
    until(lambda: any(isinstance(event, CheckpointSaved) for event in history(job)))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    process.join()
    status = job.status()
    assert (status.state, status.failure.code, status.exit_code) == ("failed", "disk_full", 4)
    assert "disk is full" in status.failure.text
    ballast.unlink()
    assert run(job) == 0, job.log.read_text()
    assert_same(job, calm)


@pytest.mark.soak
def test_a_job_fails_at_a_file_size_limit_and_resumes(calm: Job) -> None:
    job = store.create("distill", calm.config)
    assert run(job, misfortune=small_files) == 4, job.log.read_text()
    assert job.status().failure.code == "disk_full"
    assert run(job) == 0, job.log.read_text()
    assert_same(job, calm)


@pytest.mark.soak
@pytest.mark.parametrize("image", ["blob_0", "blob_3", "blob_5"])
def test_a_job_fails_if_a_data_file_is_missing_and_resumes(calm: Job, image: str) -> None:
    job = store.create("distill", calm.config)
    assert run(job, ("rename", 5)) == -signal.SIGKILL
    path = job.config.dataset / "imagesTr" / f"{image}_0000.nii.gz"
    path.rename(path.with_suffix(".away"))
    try:
        assert run(job) == 2, job.log.read_text()
    finally:
        path.with_suffix(".away").rename(path)
    status = job.status()
    assert (status.state, status.exit_code) == ("failed", 2)
    assert image in status.failure.text
    assert run(job) == 0, job.log.read_text()
    assert_same(job, calm)


@pytest.mark.soak
def test_a_job_whose_drive_is_disconnected_fails_and_resumes(calm: Job) -> None:
    job = store.create("distill", calm.config)
    process = launch(job)
    until(lambda: any(isinstance(event, CheckpointSaved) for event in history(job)))
    away = job.folder.with_name("away")
    job.folder.rename(away)
    process.join(5)
    assert process.is_alive(), "it waits for the drive to write its final status"
    away.rename(job.folder)
    process.join()
    status = job.status()
    assert (status.state, status.failure.code, status.exit_code) == ("failed", "drive_gone", 6)
    assert "is not responding" in status.failure.text
    assert run(job) == 0, job.log.read_text()
    assert_same(job, calm)


@pytest.mark.soak
def test_a_job_suspended_for_a_minute_continues(calm: Job) -> None:
    job = store.create("distill", calm.config)
    process = launch(job)
    until(lambda: any(isinstance(event, CheckpointSaved) for event in history(job)))
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(60)
    status = job.status()
    os.kill(process.pid, signal.SIGCONT)
    assert status.state == "running"
    assert "has not responded" in status.notice
    process.join()
    assert_same(job, calm)


@pytest.mark.soak
def test_a_job_is_unaffected_by_a_changed_clock(calm: Job) -> None:
    job = store.create("distill", calm.config)
    process = launch(job, misfortune=wrong_clock)
    seen = set()
    while process.is_alive():
        seen.add(job.status().state)
        time.sleep(0.05)
    process.join()
    assert seen <= {"created", "running", "done"}
    assert "running" in seen
    assert_same(job, calm)


@pytest.mark.soak
def test_a_job_of_the_command_line_is_killed_and_resumed(calm: Job) -> None:
    job = queue.start(store.create("distill", calm.config))
    until(lambda: any(isinstance(event, CheckpointSaved) for event in history(job)))
    os.kill(job.status().process.pid or 0, signal.SIGKILL)
    assert job.wait(60).state == "lost"
    assert job.status().failure.code == "killed"
    assert queue.start(job).wait(300).state == "done", job.log.read_text()
    assert_same(job, calm)
    assert json.loads((job.folder / "cases.json").read_text())["validation"] == ["blob_5"]
