"""Feature maps of a network over the windows of a volume, in torch."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_graphflow.inference.torch_engine import BATCH
from napari_graphflow.inference.whole_volume import (
    Cancelled,
    InferenceCancelled,
    Progress,
    window_size,
)
from napari_graphflow.inference.windows import plan_windows, slabs


def over_windows(
    compute: Callable[[Tensor], Tensor],
    array: NDArray[np.float32],
    patch_size: tuple[int, ...],
    *,
    device: torch.device,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Tensor:
    """Compute (n, M, *window) for windows (n, C, *window) side by side, merged to (M, *spatial).

    With a patch of fewer axes than the array, the windows are taken in its slices. Where the last
    window overlaps the one before it, both are averaged.
    """
    shape = array.shape[1:]
    slices = len(shape) > len(patch_size)
    size = window_size(shape[slices:], patch_size)
    windows = plan_windows(shape, (1, *size) if slices else size, 0.0, 0 if slices else None)
    total = len(windows.positions)

    @torch.inference_mode()
    def one(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        x = torch.from_numpy(batch).to(device)
        maps = compute(x[:, :, 0] if slices else x).float()
        found: NDArray[np.float32] = (maps[:, :, None] if slices else maps).cpu().numpy()
        return found

    def all_of(batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            if cancelled is not None and cancelled():
                raise InferenceCancelled
            yield one(batch)

    merged: NDArray[np.float32] | None = None
    for slab in slabs(
        array,
        windows,
        all_of,
        batch=BATCH[len(patch_size)],
        weights=np.ones(windows.size, np.float32) if windows.overlapping else None,
        done=lambda count: None if progress is None else progress(count, total),
    ):
        if merged is None:
            merged = np.empty((len(slab.array), *shape), np.float32)
        rows = np.moveaxis(slab.array, windows.axis + 1, 0)
        np.moveaxis(merged, windows.axis + 1, 0)[slab.start : slab.start + len(rows)] = rows
    assert merged is not None
    return torch.from_numpy(merged)
