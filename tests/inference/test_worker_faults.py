"""The worker's client and loop under garbage on the pipe and processes that do not listen."""

import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference import server
from napari_graphflow.inference.requests import parse_request
from napari_graphflow.plugin.worker.client import CANCEL_TIMEOUT, InferenceWorker
from napari_graphflow.plugin.worker.replies import FINAL, Reply, parse_reply

#: Answers pings, prints garbage before each answer, and ignores that it is cancelled.
STUBBORN = r"""
import json, os, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    if asked["op"] == "cancel":
        continue
    for part in json.loads(os.environ.get("GARBAGE", "[]")):
        sys.stdout.buffer.write(part.encode("latin-1") + b"\n")
    sys.stdout.flush()
    if asked["op"] == "sleep":
        time.sleep(600)
    if asked["op"] == "array":
        import numpy as np
        os.makedirs(asked["out"])
        np.save(asked["out"] + "/labels.npy", np.load(asked["image"]))
        answer = {"labels": asked["out"] + "/labels.npy"}
    else:
        answer = {}
    print(json.dumps({"id": asked["id"], "event": "result", **answer}), flush=True)
"""

GARBAGE = [
    "", "hello", "{", "[]", "1", "null", "\xff\xfe\x00", '{"id": 1}', '{"event": "result"}',
    '{"id": [1], "event": "result"}', '{"id": 999, "event": "result"}',
    '{"id": true, "event": "result"}', '{"id": 1, "event": ["result"]}',
    '{"id": 1, "event": "progress"}', '{"id": 1, "event": "progress", "done": "x", "total": {}}',
    '{"id": 1, "event": "dance"}', "[" * 5000, '{"id": 1, "event": "progress", "phase": 3}',
]  # fmt: skip


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InferenceWorker]:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    made = InferenceWorker([sys.executable, str(tmp_path / "stubborn.py")], tmp_path / "log")
    yield made
    made.close()


def final(worker: InferenceWorker, *numbers: int, seconds: float = 30) -> dict[int, Reply]:
    """Poll until all these requests have ended."""
    found: dict[int, Reply] = {}
    end = time.monotonic() + seconds
    while set(found) != set(numbers):
        assert time.monotonic() < end, found
        found |= {reply["id"]: reply for reply in worker.poll() if reply["event"] in FINAL}
        time.sleep(0.01)
    return found


