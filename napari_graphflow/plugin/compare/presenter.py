"""What *Compare* says; without Qt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_graphflow.evaluation.comparison import Row
from napari_graphflow.plugin.widgets.words import Message

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
    """

    key: str
    a: Labels
    b: Labels
    rows: Sequence[Row]
    line: Message


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
