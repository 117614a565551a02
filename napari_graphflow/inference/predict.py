"""Segment a volume: the result lies in the grid of the volume."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.prediction import DEFAULTS, PredictionOptions
from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.imaging.parts import keep_largest_part
from napari_graphflow.imaging.preprocessing import prepare, to_source_orientation
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.engines import Engine
from napari_graphflow.inference.mirrored import Mirrored
from napari_graphflow.inference.site_check import Codes, Describe, matched
from napari_graphflow.inference.spline_labels import spline_labels
from napari_graphflow.inference.whole_volume import (
    Cancelled,
    Progress,
    label_array,
    logits_array,
)


class Phase(Protocol):
    """Receives the name of a phase that begins, and what its steps are if they are counted."""

    def __call__(self, name: str, steps: str = "") -> None: ...


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to run, with its card.

    Attributes
    ----------
    card, engine
        The card and the network.
    source
        Codes (n, d) of the images it learnt from, if they are saved with it.
    describe
        Returns the code of a preprocessed image; None without `source`, or without PyTorch.
    folder
        Where it was loaded from.
    """

    card: ModelCard
    engine: Engine
    source: Codes | None = None
    describe: Describe | None = None
    folder: Path = Path()


@dataclass(frozen=True)
class Prediction:
    """A mask in the grid of the image, with computing time and memory.

    Attributes
    ----------
    labels
        Class indices in the grid of the image.
    probabilities
        (*grid, K) with channels last, float16 in a temporary file, or None if not requested.
    seconds
        Wall time without loading the model.
    peak_bytes
        Peak memory of the GPU if one was used, otherwise of the process.
    device
        Name of the device, and of the library if it is not PyTorch.
    warnings
        Sentences about voxels without intensities.
    removed
        Number of voxels in smaller parts that were removed, by structure; see
        `PredictionOptions.postprocess`.
    code
        Code of the image for the comparison with the images the model learnt from, if it has any.
    """

    labels: Volume
    probabilities: Volume | None
    seconds: float
    peak_bytes: int
    device: str
    warnings: tuple[str, ...] = ()
    removed: dict[str, int] = field(default_factory=dict)
    code: Codes | None = None


def segment(
    model: LoadedModel,
    volume: Volume,
    *,
    progress: Progress | None = None,
    phase: Phase | None = None,
    cancelled: Cancelled | None = None,
    probabilities: bool = False,
    match: Codes | None = None,
    options: PredictionOptions = DEFAULTS,
) -> Prediction:
    """Segment a volume.

    Parameters
    ----------
    model
        A loaded model.
    volume
        An image in its stored grid; the mask is returned in the same grid.
    progress
        Called with the number of finished windows and their total.
    phase
        Called with the name of each phase at its start, and with what its steps are, if counted.
    cancelled
        Called between windows; True raises
        :class:`~napari_graphflow.inference.whole_volume.InferenceCancelled`.
    probabilities
        Whether to return class probabilities as well.
    match
        Quantiles of the source to which the intensities are mapped, see
        `napari_graphflow.inference.site_check.matched`.
    options
        Whether to mirror, and to keep only the largest parts.

    Raises
    ------
    UserError
        If the image does not fit the model, or the model cannot mirror.
    """
    started = time.perf_counter()
    card = model.card
    check_fits(volume, card)
    mirrored = options.mirror_axes(card)
    enter = phase or (lambda name, steps="": None)
    enter("preparing the image")
    prepared = prepare(volume, card.preprocessing)
    shape = prepared.oriented.shape
    enter("segmenting", "window")

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)
        if done == total:
            enter("back to the scan's grid")

    soft = _temporary((len(card.classes), *shape)) if probabilities else None
    array = prepared.array if match is None else matched(prepared.array, match)
    engine = Mirrored(model.engine, mirrored) if mirrored else model.engine
    way: dict[str, Any] = {
        "whole": card.windows == "whole",
        "even": card.windows == "even",
        "overlap": card.overlap,
        "progress": report,
        "cancelled": cancelled,
    }
    if card.preprocessing.nnunet is not None:
        logits = logits_array(engine, array, card.patch_size, card.engine_outputs, **way)
        labels = spline_labels(logits, prepared, card, soft)
    else:
        labels = label_array(
            engine,
            array,
            card.patch_size,
            prepared.restoring,
            len(card.classes),
            probabilities=soft,
            **way,
        )
    removed = {name: keep_largest_part(labels, value) for name, value in options.kept(card).items()}
    return Prediction(
        labels=to_source_orientation(labels, prepared),
        probabilities=None
        if soft is None
        else to_source_orientation(np.moveaxis(soft, 0, -1), prepared, channels=True),
        seconds=time.perf_counter() - started,
        peak_bytes=model.engine.peak_bytes(),
        device=model.engine.title,
        warnings=prepared.warnings,
        removed=removed,
        code=None if model.describe is None else model.describe(prepared.array),
    )


def _temporary(shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return an array in a file that is deleted with it."""
    with tempfile.NamedTemporaryFile(prefix="graphflow-", suffix=".f16") as file:
        return np.memmap(file, np.float16, "w+", shape=shape)
