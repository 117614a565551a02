"""A pipe or device in place of a file is refused at once; a test that waits for it is ended."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from job_cases import new_job

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.system.files import locked, read_memory
from napari_graphflow.system.regular_file import read_regular

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "dataset.json"
    os.mkfifo(path)
    return path


def test_only_regular_files_are_read(pipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert read_regular(file) == b"content"
    for other in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(OSError, match=r"regular|folder|directory"):
            read_regular(other)


@pytest.mark.parametrize(
    "read", [lambda path: read_config(ModelCard, path), lambda path: Dataset.open(path.parent)]
)
def test_a_pipe_in_place_of_settings_is_named(read: Callable[[Path], object], pipe: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.json cannot be read: it is no regular file"):
        read(pipe)


def test_a_pipe_in_place_of_what_can_be_done_without_counts_as_missing(pipe: Path) -> None:
    assert read_memory(pipe) == {}
    found, offset = read_events(pipe, 7)
    assert (list(found), offset) == ([], 7)


def test_a_job_with_pipes_is_shown_as_lost_and_hides_no_other(home: Path, blobs: Path) -> None:
    good, bad = new_job(blobs), new_job(blobs)
    for path in (bad.status_file, bad.log, bad.lock_file, bad.events_file):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    states = {job.folder: job.status() for job in list_jobs()}
    assert set(states) == {good.folder, bad.folder}
    assert states[bad.folder].state == "lost"
    assert "status.json cannot be read" in str(states[bad.folder].failure)


def test_a_pipe_in_place_of_a_lock_is_not_waited_for(pipe: Path) -> None:
    with locked(pipe) as free:
        assert free
