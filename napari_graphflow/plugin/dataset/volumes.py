"""Volumes of the structures in the list of cases, measured one case after the other."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject

from napari_graphflow.dataset.cases import Case, Dataset, read_case_labels
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.legend import count_labels

#: Compressed masks above this size would make the window stutter while they are read.
LARGEST = 4_000_000


class Volumes(QObject):
    """Measures the finished masks of a dataset in the background; again if they change.

    Parameters
    ----------
    parent
        Owns it.
    measured
        Called with the name of a case and the volumes of its structures in ml.
    """

    def __init__(
        self, parent: QObject, measured: Callable[[str, Mapping[str, float]], None]
    ) -> None:
        super().__init__(parent)
        self._measured = measured
        self._background = Background(self)
        self._known: dict[Path, tuple[int, int]] = {}
        self._waiting: list[tuple[Dataset, Case]] = []

    def measure(self, dataset: Dataset) -> None:
        """Measure the masks that are new or have changed."""
        self._waiting = [(dataset, case) for case in dataset.cases if case.label is not None]
        self._next()

    def stop(self) -> None:
        """Stop measuring."""
        self._waiting = []
        self._background.stop()

    def _next(self) -> None:
        while self._waiting and not self._background.busy():
            dataset, case = self._waiting.pop(0)
            assert case.label is not None
            stamp = _stamp(case.label)
            if stamp == self._known.get(case.label) or not 0 < stamp[1] <= LARGEST:
                continue
            self._known[case.label] = stamp
            read: Callable[[], Mapping[str, float]] = partial(case_volumes, dataset, case)
            self._background.run(read, partial(self._done, case.name), self._failed)

    def _done(self, name: str, volumes: Mapping[str, float]) -> None:
        self._measured(name, volumes)
        self._next()

    def _failed(self, error: Exception) -> None:
        # What is wrong with the mask is said when its case is opened.
        self._next()


def case_volumes(dataset: Dataset, case: Case) -> dict[str, float]:
    """Return the volume of each structure of a finished mask in ml; empty for 2D images.

    Raises
    ------
    UserError
        If the mask cannot be read.
    """
    labels = read_case_labels(dataset, case)
    if labels.ndim != 3:
        return {}
    size = math.prod(labels.spacing) / 1000
    counts = count_labels(labels.array)
    return {name: counts.get(index, 0) * size for name, index in dataset.classes.items() if index}


def _stamp(path: Path) -> tuple[Any, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
