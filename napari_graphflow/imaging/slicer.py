"""Segmentations of 3D Slicer: NRRD files with named segments, which may overlap in layers."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.nrrd_metaimage import read_key_values
from napari_graphflow.imaging.formats.reading import load
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN
from napari_graphflow.imaging.labels import as_labels
from napari_graphflow.imaging.masks import Mask, distinct, without_overlap


@dataclass(frozen=True)
class Segment:
    """A segment of a header: its name, and the stored value and the layer of its voxels."""

    name: str
    value: int
    layer: int


def slicer_segments(path: Path) -> list[Segment]:
    """Return the segments in the header of an NRRD file; empty if 3D Slicer wrote none."""
    fields = read_key_values(path)
    found = []
    for index in range(len(fields)):
        if f"Segment{index}_ID" not in fields and f"Segment{index}_Name" not in fields:
            break
        name = fields.get(f"Segment{index}_Name") or f"Segment {index + 1}"
        # Before version 4.11, each segment was a layer of zeros and ones.
        value, layer = (
            int(text) if re.fullmatch(r"\d{1,9}", text := fields.get(key, "")) else default
            for key, default in (
                (f"Segment{index}_LabelValue", 1),
                (f"Segment{index}_Layer", index),
            )
        )
        found.append(Segment(" ".join(name.split()), value, layer))
    return found


def slicer_names(path: Path) -> dict[str, int]:
    """Return the labels of the segments by name: the stored values, or 1, 2, ... if they repeat."""
    segments = slicer_segments(path)
    stored = [one.value for one in segments]
    unique = len(set(stored)) == len(stored) and min(stored, default=1) > 0
    return distinct(
        [one.name for one in segments], stored if unique else range(1, len(segments) + 1)
    )


def read_slicer(path: Path) -> list[Mask]:
    """Read the masks of a segmentation; one mask if no segments overlap.

    Raises
    ------
    UserError
        If the file is damaged, or its header does not describe its voxels.
    """
    loaded = load(path, "NRRD")
    volume, segments, names = loaded.volume(), slicer_segments(path), slicer_names(path)
    if not volume.channels:
        labels, _ = as_labels(volume.array, name=path.name, white=False)
        return [(volume.with_array(labels), names)]
    if max(one.layer for one in segments) >= volume.array.shape[-1]:
        raise UserError(
            f"The header of {path.name} names segments in layers that the file does not have.",
            EXPORT_AGAIN,
        )
    layers = volume.array
    voxels = (
        (name, layers[..., one.layer] == one.value)
        for name, one in zip(names, segments, strict=True)
    )
    masks = [
        (volume.with_array(np.ascontiguousarray(array)), used)
        for array, used in without_overlap(voxels, names)
    ]
    named = sum(np.count_nonzero(layers[..., one.layer] == one.value) for one in segments)
    if left := np.count_nonzero(layers) - named:
        warning = f"{left} voxels have a value that no segment has; they are left out."
        masks[0] = (replace(masks[0][0], warnings=(*volume.warnings, warning)), masks[0][1])
    return masks
