"""Sliding-window inference, with the result in the grid of the volume."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.imaging.preprocessing import prepare, restore_labels, restore_maps
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.devices import device_title, peak_memory
from napari_graphflow.models.saved import Model

OVERLAP = 0.5
#: Volumes of up to this number of patches are run in one window: faster, and without seams.
WHOLE = 4
SLICES_AT_ONCE = 8

Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


class InferenceCancelled(Exception):
    """Raised between two windows if the caller requested cancellation."""


@dataclass(frozen=True)
class Prediction:
    """A mask in the grid of the image, with computing time and memory.

    Attributes
    ----------
    labels
        Class indices in the grid of the image.
    probabilities
        (*grid, K) with channels last, float32, or None if not requested.
    seconds
        Wall time without loading the model.
    peak_bytes
        Peak memory of the GPU if one was used, otherwise of the process.
    device
        Name of the device.
    warnings
        Sentences about voxels without intensities.
    """

    labels: Volume
    probabilities: Volume | None
    seconds: float
    peak_bytes: int
    device: str
    warnings: tuple[str, ...] = ()


def segment(
    model: Model,
    volume: Volume,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    probabilities: bool = False,
) -> Prediction:
    """Segment a volume.

    Parameters
    ----------
    model
        A loaded model; its device is used.
    volume
        An image in its stored grid; the mask is returned in the same grid.
    progress
        Called with the number of finished windows and their total.
    cancelled
        Called between windows; True raises :class:`InferenceCancelled`.
    probabilities
        Whether to return class probabilities as well.

    Raises
    ------
    UserError
        If the image does not fit the model.
    """
    started = time.perf_counter()
    check_fits(volume, model.card)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    prepared = prepare(volume, model.card.preprocessing)
    soft = predict(
        model.module,
        prepared.array,
        model.card.dims,
        model.card.patch_size,
        whole=model.card.windows == "whole",
        progress=progress,
        cancelled=cancelled,
    )
    labels = restore_labels(soft, prepared)
    return Prediction(
        labels=labels,
        probabilities=restore_maps(soft, prepared) if probabilities else None,
        seconds=time.perf_counter() - started,
        peak_bytes=peak_memory(model.device),
        device=device_title(model.device),
        warnings=prepared.warnings,
    )


def predict(
    module: nn.Module,
    array: NDArray[np.float32],
    dims: int,
    patch_size: tuple[int, ...],
    *,
    whole: bool = True,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> NDArray[np.float32]:
    """Return class probabilities (K, *spatial) of a preprocessed array (C, *spatial).

    `whole` runs images of up to four patches in one window; otherwise every window has the size of
    a patch.
    """
    logits = over_windows(
        lambda windows: module(windows).logits,
        array,
        dims,
        patch_size,
        device=next(module.parameters()).device,
        overlap=OVERLAP,
        whole=whole,
        progress=progress,
        cancelled=cancelled,
    )
    return logits.softmax(0).numpy()


@torch.inference_mode()
def over_windows(
    compute: Callable[[Tensor], Tensor],
    array: NDArray[np.float32],
    dims: int,
    patch_size: tuple[int, ...],
    *,
    device: torch.device,
    overlap: float,
    whole: bool = True,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Tensor:
    """Compute (n, M, *window) for windows (n, C, *window) and merge them to (M, *spatial).

    With `dims` 2 the windows of a volume are taken in its slices. Overlapping windows are weighted
    by a Gaussian to avoid seams.
    """
    image = torch.from_numpy(np.array(array))  # a copy: a memory map cannot be written to
    volumetric = image.ndim - 1 > dims
    batches = list(image.movedim(1, 0).split(SLICES_AT_ONCE)) if volumetric else [image[None]]
    shape = tuple(batches[0].shape[2:])
    window = window_size(shape, patch_size) if whole else patch_size
    total = sum(_count_windows(batch, window, overlap) for batch in batches)
    done = 0

    def predictor(windows: Tensor) -> Tensor:
        nonlocal done
        if cancelled is not None and cancelled():
            raise InferenceCancelled
        result = compute(windows).float()
        done += len(windows)
        if progress is not None:
            progress(min(done, total), total)
        return result

    parts = [
        sliding_window_inference(
            batch,
            window,
            sw_batch_size=SLICES_AT_ONCE if dims == 2 else 2,
            predictor=predictor,
            overlap=overlap,
            mode="gaussian" if overlap else "constant",
            sw_device=device,
            device="cpu",
        )
        for batch in batches
    ]
    return torch.cat(parts).movedim(0, 1) if volumetric else parts[0][0]


def window_size(shape: tuple[int, ...], patch_size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the window for an image: its size if it is small, otherwise the training patch."""
    if math.prod(shape) <= WHOLE * math.prod(patch_size):
        return shape
    return patch_size


def _count_windows(batch: Tensor, window: tuple[int, ...], overlap: float) -> int:
    per_axis = (
        1 if size <= side else math.ceil((size - side) / max(1, int(side * (1 - overlap)))) + 1
        for size, side in zip(batch.shape[2:], window, strict=True)
    )
    return len(batch) * math.prod(per_axis)
