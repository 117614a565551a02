"""The inference worker as a real process: replies, cancel, death, idle end, files."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.worker.client import LOG_BYTES, InferenceWorker, Reply

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# The loop of the real process with handlers that need no network: sums up an image in windows,
# and fails in all the ways in which a process can.
SERVER = """
import os, sys, time
from pathlib import Path
import numpy as np
from napari_graphflow.inference import server
from napari_graphflow.errors import UserError

def double(request):
    volume = server._read_volume(request.fields)
    request.phase("doubling")
    windows = request.fields.get("windows", 3)
    for done in range(1, windows + 1):
        if request.cancelled():
            raise RuntimeError("stopped between two windows")
        time.sleep(request.fields.get("pause", 0))
        request.progress(done, windows)
    path = Path(request.fields["out"]) / "labels.npy"
    print("a library chatters"); os.write(1, b"even in C\\n")
    return {"labels": server._write(path, volume.array * 2), "image": request.fields["image"] + " "}

def fail(request):
    how = request.fields["how"]
    if how == "user":
        raise UserError("The model sees 2 channels, the image has 1.", "Choose another model.")
    if how == "memory":
        raise MemoryError
    if how == "segfault":
        os.kill(os.getpid(), 11)
    if how == "import":
        import torch_that_is_not_there
    raise ValueError("what")

def leave(request):
    unless = Path(request.fields["unless"])
    if not unless.exists():
        if unless.name == "left before":
            unless.touch()
        os._exit(0)
    return {}

handlers = {"ping": server._ping, "double": double, "fail": fail, "leave": leave}
server.HANDLERS.clear(); server.HANDLERS.update(handlers)
sys.exit(server.main())
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[InferenceWorker]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    made = InferenceWorker([sys.executable, str(script)], tmp_path / "worker.log")
    yield made
    made.close()


def image(*shape: int, channels: bool = False) -> Volume:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    ndim = len(shape) - channels
    direction = tuple(np.eye(ndim).ravel())
    return Volume(array, (1.0,) * ndim, (0.0,) * ndim, direction, channels=channels)


def until(
    worker: InferenceWorker, wanted: Callable[[Reply], bool], seconds: float = 60
) -> list[Reply]:
    """Poll as a window does, until a wanted reply has come."""
    replies: list[Reply] = []
    end = time.monotonic() + seconds
    while not any(map(wanted, replies)):
        assert time.monotonic() < end, f"waited too long; so far {replies}"
        replies += worker.poll()
        time.sleep(0.01)
    return replies


def last_of(number: int) -> Callable[[Reply], bool]:
    return lambda reply: reply["id"] == number and reply["event"] != "progress"


def files_of(worker: InferenceWorker) -> list[Path]:
    assert worker._folder is not None
    return sorted(worker._folder.rglob("*.npy"))


# Requests


def test_nothing_starts_before_the_first_request(worker: InferenceWorker) -> None:
    assert worker.pid is None
    assert worker.poll() == []
    began = time.monotonic()
    number = worker.request("ping")
    assert time.monotonic() - began < 0.3
    (reply,) = until(worker, last_of(number))
    assert reply["event"] == "result"
    assert worker.pid is not None
    assert not worker.busy


def test_a_volume_can_be_sent_and_an_array_received(worker: InferenceWorker) -> None:
    phases = []
    volume = image(3, 4, 5)
    reply = worker.run("double", image=volume, on_progress=lambda r: phases.append(r["phase"]))
    np.testing.assert_array_equal(reply["labels"], volume.array * 2)
    assert reply["labels"].flags.writeable
    assert not isinstance(reply["labels"], np.memmap), "a layer must not hang on a file"
    assert set(phases) == {"doubling"}
    assert [path.name for path in files_of(worker)] == ["volume-1.npy"]


def test_only_the_newest_progress_is_handed_on(worker: InferenceWorker) -> None:
    number = worker.request("double", image=image(2, 2), windows=20, pause=0.06)
    until(worker, lambda reply: reply.get("done") == 1)
    time.sleep(0.5)
    (reply,) = worker.poll()
    assert reply["done"] > 3
    assert reply["total"] == 20
    assert 0 < reply["eta_s"] < 10
    worker.cancel(number)


def test_a_volume_is_written_once_while_it_stays_the_same(worker: InferenceWorker) -> None:
    volume = image(2, 3)
    first = worker.run("double", image=volume)["image"]
    assert worker.run("double", image=volume)["image"] == first
    volume.array[0, 0] = 77
    changed = worker.run("double", image=volume)
    assert changed["image"] != first
    assert changed["labels"][0, 0] == 154
    del volume
    gc.collect()
    assert files_of(worker) == []


def test_views_and_channels(worker: InferenceWorker) -> None:
    volume = image(4, 6, 3, channels=True)
    flipped = volume.with_array(volume.array[::-1], channels=True)
    np.testing.assert_array_equal(
        worker.run("double", image=flipped)["labels"], volume.array[::-1] * 2
    )


def test_cancel_between_windows_and_while_waiting(worker: InferenceWorker) -> None:
    volume = image(2, 2)
    running = worker.request("double", image=volume, windows=1000, pause=0.02)
    waiting = worker.request("double", image=volume)
    until(worker, lambda reply: reply["id"] == running and reply.get("done", 0) > 0)
    worker.cancel(waiting)
    worker.cancel(running)
    events = {r["id"]: r["event"] for r in until(worker, last_of(waiting))}
    assert events == {running: "cancelled", waiting: "cancelled"}
    worker.cancel(running)
    worker.cancel(12345)
    assert worker.run("ping")["event"] == "result"


