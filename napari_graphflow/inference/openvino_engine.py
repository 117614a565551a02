"""Networks in OpenVINO, for CPUs and without torch."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.openvino_form import OpenVinoForm, form_folder, read_form
from napari_graphflow.inference.engines import Array, OutputKind
from napari_graphflow.models.openvino_package import import_openvino
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.processes import peak_memory_of_process

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest, Model

#: Windows in flight: while one is computed, the last one is merged and the next one is prepared.
IN_FLIGHT = 2
#: Voxels that fill the cores; smaller windows are computed together.
ENOUGH = 1 << 16


def open_engine(folder: Path, threads: int | None = None) -> "OpenVinoEngine | None":
    """Load the OpenVINO form of a model; None if this computer or version cannot run it."""
    form = read_form(folder)
    if form is None:
        return None
    try:
        engine = OpenVinoEngine(folder, form, threads)
        # Compiled at once, since this processor may lack an instruction set.
        smallest = np.zeros((1, engine.channels, *(2 * n for n in form.multiple)), np.float32)
        list(engine.compute([smallest], "labels"))
    except RuntimeError:  # a damaged file or another version
        return None
    return engine


class OpenVinoEngine:
    """The OpenVINO form of a saved model.

    Parameters
    ----------
    folder
        Folder of the model.
    form
        Record of its OpenVINO form.
    threads
        Number of threads, all cores by default.
    precision
        ``f32``, or ``bf16`` for benchmarks: its labels differ.
    """

    def __init__(
        self,
        folder: Path,
        form: OpenVinoForm,
        threads: int | None = None,
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        openvino = import_openvino()
        self.title = "CPU, OpenVINO"
        self._form = form
        self._core = openvino.Core()
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        with suppress(OSError):  # without the cache each start compiles again
            cache = data_root() / "openvino"
            cache.mkdir(parents=True, exist_ok=True)
            self._settings["CACHE_DIR"] = str(cache)
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._model = self._core.read_model(form_folder(folder) / "model.xml")
        #: Number of input channels.
        self.channels: int = self._model.input(0).partial_shape[1].get_length()
        self._compiled: dict[tuple[Any, ...], CompiledModel] = {}

    def compute(
        self, batches: Iterable[Array], kind: OutputKind, weights: Array | None = None
    ) -> Iterator[NDArray[Any]]:
        """Return the output of each batch, in order."""
        running: deque[tuple[InferRequest, tuple[int, ...]]] = deque()
        free: dict[tuple[int, ...], list[InferRequest]] = defaultdict(list)
        for batch in batches:
            if len(running) == IN_FLIGHT:
                yield self._finished(running, free)
            padded = self._padded(batch)
            requests = free[padded.shape]
            request = requests.pop() if requests else self._request(padded.shape, kind, weights)
            request.start_async({0: padded}, share_inputs=True)
            running.append((request, batch.shape))
        while running:
            yield self._finished(running, free)

    def batch_size(self, voxels: int) -> int:
        """Return the number of windows of `voxels` to compute at once."""
        return max(1, min(8, ENOUGH // voxels))

    def peak_bytes(self) -> int:
        """Return the peak memory of the process."""
        return peak_memory_of_process()

    def _padded(self, batch: Array) -> Array:
        """Return the network's input: without a leading axis of one slice, padded at the end."""
        x = batch.reshape(*batch.shape[:2], *batch.shape[-self._form.dims :])
        return self._pad(x, "edge")

    def _pad(self, x: Array, mode: Literal["edge", "constant"]) -> Array:
        spatial = x.shape[-self._form.dims :]
        target = self._form.padded_size(spatial)
        if target == spatial:
            return x
        extra = [(0, t - n) for t, n in zip(target, spatial, strict=True)]
        return np.pad(x, [*[(0, 0)] * (x.ndim - self._form.dims), *extra], mode=mode)

    def _finished(
        self,
        running: "deque[tuple[InferRequest, tuple[int, ...]]]",
        free: "dict[tuple[int, ...], list[InferRequest]]",
    ) -> NDArray[Any]:
        request, shape = running.popleft()
        request.wait()
        output: NDArray[Any] = request.get_output_tensor(0).data
        free[request.get_input_tensor(0).data.shape].append(request)
        kept: Any = (..., *(slice(n) for n in shape[-self._form.dims :]))
        cropped: NDArray[Any] = output[kept]
        return cropped if output.ndim == len(shape) else cropped[:, :, None]

    def _request(
        self, shape: tuple[int, ...], kind: OutputKind, weights: Array | None
    ) -> "InferRequest":
        key = (shape, kind, weights is not None)
        if key not in self._compiled:
            if weights is not None:
                weights = self._pad(weights.reshape(weights.shape[-self._form.dims :]), "constant")
            model = _specialised(self._model, self._form.classes, shape, kind, weights)
            self._compiled[key] = self._core.compile_model(model, "CPU", self._settings)
        return self._compiled[key].create_infer_request()


def _specialised(
    model: "Model",
    classes: int,
    shape: tuple[int, ...],
    kind: OutputKind,
    weights: Array | None,
) -> "Model":
    """Fix the input shape, and append what would be slow in numpy: weights, softmax or argmax."""
    openvino = import_openvino()
    from openvino import opset13 as ops

    model = model.clone()
    model.reshape(list(shape))
    node: Any = model.outputs[0].get_node().input_value(0)
    if weights is not None:
        node = ops.multiply(node, ops.constant(weights))
    if kind == "probabilities":
        node = ops.softmax(node, 1)
    elif kind == "labels":
        best = ops.topk(node, np.int64(1), 1, "max", "none", index_element_type="i32")
        node = ops.convert(best.output(1), "u8" if classes <= 256 else "u16")
    return openvino.Model([ops.result(node)], model.get_parameters(), "network")
