"""Networks in torch, on any device."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_graphflow.inference.engines import Array, OutputKind
from napari_graphflow.models.devices import device_title, peak_memory

#: Windows at once in 2D and 3D.
BATCH = {2: 8, 3: 2}


class TorchEngine:
    """A network in evaluation mode.

    Parameters
    ----------
    module
        Returns an object with `logits` (n, K, *window).
    dims
        Its spatial axes.
    """

    def __init__(self, module: nn.Module, dims: int) -> None:
        self._module, self._dims = module, dims
        self._device = next(module.parameters()).device
        self.title = device_title(self._device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def compute(
        self, batches: Iterable[Array], kind: OutputKind, weights: Array | None = None
    ) -> Iterator[NDArray[Any]]:
        """Return the output of each batch, in order."""
        for batch in batches:
            with torch.inference_mode():
                yield self._output(batch, kind, weights).cpu().numpy()

    def batch_size(self, voxels: int) -> int:
        """Return the number of windows of `voxels` to compute at once."""
        return BATCH[self._dims]

    def peak_bytes(self) -> int:
        """Return the peak memory of the GPU if one is used, otherwise of the process."""
        return peak_memory(self._device)

    def _output(self, batch: Array, kind: OutputKind, weights: Array | None) -> Tensor:
        x = torch.from_numpy(batch).to(self._device)
        slices = x.ndim - 2 > self._dims
        logits: Tensor = self._module(x[:, :, 0] if slices else x).logits.float()
        logits = logits[:, :, None] if slices else logits
        if weights is not None:
            logits = logits * torch.from_numpy(weights).to(self._device)
        if kind == "labels":
            dtype = torch.uint8 if logits.shape[1] <= 256 else torch.int32
            return logits.argmax(1, keepdim=True).to(dtype)
        return logits.softmax(1) if kind == "probabilities" else logits