def test_cancel_before_it_was_sent(worker: InferenceWorker) -> None:
    number = worker.request("double", image=image(64, 256, 256))
    worker.cancel(number)
    assert [r["event"] for r in until(worker, last_of(number))][-1] == "cancelled"
    assert worker.run("ping")["event"] == "result"


# Failures


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("user", "user", "sees 2 channels"),
        ("memory", "out_of_memory", "ran out of memory"),
        ("import", "not_installed", "torch_that_is_not_there"),
        ("other", "unexpected", "ValueError: what"),
    ],
)
def test_an_exception_in_words(worker: InferenceWorker, how: str, code: str, words: str) -> None:
    number = worker.request("fail", how=how)
    (reply,) = until(worker, last_of(number))
    assert (reply["event"], reply["failure"].code) == ("error", code)
    assert words in reply["failure"].text
    assert reply["failure"].remedy
    with pytest.raises(UserError, match=words):
        worker.run("fail", how=how)
    assert worker.run("ping")["event"] == "result"
    assert ("Traceback" in worker._log.read_text()) == (how != "user")


def test_a_process_out_of_memory_is_replaced(worker: InferenceWorker) -> None:
    worker.run("ping")
    before = worker.pid
    worker.request("fail", how="memory")
    assert worker.run("ping")["event"] == "result"
    assert worker.pid != before


@posix
def test_sigkill_during_a_request(worker: InferenceWorker) -> None:
    volume = image(2, 2)
    running = worker.request("double", image=volume, windows=1000, pause=0.02)
    waiting = worker.request("ping")
    until(worker, lambda reply: reply.get("done", 0) > 0)
    os.kill(worker.pid or 0, signal.SIGKILL)
    errors = [r for r in until(worker, last_of(waiting)) if r["event"] == "error"]
    assert {r["id"] for r in errors} == {running, waiting}
    assert {r["failure"].code for r in errors} == {"killed"}
    assert all("most likely because memory ran out" in r["failure"].text for r in errors)
    assert not worker.busy
    assert [path.name for path in files_of(worker)] == ["volume-1.npy"]
    np.testing.assert_array_equal(worker.run("double", image=volume)["labels"], volume.array * 2)


@posix
def test_a_crash_in_native_code(worker: InferenceWorker) -> None:
    with pytest.raises(UserError, match="crashed inside a native library"):
        worker.run("fail", how="segfault")
    assert "Segmentation fault" in worker._log.read_text()


def test_a_program_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    broken = InferenceWorker([sys.executable, "-c", "import not_there"], tmp_path / "log")
    with pytest.raises(UserError, match="stopped unexpectedly with exit code 1"):
        broken.run("ping")
    broken.close()
    missing = InferenceWorker([str(tmp_path / "no program")], tmp_path / "log")
    with pytest.raises(UserError, match="is missing"):
        missing.run("ping")
    missing.close()


def test_a_stray_file_in_the_working_directory_is_not_imported(
    worker: InferenceWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('imported by mistake')")
    monkeypatch.chdir(tmp_path)
    assert worker.run("ping")["event"] == "result"


def test_an_unknown_operation_is_refused(worker: InferenceWorker) -> None:
    with pytest.raises(UserError, match="'paint' is not a valid operation"):
        worker.run("paint")


# The end


def test_idle_end_and_a_new_start(worker: InferenceWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_WORKER_IDLE_S", "0.2")
    worker.run("ping")
    first = psutil.Process(worker.pid)
    first.wait(60)
    assert worker.poll() == []
    assert worker.run("ping")["event"] == "result"


def test_a_request_that_meets_the_idle_end_is_sent_again_once(
    worker: InferenceWorker, tmp_path: Path
) -> None:
    assert worker.run("leave", unless=tmp_path / "left before")["event"] == "result"
    with pytest.raises(UserError, match="code 0"):
        worker.run("leave", unless=tmp_path / "never there")


def test_close_ends_everything_at_once(worker: InferenceWorker) -> None:
    worker.request("double", image=image(2, 2), windows=1000, pause=0.02)
    until(worker, lambda reply: reply.get("done", 0) > 0)
    pid, folder = worker.pid, worker._folder
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 1.5
    assert not psutil.pid_exists(pid or 0)
    assert folder is not None
    assert not folder.exists()
    with pytest.raises(RuntimeError):
        worker.request("ping")
    worker.close()


@posix
def test_the_process_ends_with_its_window_and_its_files_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    window = """
import sys, time, os, signal
import numpy as np
from pathlib import Path
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.worker.client import InferenceWorker
worker = InferenceWorker([sys.executable, sys.argv[1]], Path(sys.argv[1]).with_name("log"))
volume = Volume(np.zeros((2, 2)), (1, 1), (0, 0), (1, 0, 0, 1))
worker.request("double", image=volume, windows=100000, pause=0.02)
while not any(reply.get("done") for reply in worker.poll()):
    time.sleep(0.01)
print(worker.pid, worker._folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", window, str(tmp_path / "server.py")]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    pid, folder = killed.stdout.split()
    end = time.monotonic() + 30
    while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != "zombie":
        assert time.monotonic() < end, "the process did not notice that the window is gone"
        time.sleep(0.05)
    assert Path(folder).exists()
    later = InferenceWorker([sys.executable, str(tmp_path / "server.py")], tmp_path / "log")
    later.run("ping")
    assert not Path(folder).exists()
    later.close()
    assert Path(tempfile.gettempdir()) in Path(folder).parents


def test_the_log_of_the_worker_stays_bounded(worker: InferenceWorker) -> None:
    worker._log.write_bytes(b"x" * (LOG_BYTES + 1))
    worker.run("ping")
    assert worker._log.stat().st_size < LOG_BYTES
    assert worker._log.with_name("worker.log.1").stat().st_size > LOG_BYTES
