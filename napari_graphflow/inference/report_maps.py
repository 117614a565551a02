"""Pictures of a method's maps for a report: teacher, student and the student alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Case, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.case_pictures import display_range, plain
from napari_graphflow.evaluation.pictures import png, sheet, slice_with_contours, slice_with_map
from napari_graphflow.evaluation.report import Picture
from napari_graphflow.evaluation.study import Side
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.network_maps import KINDS, NetworkMaps, map_of_method
from napari_graphflow.inference.sides import OpenSide
from napari_graphflow.models.saved import load_model


def map_pictures(opened: Sequence[OpenSide], sides: Sequence[Side], case: Case) -> list[Picture]:
    """Return the maps of the student's method on a case; empty if it has none.

    Parameters
    ----------
    opened, sides
        What was compared, and its scores with the worst slice of the case.
    case
        The case.
    """
    models = {side.role: one.folder for side, one in zip(sides, opened, strict=True) if one.folder}
    if "student" not in models or "teacher" not in models:
        return []
    student, teacher = load_model(models["student"]), load_model(models["teacher"])
    made = student.card.provenance
    run = made.run if made is not None else None
    kind = map_of_method(run.method.name) if isinstance(run, DistillationConfig) else None
    if kind is None:
        return []
    index = next(side for side in sides if side.role == "student").worst_slices[case.name]
    image = read_case(case)
    alone = load_model(models["alone"]) if "alone" in models else None
    try:
        found = KINDS[kind].compute(student, image, teacher)
        own = None if alone is None else KINDS[kind].compute(alone, image, None)
    except UserError:  # a network without these taps
        return []
    return [_picture(case.name, KINDS[kind].title, image, found, own, index)]


def _picture(
    name: str,
    title: str,
    image: Volume,
    maps: NetworkMaps,
    alone: NetworkMaps | None,
    index: int | None,
) -> Picture:
    upright = image.oriented()
    grey, limits = plain(upright), display_range(upright)
    if upright.ndim == 3:
        index = len(grey) // 2 if index is None else index

    def cut(volume: Volume) -> NDArray[np.floating]:
        array = volume.oriented().array
        return array[index] if upright.ndim == 3 else array

    grey = grey[index] if upright.ndim == 3 else grey
    drawn = {"teacher": maps.teacher, "student": maps.student}
    drawn["student alone"] = None if alone is None else alone.student
    known = {one: cut(volume) for one, volume in drawn.items() if volume is not None}
    # One range for all, so that equal colours mean equal values.
    top = max(float(array.max()) for array in known.values())
    spacing = upright.spacing[-2:]
    panels = {"image": slice_with_contours(grey, None, spacing, limits)}
    for one, array in known.items():
        panels[one] = slice_with_map(grey, array, spacing, limits, top)
    where = f", slice {index}" if upright.ndim == 3 else ""
    caption = f"{name}{where}: {title}, on one range. {' '.join(maps.notes)}"
    return Picture(name, caption, png(sheet(panels)))
