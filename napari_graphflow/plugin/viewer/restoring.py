"""The case of an autosaved mask, and its image when the mask is restored; without Qt."""

from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.case_files import origin_file, series_of
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import is_image
from napari_graphflow.plugin.viewer.placement import same_place
from napari_graphflow.plugin.viewer.record import Placement, recorded
from napari_graphflow.plugin.viewer.world import grid_shape


def about_case(viewer: ViewerModel, layer: Labels) -> dict[str, Any]:
    """Return what is stored with an autosaved mask: its case, and file and series of its image."""
    cases = cases_of(viewer)
    image = cases.image_of(layer)
    file = origin_file(image) if image is not None else None
    found = None
    if image is not None and file is not None:
        grid = list(grid_shape(image)) if same_place(layer, image) else None
        found = {"path": str(file), "series": series_of(image), "grid": grid}
    return {"case": cases.name(cases.key(layer)), "image": found}


def reopened_image(
    viewer: ViewerModel, known: Any, place: Placement | None
) -> tuple[Image | None, str]:
    """Return the image of an autosaved mask, opened if it is not, or None with the reason.

    Parameters
    ----------
    viewer
        The viewer.
    known
        ``path``, ``series`` and ``grid``, as stored, or None.
    place
        Place of the mask; an image that lies elsewhere now is not its image any more.
    """
    if not isinstance(known, dict):
        return None, "it was painted on no image that was opened from a file"
    path, series = Path(known["path"]), str(known["series"])
    images = _open_images(viewer, path, series)
    if not images and not path.exists():
        return None, f"{path.name} does not exist any more"
    if not images:
        from napari_graphflow.plugin.viewer.opening import read_layers

        try:
            layers = [Layer.create(*one) for one in read_layers(path, series)]
        except UserError as error:
            return None, f"{path.name} could not be opened ({error.text})"
        for layer in layers:
            viewer.add_layer(layer)
        images = [layer for layer in layers if isinstance(layer, Image)]
    for image in images:
        now, grid = recorded(image), known["grid"]
        moved = grid and place is not None and now is not None and not now.same_as(place)
        if not moved and (not grid or list(grid_shape(image)) == grid):
            return image, ""
    return None, f"{path.name} has another grid now"


def _open_images(viewer: ViewerModel, path: Path, series: str) -> list[Image]:
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Image)
        and is_image(layer)
        and (origin_file(layer), series_of(layer)) == (path, series)
    ]
