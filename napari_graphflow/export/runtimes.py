"""The runtimes of exported networks; exports copy this file.

Each is an engine as in `inference.engines`: batches of windows in, logits, probabilities or labels
out.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.padding import padded_size
from napari_graphflow.inference.engines import Array, OutputKind

#: Voxels that fill the cores; smaller windows are computed together.
ENOUGH = 1 << 16


class Runtime:
    """A network that maps a padded batch to logits.

    Parameters
    ----------
    path
        File of the network.
    dims
        Its spatial axes.
    multiple
        Number of which each side of its input must be a multiple, per axis.
    threads
        Number of threads; 0 uses all cores.
    """

    title = ""

    def __init__(self, path: Path, dims: int, multiple: tuple[int, ...], threads: int) -> None:
        self._dims, self._multiple = dims, multiple
        self.load(path, threads)

    def load(self, path: Path, threads: int) -> None:
        """Load the network."""
        raise NotImplementedError

    def run(self, x: Array) -> Array:
        """Return the logits (n, K, *padded) of a batch (n, C, *padded)."""
        raise NotImplementedError

    def compute(
        self, batches: Iterable[Array], kind: OutputKind, weights: Array | None = None
    ) -> Iterator[NDArray[Any]]:
        """Return the output of each batch, in order."""
        for batch in batches:
            x = batch.reshape(*batch.shape[:2], *batch.shape[-self._dims :])
            size = x.shape[2:]
            extra = [(0, t - n) for t, n in zip(padded_size(size, self._multiple), size)]  # noqa: B905
            logits = self.run(np.pad(x, [(0, 0), (0, 0), *extra], mode="edge"))
            kept: Any = (..., *(slice(n) for n in size))
            logits = logits[kept]
            logits = logits.reshape(*logits.shape[:2], *batch.shape[2:])
            if weights is not None:
                logits = logits * weights
            if kind == "labels":
                yield logits.argmax(1)[:, None]
            elif kind == "probabilities":
                exponentials = np.exp(logits - logits.max(1, keepdims=True))
                yield exponentials / exponentials.sum(1, keepdims=True)
            else:
                yield logits

    def batch_size(self, voxels: int) -> int:
        """Return the number of windows of `voxels` to compute at once."""
        return max(1, min(8, ENOUGH // voxels))

    def peak_bytes(self) -> int:
        """Not measured."""
        return 0


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    title = "CPU, ONNX Runtime"

    def load(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def run(self, x: Array) -> Array:
        logits: Array = self._session.run(None, {"image": x})[0]
        return logits


class OpenVino(Runtime):
    """OpenVINO on the CPU."""

    title = "CPU, OpenVINO"

    def load(self, path: Path, threads: int) -> None:
        # OpenVINO would report its use to a server; this file is copied, so it is said here, too.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._network = openvino.compile_model(str(path), "CPU", settings)

    def run(self, x: Array) -> Array:
        logits: Array = np.array(self._network(x)[0])
        return logits


RUNTIMES: dict[str, type[Runtime]] = {".onnx": OnnxRuntime, ".xml": OpenVino}
