"""``labelling/cases/CASE.json``: what is known of a case."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.labelling.log import Entry
from napari_graphflow.labelling.statuses import COUNTED, Status
from napari_graphflow.system.files import replace_file

Difficulty = Annotated[int, Field(ge=1, le=3)]
Slices = tuple[Annotated[int, Field(ge=0)], ...]


class CaseFacts(Frozen):
    """What is recorded of a case.

    Parameters
    ----------
    status
        One of the statuses.
    before
        Status before the case was flagged or excluded.
    mask
        SHA-256 of the file of its last finished mask; the file is in ``labelsTr`` while it counts,
        and in ``versions`` for ever.
    whole
        SHA-256 of that mask before the slices that are not done were ignored; empty if all are.
    slices, axis
        Slices marked as done, as indices along an axis of the stored array; None means all.
    proposal
        SHA-256 of the weights of the model whose proposal the mask in progress began with.
    source
        Another program that the mask in progress is from.
    rejected
        The same of the models whose proposals were rejected.
    reader
        Who changed the case last.
    readers
        To whom the case is given; empty means to anybody.
    difficulty, comment
        As readers gave them.
    changed
        When the case was changed last.
    """

    status: Status = "unlabelled"
    before: Status = "unlabelled"
    mask: str = ""
    whole: str = ""
    slices: Slices | None = None
    axis: Annotated[int, Field(ge=0, le=2)] = 0
    proposal: str = ""
    source: str = ""
    rejected: tuple[str, ...] = ()
    reader: str = ""
    readers: tuple[str, ...] = ()
    difficulty: Difficulty | None = None
    comment: str = ""
    changed: datetime | None = None


class Pending(Frozen):
    """A step that was decided but whose files may not all be written.

    Parameters
    ----------
    facts
        The record after the step.
    entry
        Its entry in the log.
    """

    facts: CaseFacts
    entry: Entry


class CaseRecord(CaseFacts):
    """The content of the file.

    Parameters
    ----------
    pending
        A step during which the program was killed; whoever sees it next completes it.
    """

    pending: Pending | None = None

    @property
    def facts(self) -> CaseFacts:
        """The record without a pending step."""
        return CaseFacts.model_validate(self.model_dump(exclude={"pending"}))


def read_record(path: Path) -> CaseRecord | None:
    """Read the record of a case; None if there is none.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    return read_config(CaseRecord, path) if path.is_file() else None


def write_record(path: Path, facts: CaseFacts, pending: Pending | None = None) -> None:
    """Replace the record of a case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = CaseRecord(**dict(facts) | {"pending": pending})
    replace_file(path, record.model_dump_json(indent=1).encode() + b"\n")


def as_found(facts: CaseFacts | None, has_mask: bool) -> CaseFacts:
    """Return the record of a case in the light of its mask in ``labelsTr``.

    A dataset may have no records, and other programs may add and remove masks.
    """
    facts = facts or CaseFacts()
    if has_mask and facts.status in ("unlabelled", "proposed", "in progress"):
        return facts.model_copy(update={"status": "labelled", "slices": None, "whole": ""})
    if not has_mask and facts.status in COUNTED:
        return facts.model_copy(update={"status": "unlabelled"})
    return facts


def now() -> datetime:
    """Return the time for records."""
    return datetime.now(UTC).replace(microsecond=0)
