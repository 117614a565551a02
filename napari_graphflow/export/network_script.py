"""Segment an image with the network in this folder.

    python segment.py scan.nii.gz --out mask.nii.gz

Files of several channels are given one after the other. The mask has the geometry of the image.
`settings.json` beside this file holds all steps before and after the network.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from napari_graphflow.errors import UserError
from napari_graphflow.export.runtimes import RUNTIMES
from napari_graphflow.imaging.parts import keep_largest_part
from napari_graphflow.imaging.preprocessing import prepare, to_source_orientation
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.whole_volume import label_array


@dataclass(frozen=True)
class Steps:
    """The steps before the network, under "preprocessing" in `settings.json`."""

    spacing: Sequence[float] | None
    orientation: str
    axes: Sequence[str]
    intensity: str
    channel_intensity: Sequence[str]
    window: Sequence[float]
    percentiles: Sequence[float]
    clip: Sequence[float]
    mean: Sequence[float]
    std: Sequence[float]
    size: tuple[int, int] | None
    channels: int | None
    grid: str
    nnunet: None = None  # models with these steps are not exported

    def code(self, stored: str) -> str:
        """Return the orientation code of the network's input, its axes reordered."""
        code = stored if self.orientation == "stored" else self.orientation
        return "".join(code["xyz".index(axis)] for axis in reversed(self.axes))


def read(paths: Sequence[Path]) -> Volume:
    """Read an image; several files are its channels."""
    images = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"There is no file {path}.", "Check the path.")
        try:
            images.append(sitk.ReadImage(str(path)))
        except RuntimeError:
            raise UserError(f"{path} cannot be read as an image.", "Export it again.") from None
    first = images[0]
    arrays = [sitk.GetArrayFromImage(image) for image in images]
    if any(array.shape != arrays[0].shape for array in arrays):
        raise UserError("The files of the channels differ in size.", "Check the files.")
    channels = len(images) > 1 or first.GetNumberOfComponentsPerPixel() > 1
    array = np.stack(arrays, -1) if len(arrays) > 1 else arrays[0]
    spacing, origin, direction = first.GetSpacing(), first.GetOrigin(), first.GetDirection()
    return Volume(array, spacing[::-1], origin, direction, channels)


def write(path: Path, labels: Volume) -> None:
    """Write a mask with its geometry."""
    image = sitk.GetImageFromArray(labels.array)
    image.SetSpacing(labels.spacing[::-1])
    image.SetOrigin(labels.origin)
    image.SetDirection(labels.direction)
    sitk.WriteImage(image, str(path), useCompression=True)


def segment(
    folder: Path, volume: Volume, probabilities: Path | None, threads: int
) -> tuple[Volume, dict[str, Any]]:
    """Segment a volume; `probabilities` receives (K, *grid) as float16."""
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    known: Any = settings["preprocessing"]
    steps: Any = Steps(**known | {"size": known["size"] and tuple(known["size"])})
    channels = volume.array.shape[-1] if volume.channels else 1
    if channels != settings["in_channels"]:
        raise UserError(
            f"The network needs {settings['in_channels']} channels, but the image has {channels}.",
            "Give one file per channel, in the order of the training.",
        )
    network = folder / settings["network"]
    runtime = RUNTIMES[network.suffix]
    try:
        engine = runtime(network, settings["dims"], tuple(settings["multiple"]), threads)
    except Exception as error:  # each runtime raises its own kinds
        raise UserError(
            f"{network.name} is missing, damaged, or needs another version of its runtime "
            f"({type(error).__name__}).",
            "Export the model again.",
        ) from None
    started = time.perf_counter()
    prepared = prepare(volume, steps)
    shape, classes = prepared.oriented.shape, len(settings["classes"])
    soft = np.empty((classes, *shape), np.float16) if probabilities else None
    labels = label_array(
        engine,
        prepared.array,
        settings["patch_size"],
        prepared.restoring,
        classes,
        whole=settings["windows"] == "whole",
        even=settings["windows"] == "even",
        overlap=settings["overlap"],
        probabilities=soft,
    )
    for name in settings["largest_part"]:
        keep_largest_part(labels, settings["classes"][name])
    mask = to_source_orientation(labels, prepared)
    seconds = time.perf_counter() - started
    if soft is not None and probabilities is not None:
        last = to_source_orientation(np.moveaxis(soft, 0, -1), prepared, channels=True)
        np.save(probabilities, np.moveaxis(last.array, -1, 0))
    return mask, {"seconds": seconds, "device": engine.title}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", nargs="+", type=Path, help="the image; one file per channel")
    parser.add_argument("--out", required=True, type=Path, help="the mask")
    parser.add_argument("--probabilities", type=Path, help="class probabilities, as .npy")
    parser.add_argument("--threads", type=int, default=0, help="0 uses all cores")
    options = parser.parse_args()
    try:
        volume = read(options.image)
        folder = Path(__file__).resolve().parent
        mask, facts = segment(folder, volume, options.probabilities, options.threads)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    write(options.out, mask)
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
