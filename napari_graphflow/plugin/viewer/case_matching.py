"""To which of the open cases a new layer belongs; without Qt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from napari.layers import Labels, Layer

from napari_graphflow.imaging.channel_files import channel_group
from napari_graphflow.imaging.formats.endings import FORMATS, split_ending
from napari_graphflow.plugin.viewer.case_files import current_drop, origin_file, series_of
from napari_graphflow.plugin.viewer.case_names import relation
from napari_graphflow.plugin.viewer.layers import is_image
from napari_graphflow.plugin.viewer.placement import same_place
from napari_graphflow.plugin.viewer.world import grid_shape, part_of, voxels

#: Open images, each with the key of its case, the uppermost last.
Images = Sequence[tuple[Layer, str]]


def case_of_image(layer: Layer, images: Images) -> str:
    """Return the case of which an image is another channel or a part, empty if of none."""
    file = origin_file(layer)
    if file is None:
        return next((key for image, key in reversed(images) if _is_cut_from(layer, image)), "")
    group = channel_group(file)
    for image, key in images:
        path = origin_file(image)
        other = path is not None and path != file and channel_group(path)
        if group and other == group and same_place(layer, image):
            return key
    return ""


def case_of_mask(mask: Layer, images: Images, shown: str) -> str:
    """Return the case on whose image an opened mask lies, empty if that is not certain.

    A number in the names decides before the case that is shown, and may exclude it. The names of
    a scan and a mask that are opened in one go may differ.
    """
    file = origin_file(mask)
    found: dict[str, int] = {}
    for image, key in images:
        if file is None or not same_place(mask, image):
            continue
        path = origin_file(image)
        names = _relation(file, path, image) if path is not None else 0
        found[key] = max(names, found.get(key, -1))
    best = [key for key, names in found.items() if names >= 0 and names == max(found.values())]
    if shown in best:
        return shown
    return best[0] if len(best) == 1 else ""


def case_of_annotation(layer: Layer, images: Images) -> str:
    """Return the case of a layer that was made in the window nobody knows when, empty if unclear.

    By its name, as napari gives it, or because one case alone has an image at its place.
    """
    named = {key for image, key in images if layer.name.startswith(f"{image.name} - ")}
    if len(named) == 1:
        return named.pop()
    here = {key for image, key in images if same_place(layer, image)}
    anywhere = {key for _, key in images}
    found = here or anywhere
    return found.pop() if len(found) == 1 else ""


def why_apart(opened: Layer, hidden: Sequence[Layer]) -> str:
    """Return why a mask and an image that were opened separately are not one case, or nothing.

    Parameters
    ----------
    opened
        The mask or image that was opened.
    hidden
        The layers of the case that was hidden for it.
    """
    for other in reversed(hidden):
        mask, image = (other, opened) if is_image(opened) else (opened, other)
        one, two = origin_file(mask), origin_file(image)
        if not isinstance(mask, Labels) or not is_image(image) or not one or not two:
            continue
        if _relation(one, two, image) < 0:
            reason = f"{mask.name} is another patient's than {image.name} by its name"
            remedy = "If they belong together, drop both files at once."
        elif same_place(mask, image):
            reason = f"{mask.name} may be another patient's than {image.name}"
            remedy = "If they belong together, open the mask last."
        elif mask.ndim == image.ndim:
            reason = f"{mask.name} does not lie on the voxels of {image.name}"
            remedy = "If it is a part of it, open the mask last." if is_image(opened) else ""
        else:
            continue
        return f"{reason}, so they are not laid over each other. {remedy}".strip()
    return ""


def was_opened_for(mask: Layer, image: Layer) -> bool:
    """Whether a mask that was opened before an image is of it: by names, or opened in one go."""
    one, other = origin_file(mask), origin_file(image)
    if one is None or other is None or not same_place(mask, image):
        return False
    return relation(one, other) == 2 or current_drop() == {one, other}


def _relation(mask: Path, scan: Path, image: Layer) -> int:
    """Return what the names say; names of DICOM files are numbers of series, not of patients."""
    names = relation(mask, scan)
    dicom = series_of(image) and split_ending(mask.name)[1] in ("", *FORMATS["DICOM"].endings)
    return max(names, 0) if dicom or current_drop() == {mask, scan} else names


def _is_cut_from(layer: Layer, image: Layer) -> bool:
    """Whether the voxels of a layer are those of an image at the same place."""
    start = part_of(layer, image)
    if start is None:
        return False
    box = tuple(slice(a, a + n) for a, n in zip(start, grid_shape(layer), strict=True))
    own, whole = voxels(layer), voxels(image)
    if not isinstance(own, np.ndarray) or not isinstance(whole, np.ndarray) or not own.size:
        return False
    # Constant images are equal without being one.
    return bool(np.array_equal(whole[box], own) and own.min() != own.max())
