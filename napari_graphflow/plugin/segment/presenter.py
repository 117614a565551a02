"""What *Segment* says and asks; without Qt."""

from dataclasses import dataclass
from typing import Any

from napari_graphflow.config.prediction import removed_text
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.widgets.words import Message

#: Longest name of a case on the button.
_LONGEST = 24
DEVICES = {
    "automatic": "auto",
    "CPU": "cpu",
    "NVIDIA GPU": "cuda",
    "Apple GPU": "mps",
}
NO_MODEL = "No saved model found. Choose one of the ways above."


@dataclass(frozen=True)
class Existing:
    """The mask into which a result would go.

    Attributes
    ----------
    name
        Name of its layer.
    edited, since
        Number of voxels a person changed in the region, and the time of the first edit.
    of_others
        Number of voxels in the region that are neither background nor made by the model.
    """

    name: str
    edited: int
    since: str
    of_others: int


def button_text(case: str) -> str:
    """Return the text of the button, with the name of the case if it is short."""
    return f"Segment {case}" if case and len(case) <= _LONGEST else "Segment"


def question(model: str, mask: Existing, *, units: str) -> str:
    """Return what to ask before a result replaces a mask, empty if nothing would be lost."""
    if mask.edited:
        since = f" since {mask.since}" if mask.since else ""
        return (
            f"{model} would replace {mask.edited:,} edited {_count(mask.edited, units)} of "
            f"“{mask.name}”, edited by hand{since}."
        )
    if mask.of_others:
        return (
            f"{model} would replace {mask.of_others:,} {_count(mask.of_others, units)} of "
            f"“{mask.name}”, which it has not made."
        )
    return ""


def segmented(case: str, reply: dict[str, Any], remark: str = "") -> Message:
    """Return the line about a finished segmentation, a warning if its mask may be wrong."""
    memory = reply.get("peak_bytes")
    text = f"{case}: segmented in {reply['seconds']:.1f} s on {reply['device']}" + (
        f", peak memory {memory / 2**30:.1f} GB." if memory else "."
    )
    cautions = reply.get("cautions") or []
    site = reply.get("site")
    if site and not site["unlike"]:  # otherwise it is one of the cautions
        remark = f"{remark} {site['text']}".strip()
    parts = (text, removed_text(reply.get("removed", {})), remark, *cautions)
    return Message(" ".join(one for one in parts if one), "warn" if cautions else "done")


def saved(case: str, mask: str, file: str, volume: Volume) -> Message:
    """Return the line about a mask that was written and read back."""
    size = "in pixels"
    if volume.sized:
        size = " x ".join(f"{value:.3g}" for value in volume.spacing) + " mm"
    return Message(f"{case}: saved and verified {file} (“{mask}”, {size}).", "done")


def sent_to_dataset(case: str, dataset: str) -> Message:
    """Return the line about a mask that became that of a case of a dataset."""
    return Message(f"{case}: passed on to the dataset {dataset}; see there whether it was saved.")


def save_tip(mask: str, dataset: str = "") -> str:
    """Return the tooltip of the button that saves a mask, for a case of a dataset or a file."""
    if not mask:
        return "Select the mask to save in the layer list."
    if dataset:
        return (
            f"Save “{mask}” as the finished mask of this case of {dataset}, where training finds "
            "it. File > Save writes it elsewhere."
        )
    return f"Save “{mask}” with the geometry of its image; the file is verified by reading it back."


def guidance(
    result: Message, *, running: bool, advice: str, model: bool, misfit: str, placed: bool
) -> Message:
    """Return what the status line shows.

    Parameters
    ----------
    result
        The line about the last action, which names its case.
    running
        Whether a segmentation is running.
    advice
        What to do if no image is shown and selected, otherwise empty.
    model, placed
        Whether a model is chosen, and the position of the image is known.
    misfit
        Why the model does not fit the image; empty if it does.
    """
    if running:
        return result
    if advice:
        return Message(advice)
    if not model:
        return Message(NO_MODEL)
    if misfit:
        return Message(misfit, "warn")
    if not placed and not result.text:
        return Message(
            "This image was opened by another reader, so its position and orientation are "
            "unknown. Reopen it with the … button to keep them.",
            "warn",
        )
    return result


def _count(number: int, units: str) -> str:
    return units.removesuffix("s") if number == 1 else units
