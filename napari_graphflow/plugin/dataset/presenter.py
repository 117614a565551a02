"""Presenter of *Dataset*: what the list of cases and the buttons show; without Qt."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from napari_graphflow.labelling.overview import CaseRow, count_statuses
from napari_graphflow.labelling.priority import Suggestion
from napari_graphflow.labelling.records import CaseFacts
from napari_graphflow.labelling.statuses import Action, Status, allowed
from napari_graphflow.plugin.widgets.words import Message, in_words, volume_text

#: What a button does; ``finish`` saves the mask as finished, whatever it began with.
Button = Literal["finish", "reject", "flag", "review", "approve", "exclude", "reopen"]

#: Colours of the statuses, legible in napari's dark and light theme.
COLOURS: dict[Status, str] = {
    "unlabelled": "#8f949c",
    "proposed": "#b07be0",
    "in progress": "#d98a1f",
    "labelled": "#3a9fe0",
    "in review": "#2fa89a",
    "approved": "#46a854",
    "flagged": "#e8605a",
    "excluded": "#6b6f76",
}
CHOOSE = Message(
    "Choose a dataset, or make one from a folder of scans with “New …”. No model is needed."
)
EMPTY = Message("This dataset has no cases.", "warn")


@dataclass(frozen=True)
class ButtonInfo:
    """Text and tooltip of a button."""

    text: str
    tip: str


BUTTONS: dict[Button, ButtonInfo] = {
    "finish": ButtonInfo("Finish", "Save the mask as finished, where training finds it."),
    "reject": ButtonInfo(
        "Reject", "The proposed mask is useless. In review: return the mask to its reader."
    ),
    "flag": ButtonInfo("Flag", "Set a doubtful case aside; it is used for nothing."),
    "review": ButtonInfo(
        "To review", "Let somebody else look at the mask; until then it does not count."
    ),
    "approve": ButtonInfo(
        "Approve", "The mask is good. It is not changed again until the case is reopened."
    ),
    "exclude": ButtonInfo("Exclude", "Leave the case out for good."),
    "reopen": ButtonInfo("Reopen", "Take back flagging, excluding or approving."),
}
_ACTIONS: dict[Button, tuple[Action, ...]] = {
    "finish": ("save", "accept"),
    **{name: (name,) for name in ("reject", "flag", "review", "approve", "exclude", "reopen")},
}


@dataclass(frozen=True)
class Cells:
    """A row of the list of cases, as text.

    Attributes
    ----------
    name, status
        Name and status of the case.
    volumes
        Volume of each structure; ``–`` if not known.
    unsure
        The structure of which the newest proposal is least certain, and its entropy from 0 to 1.
    who, when
        Who changed the case last, and when; empty if nobody did.
    tip
        Everything else, one line each.
    """

    name: str
    status: Status
    volumes: str
    unsure: str
    who: str
    when: str
    tip: str


def cells(row: CaseRow, volumes: Mapping[str, float] | None = None) -> Cells:
    """Return what the list shows of a case; `volumes` are in ml by structure."""
    facts = row.facts
    parts = [
        f"{in_words(name)} {volume_text(value)}" for name, value in (volumes or {}).items() if value
    ]
    lines = [
        row.name,
        f"{_SPLITS[row.split]} case, {row.status}",
        *(f"{in_words(name)}: {volume_text(value)}" for name, value in (volumes or {}).items()),
        row.problem,
        f"open by {row.holder}" if row.holder else "",
        f"masks in progress: {', '.join(row.drafts)}" if row.drafts else "",
        f"proposed by {', '.join(one.model for one in row.proposals)}" if row.proposals else "",
        f"difficulty {facts.difficulty} of 3" if facts.difficulty else "",
        facts.comment,
    ]
    if facts.slices is not None:
        lines.append(f"{len(facts.slices)} slices are done")
    return Cells(
        row.name,
        row.status,
        ", ".join(parts) or "–",
        "{} {:.2f}".format(*row.uncertainty) if row.uncertainty else "",
        facts.reader,
        f"{facts.changed.astimezone():%Y-%m-%d %H:%M}" if facts.changed else "",
        "\n".join(line for line in lines if line),
    )


_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def matches(row: CaseRow, search: str, status: Status | None) -> bool:
    """Whether a case is listed: every word of `search` is in its name, reader or comment."""
    text = " ".join((row.name, row.status, row.facts.reader, row.facts.comment)).casefold()
    return status in (None, row.status) and all(word in text for word in search.casefold().split())


def counts(rows: list[CaseRow]) -> dict[Status, int]:
    """Return the number of cases of each status that occurs."""
    return {status: count for status, count in count_statuses(rows).items() if count}


def counts_text(found: Mapping[Status, int]) -> str:
    """Return the counts in words, such as ``18 unlabelled · 6 labelled``."""
    return " · ".join(f"{count} {status}" for status, count in found.items())


def buttons(facts: CaseFacts | None, *, editable: bool = True) -> set[Button]:
    """Return the buttons that the status of the open case allows.

    Parameters
    ----------
    facts
        The record of the open case; None without one.
    editable
        False if another window has the case open.
    """
    if facts is None or not editable:
        return set()
    possible = set(allowed(facts.status))
    found = {name for name, actions in _ACTIONS.items() if possible & set(actions)}
    if facts.status == "in review":
        found.discard("review")
    return found


def finish_text(facts: CaseFacts | None) -> str:
    """Return the text of the first button: a proposal is accepted, a mask is finished."""
    return "Accept" if facts is not None and facts.status == "proposed" else "Finish"


def case_title(name: str, facts: CaseFacts, origin: str) -> str:
    """Return the line about the open case."""
    return f"{name} · {facts.status} · {_ORIGINS[origin]}"


_ORIGINS = {
    "draft": "your draft",
    "mask": "finished mask",
    "proposal": "proposed mask",
    "empty": "no mask",
}


def reading_text(name: str) -> str:
    """Return what is said while a case is read."""
    return f"Reading {name} …"


def empty_text(name: str) -> str:
    """Return the question before an empty mask is saved as finished."""
    return f"Nothing is painted. Save that {name} contains none of the structures?"


def slices_text(slices: Collection[int] | None, total: int) -> str:
    """Return how many slices are marked as done."""
    if not slices:
        return ""
    verb = "is" if len(slices) == 1 else "are"
    return f"{len(slices)} of {total} slices {verb} done; training ignores the others."


def neighbour(names: list[str], current: str, step: int) -> str:
    """Return the case before or after the open one in the list; the first one if none is open."""
    if not names:
        return ""
    if current not in names:
        return names[0 if step > 0 else -1]
    place = names.index(current) + step
    return names[place] if 0 <= place < len(names) else ""


def find(rows: Iterable[CaseRow], name: str) -> CaseRow | None:
    """Return the row of a case."""
    return next((row for row in rows if row.name == name), None)


def elsewhere_text(mask: str) -> str:
    """Return why the buttons are off while another case is shown."""
    return f"Another case is shown. Select {mask} in the layer list to go on with this one."


def reason(suggestions: Iterable[Suggestion], name: str) -> str:
    """Return which case comes next, and why; empty if none does."""
    found = next((one for one in suggestions if one.case == name), None)
    return "" if found is None else f"Next: {found.case}. {found.reason}"
