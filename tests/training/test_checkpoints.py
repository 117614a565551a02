"""Checkpoints on a disk that tears, alters and refuses them."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.training.checkpoints import LOOK, Checkpoints

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


def test_the_newest_is_read_and_the_one_before_is_kept(checkpoints: Checkpoints) -> None:
    content, texts = load(checkpoints)
    assert (content["step"], texts) == (2, [])
    assert (content["weights"] == 2).all()
    checkpoints.paths.last_checkpoint.unlink()
    assert load(checkpoints)[0]["step"] == 1


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "torn":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "one bit":
        data[len(data) // 2] ^= 1
    elif how == "zeros":  # what some file systems leave after the power was cut
        data = bytearray(len(data))
    elif how == "a gap":
        del data[len(data) // 3 : len(data) // 2]
    elif how == "a record called a folder":  # which a test of the zip archive skips
        data[data.index(b"PK\x01\x02") + 38] ^= 1 << 4
    elif how == "offset":  # of the archive's table, in its end record
        data[data.rindex(b"PK\x05\x06") + 19] ^= 1 << 7
    path.write_bytes(data)


DAMAGES = ["torn", "empty", "one bit", "zeros", "a gap", "a record called a folder", "offset"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_one_falls_back_and_says_so(checkpoints: Checkpoints, how: str) -> None:
    damage(checkpoints.paths.last_checkpoint, how)
    content, texts = load(checkpoints)
    assert content["step"] == 1
    assert texts == ["The newest checkpoint is damaged. Going on from the one before, of step 1."]
    damage(checkpoints.paths.previous_checkpoint, how)
    content, texts = load(checkpoints)
    assert content is None
    assert texts == ["The newest checkpoint is damaged. Going on from the beginning."]


def test_any_bit_may_flip(checkpoints: Checkpoints) -> None:
    last = checkpoints.paths.last_checkpoint
    whole = last.read_bytes()
    for place in range(0, len(whole), 13):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        last.write_bytes(data)
        assert load(checkpoints)[0]["step"] == 1, place


def test_a_damaged_one_never_takes_the_place_of_a_whole_one(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(checkpoints.paths.last_checkpoint, "one bit")
    resumed = Checkpoints(checkpoints.paths.folder, minutes=60)
    assert load(resumed)[0]["step"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_at_the_last_renaming)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            resumed.save({"step": 3}, 3)
    assert load(Checkpoints(checkpoints.paths.folder, minutes=60))[0]["step"] == 1
    resumed.save({"step": 3}, 3)
    damage(checkpoints.paths.last_checkpoint, "torn")
    assert load(checkpoints)[0]["step"] == 1


def killed_at_the_last_renaming(path: Path, target: Path) -> None:
    if path.name.startswith("."):
        raise KeyboardInterrupt
    path.rename(target)


def test_the_only_whole_one_is_kept_even_if_it_was_not_renamed(checkpoints: Checkpoints) -> None:
    last = checkpoints.paths.last_checkpoint
    last.rename(last.with_name(".last.pt"))
    damage(checkpoints.paths.previous_checkpoint, "torn")
    for _ in range(2):
        resumed = Checkpoints(checkpoints.paths.folder, minutes=60)
        assert load(resumed)[0]["step"] == 2
    resumed.save({"step": 3}, 3)
    damage(last, "torn")
    assert load(resumed)[0]["step"] == 2


def test_one_that_cannot_be_read_falls_back_too(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, bad = Path.open, {checkpoints.paths.last_checkpoint}

    def worn_out(path: Path, *arguments: Any) -> Any:
        if path in bad:
            raise OSError(5, os.strerror(5))
        return read(path, *arguments)

    monkeypatch.setattr(Path, "open", worn_out)
    assert load(checkpoints)[0]["step"] == 1
    # The whole drive may be gone, which is no reason to begin again.
    bad.add(checkpoints.paths.previous_checkpoint)
    with pytest.raises(OSError, match=os.strerror(5)):
        load(checkpoints)


def test_a_disk_that_is_full_costs_no_checkpoint(checkpoints: Checkpoints) -> None:
    class Full:
        def __reduce__(self) -> Any:
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        checkpoints.save({"weights": Full()}, 3)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.paths.checkpoints.glob(".*"))


def test_what_a_kill_left_half_written_is_swept_away(checkpoints: Checkpoints) -> None:
    (checkpoints.paths.checkpoints / ".last.pt").write_bytes(b"half")
    (checkpoints.paths.artifacts / ".model-0").mkdir(parents=True)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.paths.folder.glob("*/.*"))


def test_a_checkpoint_is_due_by_time_and_by_request(checkpoints: Checkpoints) -> None:
    assert not checkpoints.due()
    checkpoints.paths.request_file("checkpoint_now").touch()
    end = time.monotonic() + 10 * LOOK
    while not checkpoints.due():
        assert time.monotonic() < end
        time.sleep(LOOK / 4)
    checkpoints.save({"step": 3}, 3)
    assert not checkpoints.paths.request_file("checkpoint_now").exists()
    time.sleep(LOOK)
    assert not checkpoints.due()
    checkpoints.seconds = 0.0
    assert checkpoints.due()
