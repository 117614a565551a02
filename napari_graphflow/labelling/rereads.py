"""The blind re-read: some accepted proposals are drawn again by somebody who does not see them.

A proposal that is accepted untouched may be right, or may have been looked at too quickly. A share
of such cases, none by default, is offered again with an empty mask; the new mask is compared with
the accepted one and is not used for anything else. ::

    set_share(labelling, 0.1)                     # kept in the dataset
    due(labelling)                                # cases to draw again
    opened = open_blind(labelling, case)          # the image and an empty mask
    save_blind(labelling, opened, labels)
    rows = reread_agreement(labelling)

Which cases are drawn depends on their names and masks alone, so that all readers see the same.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.dataset.cases import read_case
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.agreement import Agreement, compare_masks
from napari_graphflow.labelling.log import Entry
from napari_graphflow.labelling.masks import keep_new_version, read_mask
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.labelling.statuses import COUNTED
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import replace_file


class LabellingSettings(Frozen):
    """``labelling/settings.json``.

    Parameters
    ----------
    reread_share
        Share of the proposals accepted untouched that are drawn again.
    """

    reread_share: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class Outcomes:
    """What was done with the proposals of a model.

    Attributes
    ----------
    model
        Its name.
    accepted, edited, rejected
        Number of proposals accepted untouched, saved after changes, and rejected.
    voxels
        Median number of changed voxels of the edited ones; None without any.
    seconds
        Median time that a reader took; None if unknown.
    """

    model: str
    accepted: int
    edited: int
    rejected: int
    voxels: float | None
    seconds: float | None


def share(labelling: Labelling) -> float:
    """Return the share of accepted proposals that are drawn again."""
    path = labelling.paths.settings
    return read_config(LabellingSettings, path).reread_share if path.is_file() else 0.0


def set_share(labelling: Labelling, value: float) -> None:
    """Set the share, 0 to 1."""
    if not 0 <= value <= 1:
        raise UserError(f"{value} is not a share.", "Choose a number from 0 to 1.")
    settings = LabellingSettings(reread_share=value)
    with in_words():
        labelling.paths.create()
        replace_file(labelling.paths.settings, settings.model_dump_json(indent=1).encode() + b"\n")


def due(labelling: Labelling) -> list[str]:
    """Return the cases to draw again, by name: accepted untouched, drawn, and not yet read again.

    A case whose mask was changed since is left out, and so are those given to other readers.
    """
    wanted = share(labelling)
    if not wanted:
        return []
    accepted, read = _accepted(labelling)
    known = {case.name for case in labelling.dataset.cases}
    found = []
    for name, entry in sorted(accepted.items()):
        if name not in known or entry.to_mask in read.get(name, ()):
            continue
        facts = labelling.facts(name)
        mine = not facts.readers or labelling.reader in facts.readers
        counts = facts.status in COUNTED and facts.mask == entry.to_mask
        if mine and counts and _drawn(entry) < wanted:
            found.append(name)
    return found


def open_blind(labelling: Labelling, name: str) -> OpenedCase:
    """Open a case with an empty mask.

    Raises
    ------
    UserError
        If no accepted proposal of this case waits to be read again.
    """
    if name not in due(labelling):
        raise UserError(
            f"The case {name} does not wait for a second reading.",
            "Choose one of those listed by “datasets reread”.",
        )
    image, facts = read_case(labelling.case(name)), labelling.facts(name)
    labels = np.zeros(image.shape, np.uint8)
    return OpenedCase(name, image, labels, "empty", facts, None, facts.mask, "")


def save_blind(
    labelling: Labelling, opened: OpenedCase, labels: NDArray[Any], *, seconds: float | None = None
) -> list[Agreement]:
    """Keep a mask that was drawn again in the versions, and return how far it agrees.

    The mask of the case and its status do not change.

    Raises
    ------
    UserError
        If the accepted mask was changed meanwhile, or the file cannot be written.
    """
    case = labelling.case(opened.name)
    with in_words():
        labelling.paths.create()
        sha256 = keep_new_version(labelling.paths, labelling.dataset, case, labels, opened.image)
    facts = labelling.facts(opened.name)
    accepted = _accepted(labelling)[0].get(opened.name)
    if accepted is None or not facts.mask == opened.mask_hash == accepted.to_mask:
        raise UserError(
            f"The mask of case {opened.name} was changed since it was opened, so there is nothing "
            f"to compare. Yours is kept as {labelling.paths.version(sha256)}.",
            "Open the case as usual to continue with it.",
        )
    entry = labelling.entry("reread", case, facts, facts)
    entry = entry.model_copy(
        update={
            "to_mask": sha256,
            "seconds": seconds,
            "proposal": accepted.proposal,
            "model": accepted.model,
        }
    )
    with in_words():
        labelling.note(entry)
    return list(_rows(labelling, entry, accepted.who))


def reread_agreement(labelling: Labelling) -> list[Agreement]:
    """Return how far the masks drawn again agree with the accepted ones, structure by structure.

    ``readers`` of a row are who accepted the proposal and who drew the case again.
    """
    accepted: dict[tuple[str, str], Entry] = {}
    rows: list[Agreement] = []
    known = {case.name for case in labelling.dataset.cases}
    for entry in labelling.entries():
        if entry.what == "accept":
            accepted[entry.case, entry.to_mask] = entry
        if entry.what == "reread" and entry.case in known:
            first = accepted.get((entry.case, entry.from_mask))
            rows += _rows(labelling, entry, first.who if first else "")
    return rows


def proposal_outcomes(labelling: Labelling) -> list[Outcomes]:
    """Return what was done with the proposals of each model, by the log."""
    by_model: dict[str, list[Entry]] = {}
    for entry in labelling.entries():
        if entry.proposal and entry.what in ("accept", "save", "reject"):
            by_model.setdefault(entry.model, []).append(entry)
    found = []
    for model, entries in sorted(by_model.items()):
        edited = [one for one in entries if one.what == "save" and one.voxels != 0]
        rejected = [one for one in entries if one.what == "reject"]
        voxels = [one.voxels for one in edited if one.voxels is not None]
        seconds = [one.seconds for one in entries if one.seconds is not None]
        found.append(
            Outcomes(
                model,
                len(entries) - len(edited) - len(rejected),
                len(edited),
                len(rejected),
                median(voxels) if voxels else None,
                median(seconds) if seconds else None,
            )
        )
    return found


def _accepted(labelling: Labelling) -> tuple[dict[str, Entry], dict[str, set[str]]]:
    """Return the last accepted proposal of each case, and which masks were read again."""
    accepted: dict[str, Entry] = {}
    read: dict[str, set[str]] = {}
    for entry in labelling.entries():
        if entry.what == "accept" and entry.proposal:
            accepted[entry.case] = entry
        elif entry.what == "reread":
            read.setdefault(entry.case, set()).add(entry.from_mask)
    return accepted, read


def _drawn(entry: Entry) -> float:
    """Return a number from 0 to 1 that depends on the case and its mask alone."""
    digest = hashlib.blake2b(f"{entry.case} {entry.to_mask}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _rows(labelling: Labelling, entry: Entry, who: str) -> Iterator[Agreement]:
    case = labelling.case(entry.case)
    paths = [labelling.paths.version(sha256) for sha256 in (entry.from_mask, entry.to_mask)]
    if not all(path.is_file() for path in paths):
        return
    image = read_case(case)
    a, b = (read_mask(labelling.dataset, case, path, image) for path in paths)
    yield from compare_masks(
        entry.case, (who, entry.who), a, b, labelling.dataset.classes, image.spacing
    )
