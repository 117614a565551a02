"""Reading the folder of a job, without a job process."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import pytest
from job_cases import new_job

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import store
from napari_graphflow.jobs.event_log import CHUNK, event_line
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.status import TRANSITIONS, Process, State, Status
from napari_graphflow.system import folders
from napari_graphflow.system.events import Metric, Phase
from napari_graphflow.system.processes import process_start
from napari_graphflow.training import process


def test_default_folders_follow_the_environment_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (folders.jobs_root(), folders.models_root()) == (home / "jobs", home / "models")
    monkeypatch.delenv("GRAPHFLOW_HOME")
    assert "napari-graphflow" in str(folders.data_root())


def test_a_new_job_stores_its_settings_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = DistillationConfig(dataset=Path("liver"), teacher=Path("models/big"), steps=7)
    job = store.create("distill", config)
    again = Job(job.folder)
    assert again.kind == "distill"
    assert again.config == config.model_copy(
        update={"dataset": tmp_path / "liver", "teacher": tmp_path / "models" / "big"}
    )
    assert again.title == "graph flow: big to enet on liver"
    assert again.status().state == "created"
    assert again.spec["versions"]["python"]


def test_a_job_is_titled_by_the_names_of_its_models(tmp_path: Path) -> None:
    models = [JobPaths(tmp_path / name).model for name in ("first", "second")]
    for folder, name in zip(models, ("large", "small"), strict=True):
        folder.mkdir(parents=True)
        card = ModelCard(
            name=name, role="student", network="enet", dims=3, in_channels=1,
            classes={"background": 0, "organ": 1}, patch_size=(8, 8, 8),
            preprocessing=Preprocessing(intensity="zscore"),
        )  # fmt: skip
        (folder / "model.json").write_text(card.model_dump_json(), "utf-8")
    config = ComparisonConfig(a=models[0], b=models[1], dataset=tmp_path / "liver")
    assert store.create("compare", config).title == "large and small compared on liver"


def test_jobs_are_listed_newest_first_and_other_folders_skipped(tmp_path: Path) -> None:
    made = [new_job(tmp_path / str(number), name="same name") for number in range(3)]
    JobPaths(folders.jobs_root() / "half-made").control.mkdir(parents=True)
    (folders.jobs_root() / "broken").mkdir()
    JobPaths(folders.jobs_root() / "broken").spec_file.write_text('{"kind": "tra')
    (folders.jobs_root() / "a file").write_text("x")
    assert store.list_jobs() == made[::-1]
    assert store.list_jobs(tmp_path / "nowhere") == []


def test_a_job_is_found_by_folder_name_or_part_of_its_name(tmp_path: Path) -> None:
    one, _ = new_job(tmp_path, name="liver one"), new_job(tmp_path, name="liver two")
    assert (
        store.find_job(str(one.folder)) == store.find_job(one.name) == store.find_job("one") == one
    )
    with pytest.raises(UserError, match="2 jobs match"):
        store.find_job("liver")
    with pytest.raises(UserError, match="no job"):
        store.find_job("spleen")
    with pytest.raises(UserError, match="is not a job"):
        Job(tmp_path)


def test_settings_of_another_version_are_refused_with_their_name(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    job.spec["config"]["steps"] = "many"
    job.spec_file.write_text(json.dumps(job.spec))
    with pytest.raises(UserError, match="steps"):
        _ = Job(job.folder).config


def test_the_table_of_transitions_is_complete() -> None:
    assert set(TRANSITIONS) == set(get_args(State))
    assert all(after < set(TRANSITIONS) for after in TRANSITIONS.values())
    assert all(Status(state=state).resumable for state in ("paused", "failed", "cancelled", "lost"))
    assert not any(Status(state=state).resumable for state in ("created", "running", "done"))
    endings = {state for state in TRANSITIONS if "queued" in TRANSITIONS[state]}
    assert endings == {"created", "paused", "failed", "cancelled", "lost"}, "these can be started"
    assert {state for state in TRANSITIONS if "paused" in TRANSITIONS[state]} == {"running"}


def test_the_write_lock_is_held_by_one_thread_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graphflow.jobs.folder.LOCK_TIMEOUT", 0.1)
    job = new_job(tmp_path)

    def refused() -> None:
        with pytest.raises(UserError, match="run by another process"), job.writing():
            pass

    other = "import sys; from pathlib import Path\n"
    other += "from napari_graphflow.system.files import locked\n"
    other += "with locked(Path(sys.argv[1])) as free: print(free)"
    with job.writing():
        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()
        # The refusal must not have released the lock between processes.
        command = [sys.executable, "-c", other, str(job.folder / "lock")]
        assert subprocess.check_output(command, text=True).strip() == "False"
    with job.writing():
        pass


# Events


def test_events_are_read_by_offset_without_incomplete_or_invalid_lines(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    assert job.events() == ([], 0)
    job.events_file.write_bytes(
        b'{"event": "phase", "kind": "training", "name": "a"}\n{"event": "phase"'
    )
    events, offset = job.events()
    assert events == [Phase(kind="training", name="a")]
    assert job.events(offset) == ([], offset)
    with job.events_file.open("ab") as file:
        file.write(
            b', "kind": "training", "name": "b"}\n\xff\xfe\n{"event": "truncated by a kill\n'
        )
        file.write(b'{"event": "of another version"}\n[]\n')
        file.write(b'{"event": "phase", "kind": "training", "name": "c"}\n')
    events, offset = job.events(offset)
    assert events == [Phase(kind="training", name="b"), Phase(kind="training", name="c")]
    assert offset == job.events_file.stat().st_size


def test_an_event_is_written_as_one_line_of_json(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    lines = [event_line(Metric(name="dice", value=value, step=3)) for value in (0.5, math.nan)]
    written = [json.loads(line) for line in lines]
    assert abs(written[0].pop("t") - time.time()) < 60
    assert written[0] == {
        "event": "metric", "name": "dice", "value": 0.5, "step": 3, "split": "train",
    }  # fmt: skip
    job.events_file.write_bytes(b"".join(lines))
    assert [event.value for event in job.events()[0] if isinstance(event, Metric)] == [0.5, None]


def test_a_long_log_of_events_is_read_in_chunks(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    line = b'{"event": "alive"}\n'
    count = 2 * CHUNK // len(line)
    long = b'{"event": "phase", "kind": "training", "name": "' + b"x" * (2 * CHUNK) + b'"}\n'
    job.events_file.write_bytes(line * count + long)
    sizes, offset = [], 0
    while True:
        events, offset = job.events(offset)
        if not events:
            break
        sizes.append(len(events))
    assert sum(sizes) == count + 1
    assert len(sizes) > 2


# The state


def test_a_process_with_a_reused_number_is_not_the_job(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    alive = Status(
        state="running",
        process=Process(
            host=socket.gethostname(),
            pid=os.getpid(),
            started=process_start(os.getpid()),
            heartbeat=time.time(),
        ),
    )
    job.write_status(alive)
    assert job.status().state == "running"
    job.write_status(alive.with_process(started="another start"))
    assert job.status().state == "lost"
    job.write_status(alive.with_process(started=""))
    assert job.status().state == "lost"


def test_a_job_on_another_computer_is_lost_without_heartbeats(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    status = Status(
        state="running", process=Process(host="elsewhere", pid=os.getpid(), heartbeat=time.time())
    )
    job.write_status(status)
    assert job.status().state == "running"
    job.write_status(status.with_process(heartbeat=time.time() - 3600))
    assert job.status().state == "lost"


def test_a_job_with_an_unreadable_status_is_lost(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    job.status_file.write_text('{"state": "runn')
    assert job.status().state == "lost"


def test_a_job_on_a_disconnected_drive_is_lost_until_it_is_reconnected(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    away = job.folder.with_name("away")
    job.folder.rename(away)
    status = job.status()
    assert (status.state, status.failure.code) == ("lost", "drive_gone")
    assert "is not responding" in status.failure.text
    assert (job.requests(), job.events()) == (set(), ([], 0))
    away.rename(job.folder)
    assert job.status().state == "created"


def test_a_request_that_cannot_be_removed_does_not_fail_a_finished_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(tmp_path)

    def refuse(_: Job) -> None:
        raise OSError("the drive is not responding")

    monkeypatch.setattr(Job, "clear_requests", refuse)
    assert process.run(job.folder, iter([])) == 0
    assert job.status().state == "done"


def test_a_final_status_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(tmp_path)
    write = Job.write_state

    def write_and_fail(one: Job, status: Status) -> None:
        write(one, status)
        if status.state == "done":
            raise OSError("the drive is not responding")

    monkeypatch.setattr(Job, "write_state", write_and_fail)
    assert process.run(job.folder, iter([])) == 0
    assert job.status().state == "done"
