"""The maps of every distillation method, in the grid of an image.

A new method adds its kind of map to `KINDS` and its name to `_OF_METHOD`; worker, window and report
then have it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.emkd_maps import importance_maps
from napari_graphflow.inference.graph_flow_maps import variation_maps
from napari_graphflow.inference.whole_volume import Cancelled, Progress
from napari_graphflow.models.saved import Model


class NetworkMaps(Protocol):
    """Maps of student and teacher on one range, and their difference (teacher minus student)."""

    @property
    def student(self) -> Volume: ...
    @property
    def teacher(self) -> Volume | None: ...
    @property
    def difference(self) -> Volume | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


Compute = Callable[..., NetworkMaps]


@dataclass(frozen=True)
class MapKind:
    """A kind of map.

    Attributes
    ----------
    title
        What it shows, in words.
    term
        The paper's term.
    compute
        ``compute(student, volume, teacher, progress=, cancelled=)``; the teacher may be None.
    """

    title: str
    term: str
    compute: Compute


def _importance(power: int, tap: str) -> Compute:
    def compute(
        student: Model,
        volume: Volume,
        teacher: Model | None = None,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> NetworkMaps:
        return importance_maps(
            student, volume, teacher, tap=tap, power=power, progress=progress, cancelled=cancelled
        )

    return compute


KINDS: dict[str, MapKind] = {
    "variation": MapKind(
        "where features change most between encoder and decoder",
        "variation map (Graph Flow)",
        variation_maps,
    ),
    "importance": MapKind(
        "where the features of the encoder are strongest",
        "importance map (EMKD), power 4, tap hi",
        _importance(4, "hi"),
    ),
    "attention": MapKind(
        "where the features of the encoder are strong",
        "attention map (attention transfer), power 2, tap hi",
        _importance(2, "hi"),
    ),
}
_OF_METHOD = {"graph_flow": "variation", "emkd": "importance", "attention": "attention"}


def map_of_method(method: str) -> str | None:
    """Return the kind of map that a method compares; None if it compares none."""
    return _OF_METHOD.get(method)
