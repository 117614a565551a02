"""The inference worker process: one JSON object per line in, one per line out.

Requests are served one at a time; ``cancel`` and ``shutdown`` are received meanwhile. Arrays are
passed as ``.npy`` files. The process ends when its input closes, because napari has then ended,
and after an idle time.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from napari_graphflow import __version__
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.prediction import PredictionOptions
from napari_graphflow.errors import UserError
from napari_graphflow.inference.requests import Request, parse_request
from napari_graphflow.system.failures import SMALLER_SEGMENTATION, explain
from napari_graphflow.system.files import written_aside

if TYPE_CHECKING:
    from napari_graphflow.imaging.volume import Volume
    from napari_graphflow.inference.predict import LoadedModel
    from napari_graphflow.models.saved import Model


IDLE_SECONDS = 600.0
#: Seconds that a running request may take to stop after napari has ended.
LAST_SECONDS = 2.0
MODELS_KEPT = 2


Handler = Callable[[Request], dict[str, Any]]


def main() -> int:
    """Serve on standard input and output until the input closes or the idle time is over."""
    # Ctrl-C in the terminal is for napari; when it ends, the input closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Output of libraries, in Python or in C, must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    idle = float(os.environ.get("GRAPHFLOW_WORKER_IDLE_S", IDLE_SECONDS))
    serve(HANDLERS, sys.stdin, replies, idle)
    return 0


def serve(
    handlers: Mapping[str, Handler], requests: Iterable[str], replies: TextIO, idle: float
) -> None:
    """Serve requests one after the other.

    Parameters
    ----------
    handlers
        Function for each operation that returns the fields of the result. Any exception becomes
        an error reply, or ``cancelled`` if the request was cancelled.
    requests
        Lines of JSON; the process ends when they end.
    replies
        Receives lines of JSON.
    idle
        Seconds without a request after which this function returns.
    """
    server = _Server(replies)
    threading.Thread(target=server.listen, args=(requests,), name="requests", daemon=True).start()
    with suppress(queue.Empty, BrokenPipeError):
        while (request := server.waiting.get(timeout=idle)) is not None:
            usable = _answer(request, handlers)
            server.known.pop(request.id, None)
            if not usable:
                return


class _Server:
    """State shared by the listening and the serving thread."""

    def __init__(self, replies: TextIO) -> None:
        self.waiting: queue.Queue[Request | None] = queue.Queue()
        self.known: dict[int, Request] = {}
        self._replies = replies
        self._writing = threading.Lock()

    def listen(self, requests: Iterable[str]) -> None:
        for line in requests:
            fields = parse_request(line)
            if fields is None:  # no request, or the incomplete last line of a killed client
                continue
            if fields["op"] == "shutdown":
                break
            self._take(fields)
        for request in list(self.known.values()):
            request.cancel()
        self.waiting.put(None)
        # A native call cannot be interrupted, but its result is no longer needed.
        time.sleep(LAST_SECONDS)
        os._exit(0)

    def _take(self, fields: dict[str, Any]) -> None:
        if fields["op"] == "cancel":
            request = self.known.get(fields["id"])
            if request is not None:
                request.cancel()
            return
        request = Request(fields, self._send)
        self.known[request.id] = request
        self.waiting.put(request)

    def _send(self, reply: dict[str, Any]) -> None:
        with self._writing:
            self._replies.write(json.dumps(reply, default=str) + "\n")
            self._replies.flush()


def _answer(request: Request, handlers: Mapping[str, Handler]) -> bool:
    """Serve a request; return False if the process should end afterwards."""
    if request.cancelled():
        request.reply("cancelled")
        return True
    try:
        if request.op not in handlers:
            raise UserError(
                f"{request.op!r} is not a valid operation of the worker.", "Restart napari."
            )
        result = handlers[request.op](request)
    except BrokenPipeError:
        raise
    except Exception as error:
        if request.cancelled():
            request.reply("cancelled")
            return True
        if not isinstance(error, UserError):
            traceback.print_exc()
        why = explain(error, smaller=SMALLER_SEGMENTATION)
        request.reply("error", failure=why.model_dump())
        # After running out of memory only a new process is sure to have all of it again.
        return not why.code.startswith("out_of")
    request.reply("result", **result)
    return True


def _ping(request: Request) -> dict[str, Any]:
    return {"version": __version__}


def _segment(request: Request) -> dict[str, Any]:
    fields = request.fields
    model = _load_for_inference(request, fields["model"], fields.get("device", "auto"))
    from napari_graphflow.inference.predict import segment
    from napari_graphflow.inference.site_check import session_report

    volume = _read_volume(fields)
    prediction = segment(
        model,
        volume,
        progress=request.progress,
        phase=request.phase,
        cancelled=request.cancelled,
        probabilities=bool(fields.get("probabilities")),
        options=PredictionOptions(
            mirror=fields.get("mirror"), postprocess=fields.get("postprocess", True)
        ),
    )
    out = Path(fields["out"])
    result: dict[str, Any] = {"labels": _write(out / "labels.npy", prediction.labels.array)}
    if prediction.probabilities is not None:
        soft = prediction.probabilities.array.astype(np.float16)
        result["probabilities"] = _write(out / "probabilities.npy", soft)
    return result | {
        "classes": model.card.classes,
        "model": model.card.name,
        "seconds": prediction.seconds,
        "peak_bytes": prediction.peak_bytes,
        "device": prediction.device,
        "removed": prediction.removed,
        "cautions": list(prediction.warnings),
        "site": session_report(fields["model"], model, prediction.code)
        if fields.get("whole", True)
        else None,
    }


def _heatmap(request: Request) -> dict[str, Any]:
    fields = request.fields
    student, teacher = _student_and_teacher(request)
    from napari_graphflow.inference.network_maps import KINDS

    volume = _read_volume(fields)
    kind = KINDS[fields.get("kind", "variation")]
    request.phase("computing the maps", "window")
    more = {name: fields[name] for name in ("pair", "channel") if fields.get(name) is not None}
    maps = kind.compute(
        student,
        volume,
        teacher,
        **more,
        progress=request.progress,
        cancelled=request.cancelled,
    )
    return {"notes": maps.notes} | _write_parts(request, maps, lambda drawn: drawn.array)


def _importance(request: Request) -> dict[str, Any]:
    fields = request.fields
    student, teacher = _student_and_teacher(request)
    from napari_graphflow.inference.emkd_maps import importance_maps

    volume = _read_volume(fields)
    request.phase("computing the importance maps", "window")
    maps = importance_maps(
        student,
        volume,
        teacher,
        tap=fields.get("tap", "hi"),
        progress=request.progress,
        cancelled=request.cancelled,
    )
    result: dict[str, Any] = {"notes": maps.notes, "agreement": maps.agreement}
    return result | _write_parts(request, maps, lambda drawn: drawn.array)


def _affinity(request: Request) -> dict[str, Any]:
    fields = request.fields
    student, teacher = _student_and_teacher(request)
    from napari_graphflow.inference.emkd_maps import region_affinity

    volume = _read_volume(fields)
    labels = None
    if fields.get("labels"):
        array = np.load(fields["labels"], mmap_mode="r")
        labels = volume.with_array(array, channels=False)
    request.phase("computing the region affinities")
    found = region_affinity(
        student,
        volume,
        labels,
        teacher,
        tap=fields.get("tap", "hi"),
        progress=request.progress,
        cancelled=request.cancelled,
    )
    result: dict[str, Any] = {"notes": found.notes, "classes": found.classes}
    result["voxels"] = found.voxels.tolist()
    return result | _write_parts(request, found, lambda matrix: matrix)


def _graph(request: Request) -> dict[str, Any]:
    student, teacher = _student_and_teacher(request)
    from napari_graphflow.inference.graph_matrices import graph_matrices

    volume = _read_volume(request.fields)
    request.phase("computing the graphs", "window")
    found = graph_matrices(
        student,
        volume,
        teacher,
        pair=request.fields.get("pair", 0),
        progress=request.progress,
        cancelled=request.cancelled,
    )
    return {"notes": found.notes} | _write_parts(request, found, lambda matrix: matrix)


HANDLERS: dict[str, Handler] = {
    "ping": _ping,
    "segment": _segment,
    "heatmap": _heatmap,
    "importance": _importance,
    "affinity": _affinity,
    "graph": _graph,
}


def _student_and_teacher(request: Request) -> "tuple[Model, Model | None]":
    device, folder = request.fields.get("device", "auto"), request.fields.get("teacher")
    student = _load(request, request.fields["student"], device)
    return student, _load(request, folder, device) if folder else None


def _write_parts(
    request: Request, found: Any, array: Callable[[Any], NDArray[Any]]
) -> dict[str, str | None]:
    """Write the available arrays of student, teacher and difference; return their paths."""
    out = Path(request.fields["out"])
    parts = {name: getattr(found, name) for name in ("student", "teacher", "difference")}
    return {
        name: None if part is None else _write(out / f"{name}.npy", array(part))
        for name, part in parts.items()
    }


def _read_volume(fields: dict[str, Any]) -> "Volume":
    from napari_graphflow.imaging.volume import Volume

    return Volume(
        np.load(fields["image"], mmap_mode="r"),
        tuple(fields["spacing"]),
        tuple(fields["origin"]),
        tuple(fields["direction"]),
        channels=bool(fields.get("channels")),
    )


def _write(path: Path, array: NDArray[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # These are temporary files, so they need not be synced to disk.
    with written_aside(path, sync=False) as aside, aside.open("wb") as file:
        np.save(file, array)
    return str(path)


def _load(request: Request, folder: str, device: str) -> "Model":
    read_model_card(Path(folder))  # report a wrong folder before the seconds of importing torch
    if "torch" not in sys.modules:
        request.phase("starting PyTorch")
    _import_torch(request)
    request.phase("loading the model")
    return _load_once(folder, _stamps(folder), device)


def _load_for_inference(request: Request, folder: str, device: str) -> "LoadedModel":
    from napari_graphflow.inference.loading import uses_openvino

    read_model_card(Path(folder))
    if not uses_openvino(Path(folder), device) and "torch" not in sys.modules:
        request.phase("starting PyTorch")
        _import_torch(request)
    request.phase("loading the model")
    return _load_engine_once(folder, _stamps(folder), device, _threads(request))


def _stamps(folder: str) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((str(p), p.stat().st_mtime_ns) for p in Path(folder).rglob("*")))


def _threads(request: Request) -> int:
    """Return the requested number of threads; by default leave one core to napari."""
    return int(request.fields.get("threads") or max(1, (os.cpu_count() or 2) - 1))


def _import_torch(request: Request) -> None:
    import torch

    torch.set_num_threads(_threads(request))


@lru_cache(maxsize=MODELS_KEPT)
def _load_once(folder: str, stamps: tuple[tuple[str, int], ...], device: str) -> "Model":
    from napari_graphflow.models.devices import resolve_device
    from napari_graphflow.models.saved import load_model

    return load_model(Path(folder), resolve_device(device))


@lru_cache(maxsize=MODELS_KEPT)
def _load_engine_once(
    folder: str, stamps: tuple[tuple[str, int], ...], device: str, threads: int
) -> "LoadedModel":
    from napari_graphflow.inference.loading import load_for_inference

    return load_for_inference(Path(folder), device, threads=threads)
