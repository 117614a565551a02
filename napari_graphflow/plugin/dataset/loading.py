"""Read a case into layer data on a background thread; without Qt and without a viewer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.types import LayerDataTuple
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Turn
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.labelling.rereads import open_blind
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.pictures import Colour, Picture, picture
from napari_graphflow.plugin.viewer.layers import (
    ORDER,
    class_colours,
    image_layers,
    labels_layer,
)

#: What changes on disk when a case has to be read again, with modification time and size.
Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LoadedCase:
    """A case that was read.

    Attributes
    ----------
    opened
        The case as labelling knows it; its labels are not changed.
    images, mask
        Layer data of the image, a layer per channel, and of the mask.
    turn
        From the stored axes to those in the window; None for 2D images.
    focus
        The voxel of the shown array to look at: the largest slice of the mask along each axis.
    stamp
        See `case_stamp`.
    picture
        For the list of cases.
    blind
        Whether it is drawn again without seeing its mask.
    """

    opened: OpenedCase
    images: list[LayerDataTuple]
    mask: LayerDataTuple
    turn: Turn | None
    focus: tuple[int, ...]
    stamp: Stamp
    picture: Picture
    blind: bool = False

    @property
    def name(self) -> str:
        return self.opened.name


def load_case(labelling: Labelling, name: str, labels: NDArray[Any] | None = None) -> LoadedCase:
    """Read a case and prepare its layers.

    Parameters
    ----------
    labelling
        The labelling of its dataset.
    name
        Name of the case.
    labels
        A mask that could not be saved before, to be shown instead.

    Raises
    ------
    UserError
        If the image or the mask cannot be read.
    """
    stamp = case_stamp(labelling, name)
    return _loaded(labelling, labelling.open_case(name), stamp, labels)


def load_blind(labelling: Labelling, name: str) -> LoadedCase:
    """Read a case that waits for a second reading, with an empty mask.

    Raises
    ------
    UserError
        If it does not wait, or its image cannot be read.
    """
    stamp = case_stamp(labelling, name)
    return replace(_loaded(labelling, open_blind(labelling, name), stamp), blind=True)


def _loaded(
    labelling: Labelling, opened: OpenedCase, stamp: Stamp, labels: NDArray[Any] | None = None
) -> LoadedCase:
    name = opened.name
    image, case = opened.image, labelling.case(name)
    shown = image.with_array((opened.labels if labels is None else labels).copy())
    turn = image.turn(ORDER) if image.ndim == 3 else None
    mask = labels_layer(
        shown,
        f"{name} mask",
        classes=layer_classes(labelling.dataset),
        colours=class_colours_of(labelling.dataset),
    )
    images, place = image_layers(image, name, Path(case.images[0])), focus(np.asarray(mask[0]))
    small = picture(
        np.asarray(images[0][0]),
        np.asarray(mask[0]),
        mask[1]["scale"],
        rgb_of(labelling.dataset),
        place[0],
    )
    return LoadedCase(opened, images, mask, turn, place, stamp, small)


def layer_classes(dataset: Dataset) -> dict[str, int]:
    """Return the class names of a mask layer, with the ignore label if the dataset has one."""
    return dataset.classes | ({"ignore": IGNORE} if dataset.ignore is not None else {})


def class_colours_of(dataset: Dataset) -> dict[int, str]:
    """Return the colours that were chosen for the classes, by class index."""
    chosen = dataset.record.get("colours") or {}
    return {index: str(chosen[name]) for name, index in dataset.classes.items() if name in chosen}


def rgb_of(dataset: Dataset) -> dict[int, Colour]:
    """Return red, green and blue of each class, as in the window."""
    colours = class_colours(class_colours_of(dataset))
    return {
        index: tuple(round(255 * float(part)) for part in colours.map(index)[:3])
        for index in dataset.classes.values()
        if index
    }


def case_stamp(labelling: Labelling, name: str) -> Stamp:
    """Return the modification times and sizes of all files from which a case is opened."""
    paths, dataset = labelling.paths, labelling.dataset
    case = labelling.case(name)
    files = [
        *case.images,
        paths.case(name),
        paths.draft(name, labelling.reader),
        paths.proposals,
        *(
            dataset.folder / f"labels{part}" / f"{name}{dataset.file_ending}"
            for part in ("Tr", "Ts")
        ),
    ]
    return tuple(_stat(path) for path in files)


def focus(labels: NDArray[Any]) -> tuple[int, ...]:
    """Return the index of the slice with most labelled voxels along each axis, else the middle."""
    inside = (labels > 0) & (labels != IGNORE)
    found = []
    for axis, size in enumerate(labels.shape):
        others = tuple(one for one in range(labels.ndim) if one != axis)
        voxels = np.count_nonzero(inside, axis=others) if others else inside.astype(int)
        found.append(int(np.argmax(voxels)) if voxels.any() else size // 2)
    return tuple(found)


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
