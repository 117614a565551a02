"""Presenter of proposals: their order in words, and the places where a model is unsure; no Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_graphflow.dataset.findings import counted
from napari_graphflow.labelling.overview import WAITING, CaseRow
from napari_graphflow.labelling.priority import Strategy
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.plugin.widgets.words import Message, in_words
from napari_graphflow.system.words import duration

if TYPE_CHECKING:
    from napari_graphflow.jobs.status import Status
    from napari_graphflow.labelling.proposing import Report
    from napari_graphflow.labelling.rereads import Outcomes

ORDERS: dict[str, Strategy | None] = {
    "automatic": None,
    "least certain, structures in turn": "entropy",
    "two models disagree": "disagreement",
    "least certain structure": "uncertain",
    "random": "random",
}
ABOUT_ORDER = "No order is known to be reliably better than random; it decides what comes next."


@dataclass(frozen=True)
class Place:
    """Slices where a model is unsure about a structure; `entropy` is from 0 to 1."""

    slices: tuple[int, int]
    structure: str
    entropy: float

    def text(self, number: int, total: int) -> str:
        """Return what to look at."""
        first, last = self.slices
        where = f"Slice {first}" if first == last else f"Slices {first} to {last}"
        what = in_words(self.structure)
        return f"{where}: the model is unsure about the {what} ({number} of {total})."


def worst_places(proposal: Proposal | None) -> list[Place]:
    """Return the slabs of a case by uncertainty, the worst first; one entry per slab."""
    statistics = None if proposal is None else proposal.statistics
    if statistics is None:
        return []
    worst: dict[int, tuple[float, str]] = {}
    for name, values in statistics.entropy.items():
        for index, value in enumerate(values):
            if value > worst.get(index, (0.0, ""))[0]:
                worst[index] = (value, name)
    ordered = sorted(worst.items(), key=lambda item: -item[1][0])
    return [Place(statistics.slab(index), name, value) for index, (value, name) in ordered]


def waiting_text(rows: Sequence[CaseRow]) -> str:
    """Return how many cases wait for a mask."""
    waiting = [row for row in rows if row.status in WAITING]
    proposed = sum(row.status == "proposed" for row in waiting)
    if not waiting:
        return "No case waits for a mask."
    verb = "waits" if len(waiting) == 1 else "wait"
    return (
        f"{counted(len(waiting), 'case')} {verb} for a finished mask, {proposed} with a proposal."
    )


def proposed_message(found: "Report", status: "Status") -> Message:
    """Return what a job has proposed, and what it could not."""
    text = f"{counted(len(found.proposed), 'mask')} proposed."
    if status.state == "cancelled":
        return Message(f"Cancelled. {text} “Propose masks” continues where it was.", "warn")
    if status.state != "done":
        return Message(f"{text} {status.failure or 'The job stopped.'}", "fail")
    if not found.failed:
        return Message(text, "done")
    case, reason = next(iter(found.failed.items()))
    return Message(f"{text} {counted(len(found.failed), 'case')} failed. {case}: {reason}", "warn")


def outcomes_text(found: Sequence["Outcomes"]) -> str:
    """Return what was done with the proposals of each model, a line each."""
    lines = []
    for one in found:
        edited = f"{one.edited} edited"
        if one.voxels is not None:
            edited += f" (median {one.voxels:,.0f} voxels)"
        time = "" if one.seconds is None else f", median {duration(one.seconds)} each"
        lines.append(
            f"{one.model}: {one.accepted} accepted untouched, {edited}, {one.rejected} "
            f"rejected{time}."
        )
    return "\n".join(lines)
