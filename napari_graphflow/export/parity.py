"""Compare an exported folder, run by its own script, with the model in PyTorch."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.exports import EXPORTS, CaseParity, ExportParity, Kind
from napari_graphflow.config.prediction import PredictionOptions
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.saved import Model


def compare(
    model: Model,
    folder: Path,
    kind: Kind,
    cases: Iterable[tuple[str, Volume]],
    progress: Callable[[str], None] = lambda case: None,
) -> ExportParity:
    """Segment each case in PyTorch and by the script of an exported folder.

    Raises
    ------
    UserError
        If the script fails.
    """
    info, own = EXPORTS[kind], in_torch(model)
    windows = info.windows or model.card.windows
    loaded = replace(own, card=model.card.model_copy(update={"windows": windows}))
    differs = windows != model.card.windows
    options = PredictionOptions(postprocess=info.keeps_largest_parts)

    def own_labels(volume: Volume) -> NDArray[Any]:
        return segment(own, volume, options=options).labels.array

    found, device = [], ""
    with tempfile.TemporaryDirectory(prefix="graphflow-") as temporary:
        for name, volume in cases:
            progress(name)
            expected = segment(
                loaded, volume, probabilities=info.returns_probabilities, options=options
            )
            mask, soft, facts = run_script(
                folder, volume, Path(temporary), info.returns_probabilities
            )
            device = facts["device"]
            found.append(
                CaseParity(
                    case=name,
                    shape=volume.shape,
                    probability_difference=_difference(soft, expected.probabilities),
                    equal_labels=_equal(mask, expected.labels.array),
                    equal_to_own_windows=_equal(mask, own_labels(volume)) if differs else None,
                    dice=dice(mask, expected.labels.array, model.card.classes),
                    export_seconds=round(facts["seconds"], 4),
                    torch_seconds=round(expected.seconds, 4),
                )
            )
    return ExportParity(kind=kind, device=device, limits=info.limits, cases=tuple(found))


def run_script(
    folder: Path, volume: Volume, temporary: Path, probabilities: bool
) -> tuple[NDArray[Any], NDArray[Any] | None, dict[str, Any]]:
    """Run ``segment.py`` of an exported folder on a volume.

    Returns
    -------
    mask, probabilities
        Class indices, and (K, *grid); None if the script writes none.
    facts
        ``seconds`` and ``device``.
    """
    files = write_channels(temporary, volume)
    mask, soft = temporary / "mask.nii.gz", temporary / "soft.npy"
    soft.unlink(missing_ok=True)
    command = [sys.executable, "-B", "segment.py", *map(str, files), "--out", str(mask)]
    command += ["--probabilities", str(soft)] if probabilities else []
    # The script imports the files beside it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise UserError(f"The script of the export failed: {last}", "Choose another format.")
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    return read_volume(mask).array, np.load(soft) if soft.exists() else None, facts


def write_channels(folder: Path, volume: Volume) -> list[Path]:
    """Write each channel of a volume to a file, as ``case_0000.nii.gz``."""
    channels = np.moveaxis(volume.array, -1, 0) if volume.channels else volume.array[None]
    files = [folder / f"case_{index:04}.nii.gz" for index in range(len(channels))]
    for file, channel in zip(files, channels, strict=True):
        write_volume(file, volume.with_array(np.ascontiguousarray(channel)))
    return files


def dice(mask: NDArray[Any], other: NDArray[Any], classes: dict[str, int]) -> dict[str, float]:
    """Return the Dice of each structure that is in either mask."""
    found = {}
    for name, value in classes.items():
        a, b = mask == value, other == value
        voxels = int(a.sum()) + int(b.sum())
        if value and voxels:
            found[name] = 2 * int((a & b).sum()) / voxels
    return found


def _difference(soft: NDArray[Any] | None, expected: Volume | None) -> float | None:
    if soft is None or expected is None:
        return None
    return max(
        float(np.abs(one.astype(np.float32) - expected.array[..., index]).max())
        for index, one in enumerate(soft)
    )


def _equal(mask: NDArray[Any], other: NDArray[Any]) -> float:
    structure = (mask > 0) | (other > 0)
    count = int(structure.sum())
    return int((mask == other)[structure].sum()) / count if count else 1.0
