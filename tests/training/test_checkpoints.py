"""Checkpoints on a disk that truncates, alters or rejects them."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.regular_file import open_regular
from napari_graphflow.training.checkpoints import POLL_INTERVAL, Checkpoints

CPU = torch.device("cpu")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    JobPaths(tmp_path).control.mkdir()
    made = Checkpoints(tmp_path, minutes=60)
    for step in (1, 2):
        made.save({"weights": torch.full((1000,), float(step)), "step": step}, step)
    return made


def load(checkpoints: Checkpoints) -> tuple[Any, list[str]]:
    texts, reading = [], checkpoints.load(CPU)
    while True:
        try:
            texts.append(next(reading).text)
        except StopIteration as end:
            return end.value, texts


def test_the_newest_checkpoint_is_read_and_the_previous_one_is_kept(
    checkpoints: Checkpoints,
) -> None:
    content, texts = load(checkpoints)
    assert (content["step"], texts) == (2, [])
    assert (content["weights"] == 2).all()
    checkpoints.paths.last_checkpoint.unlink()
    assert load(checkpoints)[0]["step"] == 1


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "one bit":
        data[len(data) // 2] ^= 1
    elif how == "zeros":  # what some file systems leave after a power cut
        data = bytearray(len(data))
    elif how == "a gap":
        del data[len(data) // 3 : len(data) // 2]
    elif how == "a record called a folder":  # not detected by the checks of a zip archive
        data[data.index(b"PK\x01\x02") + 38] ^= 1 << 4
    elif how == "offset":  # of the central directory, in the end record
        data[data.rindex(b"PK\x05\x06") + 19] ^= 1 << 7
    path.write_bytes(data)


DAMAGES = ["truncated", "empty", "one bit", "zeros", "a gap", "a record called a folder", "offset"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(
    checkpoints: Checkpoints, how: str
) -> None:
    damage(checkpoints.paths.last_checkpoint, how)
    content, texts = load(checkpoints)
    assert content["step"] == 1
    assert texts == ["The newest checkpoint is damaged. Resuming from the previous one, of step 1."]
    damage(checkpoints.paths.previous_checkpoint, how)
    content, texts = load(checkpoints)
    assert content is None
    assert texts == ["The newest checkpoint is damaged. Resuming from the beginning."]


def test_a_flipped_bit_is_detected_anywhere_in_a_checkpoint(checkpoints: Checkpoints) -> None:
    last = checkpoints.paths.last_checkpoint
    intact = last.read_bytes()
    for position in range(0, len(intact), 13):
        data = bytearray(intact)
        data[position] ^= 1 << position % 8
        last.write_bytes(data)
        assert load(checkpoints)[0]["step"] == 1, position


def test_a_damaged_checkpoint_never_replaces_an_intact_one(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(checkpoints.paths.last_checkpoint, "one bit")
    resumed = Checkpoints(checkpoints.paths.folder, minutes=60)
    assert load(resumed)[0]["step"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_at_the_last_rename)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            resumed.save({"step": 3}, 3)
    assert load(Checkpoints(checkpoints.paths.folder, minutes=60))[0]["step"] == 1
    resumed.save({"step": 3}, 3)
    damage(checkpoints.paths.last_checkpoint, "truncated")
    assert load(checkpoints)[0]["step"] == 1


def killed_at_the_last_rename(path: Path, target: Path) -> None:
    if path.name.startswith("."):
        raise KeyboardInterrupt
    path.rename(target)


def test_the_only_intact_checkpoint_is_kept_even_if_it_was_not_renamed(
    checkpoints: Checkpoints,
) -> None:
    last = checkpoints.paths.last_checkpoint
    last.rename(last.with_name(".last.pt"))
    damage(checkpoints.paths.previous_checkpoint, "truncated")
    for _ in range(2):
        resumed = Checkpoints(checkpoints.paths.folder, minutes=60)
        assert load(resumed)[0]["step"] == 2
    resumed.save({"step": 3}, 3)
    damage(last, "truncated")
    assert load(resumed)[0]["step"] == 2


def test_an_unreadable_checkpoint_is_replaced_by_the_previous_one(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {checkpoints.paths.last_checkpoint}

    def failing_open(path: Path) -> Any:
        if path in bad:
            raise OSError(5, os.strerror(5))
        return open_regular(path)

    monkeypatch.setattr("napari_graphflow.training.checkpoints.open_regular", failing_open)
    assert load(checkpoints)[0]["step"] == 1
    # The whole drive may be disconnected, which must not restart the run.
    bad.add(checkpoints.paths.previous_checkpoint)
    with pytest.raises(OSError, match=os.strerror(5)):
        load(checkpoints)


def test_a_full_disk_keeps_the_existing_checkpoints(checkpoints: Checkpoints) -> None:
    class Full:
        def __reduce__(self) -> Any:
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        checkpoints.save({"weights": Full()}, 3)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.paths.checkpoints.glob(".*"))


def test_partial_files_of_a_killed_process_are_removed(checkpoints: Checkpoints) -> None:
    (checkpoints.paths.checkpoints / ".last.pt").write_bytes(b"half")
    (checkpoints.paths.artifacts / ".model-0").mkdir(parents=True)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.paths.folder.glob("*/.*"))


def test_a_checkpoint_is_due_by_time_and_by_request(checkpoints: Checkpoints) -> None:
    assert not checkpoints.due()
    checkpoints.paths.request_file("checkpoint_now").touch()
    end = time.monotonic() + 10 * POLL_INTERVAL
    while not checkpoints.due():
        assert time.monotonic() < end
        time.sleep(POLL_INTERVAL / 4)
    checkpoints.save({"step": 3}, 3)
    assert not checkpoints.paths.request_file("checkpoint_now").exists()
    time.sleep(POLL_INTERVAL)
    assert not checkpoints.due()
    checkpoints.seconds = 0.0
    assert checkpoints.due()