def test_a_process_that_ignores_a_cancellation_is_killed_and_others_are_served_anew(
    worker: InferenceWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CANCEL_TIMEOUT < 1
    monkeypatch.setattr("napari_graphflow.plugin.worker.client.CANCEL_TIMEOUT", 0.3)
    worker.run("ping")
    stubborn, waiting = worker.request("sleep"), worker.request("ping")
    time.sleep(0.1)
    before, began = worker.pid, time.monotonic()
    worker.cancel(stubborn)
    assert time.monotonic() - began < 0.1
    ended = final(worker, stubborn, waiting)
    assert time.monotonic() - began >= 0.3
    assert (ended[stubborn]["event"], ended[stubborn]["killed"]) == ("cancelled", True)
    assert ended[waiting]["event"] == "result"
    assert worker.pid != before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_stopped_process_is_killed_when_its_request_is_cancelled(
    worker: InferenceWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graphflow.plugin.worker.client.CANCEL_TIMEOUT", 0.2)
    worker.run("ping")
    os.kill(worker.pid or 0, signal.SIGSTOP)
    number = worker.request("ping", padding="x" * (1 << 20))  # more than the pipe takes
    time.sleep(0.1)
    worker.cancel(number)
    assert final(worker, number)[number]["event"] == "cancelled"
    assert worker.run("ping")["event"] == "result"


def test_garbage_on_the_pipe_is_ignored_by_the_client(
    worker: InferenceWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GARBAGE", json.dumps(GARBAGE))
    assert worker.run("ping")["event"] == "result"
    assert worker.run("ping")["event"] == "result"


def test_an_error_that_cannot_be_read_still_ends_its_request() -> None:
    reply = parse_reply('{"id": 3, "event": "error", "failure": {"text": 1}}')
    assert reply is not None
    assert "cannot be read" in reply["failure"].text


def served(lines: list[str]) -> list[dict[str, Any]]:
    """Serve lines with an operation that always succeeds, and return the replies."""
    replies = io.StringIO()
    running = server._Server(replies)
    for line in lines:
        if (fields := parse_request(line)) is not None and fields["op"] != "shutdown":
            running._take(fields)
    while not running.waiting.empty():
        request = running.waiting.get()
        assert request is not None
        server._answer(request, {"ping": lambda _: {}})
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_garbage_on_the_pipe_does_not_deafen_the_worker() -> None:
    replies = served([*GARBAGE, '{"id": 1, "op": 3}', '{"id": 5, "op": "ping"}'])
    assert replies[-1] == {"id": 5, "event": "result"}


def mutated(line: str, randomly: random.Random) -> str:
    """Return a line with some characters replaced, removed or repeated."""
    letters = list(line)
    for _ in range(randomly.randint(1, 6)):
        at = randomly.randrange(len(letters)) if letters else 0
        change = randomly.choice(("replace", "remove", "repeat", "cut"))
        if change == "replace" and letters:
            letters[at] = chr(randomly.choice((0, 34, 44, 58, 91, 93, 123, 125, 48, 255, 0x1F600)))
        elif change == "remove" and letters:
            del letters[at]
        elif change == "repeat":
            letters[at:at] = letters[at : at + 8] * 3
        else:
            del letters[at:]
    return "".join(letters)


_REQUESTS = (
    '{"id": 7, "op": "ping"}', '{"op": "cancel", "id": 7}',
    '{"id": 8, "op": "segment", "image": "x.npy", "model": "m", "out": "o"}',
)  # fmt: skip
_REPLIES = (
    '{"id": 7, "event": "progress", "phase": "a", "done": 1, "total": 2, "eta_s": 0.5}',
    '{"id": 7, "event": "error", "failure": {"code": "user", "text": "t", "exit_code": 2}}',
    '{"id": 7, "event": "result", "labels": "x"}',
)


def fuzz(seconds: float, seed: int = 0) -> int:
    """Send mutated lines both ways for some seconds; return how many."""
    randomly, count = random.Random(seed), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        count += 1
        lines = [mutated(randomly.choice(_REQUESTS), randomly) for _ in range(5)]
        assert served([*lines, '{"id": 5, "op": "ping"}'])[-1]["id"] == 5
        for _ in range(5):
            reply = parse_reply(mutated(randomly.choice(_REPLIES), randomly))
            assert reply is None or reply["event"] in FINAL | {"progress"}
    return count


def test_mutated_lines_neither_end_nor_deafen_either_side() -> None:
    assert fuzz(0.3) > 5


@pytest.mark.soak
def test_mutated_lines_for_a_minute_neither_end_nor_deafen_either_side() -> None:
    assert fuzz(60, seed=1) > 1000


def image() -> Volume:
    return Volume(
        np.arange(8.0).reshape(2, 2, 2), (1.0,) * 3, (0.0,) * 3, (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )


def test_a_temporary_folder_that_was_cleaned_is_made_again(worker: InferenceWorker) -> None:
    volume = image()
    np.testing.assert_array_equal(worker.run("array", image=volume)["labels"], volume.array)
    assert worker._folder is not None
    for path in worker._folder.iterdir():
        path.unlink()
    worker._folder.rmdir()
    np.testing.assert_array_equal(worker.run("array", image=volume)["labels"], volume.array)


def test_no_folder_of_a_request_is_left(worker: InferenceWorker) -> None:
    volume = image()
    for _ in range(3):
        worker.run("array", image=volume)
    assert worker._folder is not None
    assert [path.name for path in worker._folder.iterdir()] == ["volume-1.npy"]
