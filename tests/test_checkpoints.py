"""Checkpoints on a disk that tears, alters and refuses them."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_graphflow.checkpoints import BEFORE, LAST, LOOK, WISH, Checkpoints

CPU = torch.device("cpu")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    (tmp_path / "control").mkdir()
    made = Checkpoints(tmp_path, minutes=60)
    for step in (1, 2):
        made.save({"weights": torch.full((1000,), float(step)), "step": step}, step)
    return made


def load(checkpoints: Checkpoints) -> tuple[Any, list[str]]:
    texts, reading = [], checkpoints.load(CPU)
    while True:
        try:
            texts.append(next(reading)["text"])
        except StopIteration as end:
            return end.value, texts


def test_the_newest_is_read_and_the_one_before_is_kept(checkpoints: Checkpoints) -> None:
    content, texts = load(checkpoints)
    assert (content["step"], texts) == (2, [])
    assert (content["weights"] == 2).all()
    (checkpoints.folder / LAST).unlink()
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
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["torn", "empty", "one bit", "zeros"])
def test_a_damaged_one_falls_back_and_says_so(checkpoints: Checkpoints, how: str) -> None:
    damage(checkpoints.folder / LAST, how)
    content, texts = load(checkpoints)
    assert content["step"] == 1
    assert texts == ["The newest checkpoint is damaged. Going on from the one before, of step 1."]
    damage(checkpoints.folder / BEFORE, how)
    content, texts = load(checkpoints)
    assert content is None
    assert texts == ["The newest checkpoint is damaged. Going on from the beginning."]


def test_a_disk_that_is_full_costs_no_checkpoint(checkpoints: Checkpoints) -> None:
    class Full:
        def __reduce__(self) -> Any:
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        checkpoints.save({"weights": Full()}, 3)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.folder.glob("checkpoints/.*"))


def test_what_a_kill_left_half_written_is_swept_away(checkpoints: Checkpoints) -> None:
    (checkpoints.folder / "checkpoints" / ".last.pt").write_bytes(b"half")
    (checkpoints.folder / "artifacts" / ".model-0").mkdir(parents=True)
    assert load(checkpoints)[0]["step"] == 2
    assert not list(checkpoints.folder.glob("*/.*"))


def test_one_is_due_by_time_and_by_wish(checkpoints: Checkpoints) -> None:
    assert not checkpoints.due()
    (checkpoints.folder / WISH).touch()
    end = time.monotonic() + 10 * LOOK
    while not checkpoints.due():
        assert time.monotonic() < end
        time.sleep(LOOK / 4)
    checkpoints.save({"step": 3}, 3)
    assert not (checkpoints.folder / WISH).exists()
    time.sleep(LOOK)
    assert not checkpoints.due()
    checkpoints.seconds = 0.0
    assert checkpoints.due()
