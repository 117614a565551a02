"""What *Compare* says; without Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.comparison import Place, Row
from napari_graphflow.evaluation.metrics import TOLERANCE
from napari_graphflow.evaluation.study import Role, role_of
from napari_graphflow.jobs.trained import alone_beside
from napari_graphflow.plugin.viewer.edits import maker_of
from napari_graphflow.plugin.viewer.placement import same_place
from napari_graphflow.plugin.viewer.world import grid_shape
from napari_graphflow.plugin.widgets.words import Message, count_text, in_words

_HEADINGS: dict[Role, str] = {"teacher": "Teacher", "student": "Student", "alone": "Alone"}
NO_MASKS = "Choose two masks or models of this case. Masks must be open in the viewer."


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes
    ----------
    key
        The case of both masks.
    a, b
        The masks.
    rows, line
        The table, and the line about it.
    places
        The worst places, over all structures.
    """

    key: str
    a: Labels
    b: Labels
    rows: Sequence[Row]
    line: Message
    places: Sequence[Place] = ()


def compared(
    case: str, differs: NDArray[np.uint8], units: str, cautions: Sequence[str] = ()
) -> Message:
    """Return the line about a finished comparison, a warning if a mask of it may be wrong."""
    count, size = int(np.count_nonzero(differs)), differs.size
    text = f"{case}: the masks are identical."
    if count:
        share = f"{100 * count / size:.2f}\u00a0%"
        text = f"{case}: {count:,} of {size:,} {units} differ ({share})."
    return Message(" ".join((text, *dict.fromkeys(cautions))), "warn" if cautions else "done")


def headings(sides: Sequence[Labels | Path | Any]) -> list[str]:
    """Return what A, B and the student alone are called: by their role, else by their letter.

    Parameters
    ----------
    sides
        A and B: masks, folders of models, or None.
    """
    roles = [_role(side) for side in sides]
    letters = ["A", "B"]
    named = [
        _HEADINGS[role] if role else letter for role, letter in zip(roles, letters, strict=False)
    ]
    if len(set(named)) < len(named):
        named = letters
    return [*named, "Alone"]


def alone_of(sides: Sequence[Labels | Path | Any]) -> Path | None:
    """Return the student alone that belongs to a student among the sides and is not one itself."""
    folders = [side for side in sides if isinstance(side, Path)]
    found = next((one for folder in folders if (one := alone_beside(folder))), None)
    return None if found in folders else found


def units_text(unit: str) -> str:
    """Return in what the distances of the table are, for the unit of its sizes."""
    distance = "mm" if unit in ("ml", "mm²") else unit
    return f"HD95 and ASSD in {distance}; NSD within {TOLERANCE:g} {distance}."


def where(place: Place, axes: int, units: str, more: str = "") -> Message:
    """Return the line about a place that is shown."""
    count = place.voxels
    found = f"1 {units.removesuffix('s')}" if count == 1 else f"{count:,} {units}"
    at = f"Slice {place.slice}" if axes == 3 else "2D image"
    verb = "differs" if count == 1 else "differ"
    return Message(f"{at}: {found} of {in_words(place.structure)} {verb}.{more}")


def cost(heading: str, card: ModelCard, size: int | None, reply: Mapping[str, Any]) -> str:
    """Return what a model costs on this computer."""
    parts = [f"{count_text(card.parameters)} parameters"] if card.parameters else []
    if size is not None:
        parts.append(f"{size / 1e6:.1f} MB")
    parts.append(f"{reply['seconds']:.2f} s on {reply['device']}")
    if reply.get("peak_bytes"):
        parts.append(f"memory up to {reply['peak_bytes'] / 1e6:,.0f} MB")
    return f"{heading}: {', '.join(parts)}"


def _role(side: Labels | Path | Any) -> Role | None:
    folder = Path(made) if isinstance(side, Labels) and (made := maker_of(side)) else side
    if not isinstance(folder, Path) or not (folder / "model.json").is_file():
        return None
    try:
        return role_of(read_model_card(folder))
    except UserError:
        return None


def guidance(*, shown: bool, advice: str, chosen: bool, different: bool, image: bool) -> str:
    """Return what to do before masks can be compared, empty if they can.

    Parameters
    ----------
    shown, advice
        Whether a case is shown and selected, and what to do if none is.
    chosen, different
        Whether two masks or models are chosen, and are different ones.
    image
        Whether an image is shown for the models that are chosen, if any.
    """
    if not shown:
        return advice
    if not chosen:
        return NO_MASKS
    if not different:
        return "Choose two different masks or models."
    return "" if image else "Open the image on which to run the models."


def check_grid(a: Layer, b: Layer) -> None:
    """Refuse layers whose voxels are not at the same places.

    Raises
    ------
    UserError
        If their shapes or places differ.
    """
    if grid_shape(a) != grid_shape(b):
        shapes = " and ".join("x".join(map(str, grid_shape(layer))) for layer in (a, b))
        raise UserError(
            f"{a.name} and {b.name} have different shapes ({shapes} {units(a)}).",
            "Choose layers of the same image.",
        )
    if not same_place(a, b):
        raise UserError(
            f"{a.name} and {b.name} have the same shape but lie differently in napari, so their "
            "voxels cannot be compared.",
            "Choose layers of the same image, or reset the transform of the one that was moved.",
        )


def units(layer: Layer) -> str:
    """Return what the points of a layer are called."""
    return "voxels" if layer.ndim == 3 else "pixels"
