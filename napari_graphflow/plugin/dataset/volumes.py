"""Volumes and small pictures for the list of cases, one case after the other."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject

from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.dataset.loading import rgb_of
from napari_graphflow.plugin.dataset.pictures import Picture, picture
from napari_graphflow.plugin.viewer.layers import ORDER
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.legend import count_labels

#: Compressed files above this size would make the window stutter while they are read.
LARGEST = 4_000_000


@dataclass(frozen=True)
class Measured:
    """Volumes of the structures of a case in ml, None without a mask, and its picture."""

    volumes: Mapping[str, float] | None
    picture: Picture | None


class Volumes(QObject):
    """Reads the images and finished masks of a dataset in the background; again if they change.

    Parameters
    ----------
    parent
        Owns it.
    measured
        Called with the name of a case and what was measured.
    """

    def __init__(self, parent: QObject, measured: Callable[[str, Measured], None]) -> None:
        super().__init__(parent)
        self._measured = measured
        self._background = Background(self)
        self._known: dict[Path, tuple[Any, Any]] = {}
        self._waiting: list[tuple[Dataset, Case]] = []

    def measure(self, dataset: Dataset) -> None:
        """Measure the cases that are new or have changed."""
        self._waiting = [(dataset, case) for case in dataset.cases]
        self._next()

    def stop(self) -> None:
        """Stop measuring."""
        self._waiting = []
        self._background.stop()

    def _next(self) -> None:
        while self._waiting and not self._background.busy():
            dataset, case = self._waiting.pop(0)
            stamps = _stamp(case.images[0]), _stamp(case.label)
            if stamps == self._known.get(case.images[0]):
                continue
            self._known[case.images[0]] = stamps
            read: Callable[[], Measured] = partial(measure_case, dataset, case)
            self._background.run(read, partial(self._done, case.name), self._failed)

    def _done(self, name: str, found: Measured) -> None:
        self._measured(name, found)
        self._next()

    def _failed(self, error: Exception) -> None:
        # What is wrong with the case is said when its case is opened.
        self._next()


def measure_case(dataset: Dataset, case: Case) -> Measured:
    """Measure the finished mask of a case, and draw its picture; large files are left out.

    Raises
    ------
    UserError
        If a file cannot be read.
    """
    small = 0 < _stamp(case.label)[1] <= LARGEST
    labels = read_case_labels(dataset, case) if case.label is not None and small else None
    volumes = None if labels is None else case_volumes(dataset, labels)
    if not 0 < _stamp(case.images[0])[1] <= LARGEST:
        return Measured(volumes, None)
    image = read_case(case)
    shown = image.oriented(ORDER)
    mask = None if labels is None else labels.oriented(ORDER).array
    array = shown.array
    if shown.channels and array.shape[-1] not in (3, 4):
        array = array[..., 0]
    return Measured(volumes, picture(array, mask, shown.spacing, rgb_of(dataset)))


def case_volumes(dataset: Dataset, labels: Volume) -> dict[str, float]:
    """Return the volume of each structure of a mask in ml; empty for 2D images."""
    if labels.ndim != 3:
        return {}
    size = math.prod(labels.spacing) / 1000
    counts = count_labels(labels.array)
    return {name: counts.get(index, 0) * size for name, index in dataset.classes.items() if index}


def _stamp(path: Path | None) -> tuple[Any, int]:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return 0, 0
    return (found.st_mtime_ns, found.st_size) if found is not None else (0, 0)
