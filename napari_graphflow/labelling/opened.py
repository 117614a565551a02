"""A case that a reader has opened: its image and the mask to continue with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.masks import content_hash, mask_path, read_mask
from napari_graphflow.labelling.proposals import Proposal, open_proposal, read_proposals
from napari_graphflow.labelling.records import CaseFacts

Origin = Literal["draft", "mask", "proposal", "empty"]


@dataclass(frozen=True)
class OpenedCase:
    """A case as it was opened or last saved.

    Attributes
    ----------
    name
        Name of the case.
    image
        Its image; the mask is on this grid.
    labels
        Class indices of the mask, which the caller may change.
    origin
        What the mask is.
    facts
        The record of the case.
    proposal
        The proposal that the mask is, or that the draft began with.
    mask_hash, draft_hash
        SHA-256 of the files of the finished mask and of the reader's draft; empty without one.
        Saving compares them with the files, so that nothing of another window is overwritten.
    """

    name: str
    image: Volume
    labels: NDArray[Any]
    origin: Origin
    facts: CaseFacts
    proposal: Proposal | None
    mask_hash: str
    draft_hash: str

    @property
    def source(self) -> str:
        """Another program that the draft is from; empty if none."""
        return self.facts.source if self.origin == "draft" else ""


def open_mask(
    dataset: Dataset,
    paths: LabellingPaths,
    case: Case,
    facts: CaseFacts,
    reader: str,
    model: str = "",
) -> OpenedCase:
    """Open a case; see :meth:`napari_graphflow.labelling.store.Labelling.open_case`."""
    proposals = read_proposals(paths, case.name)
    chosen = open_proposal(proposals, facts.rejected, model)
    if model and chosen is None:
        raise UserError(
            f"The case {case.name} has no proposal of a model {model}.",
            "Choose one from the list of its proposals.",
        )
    draft, finished = paths.draft(case.name, reader), _finished(dataset, paths, case, facts)
    path: Path | None
    origin: Origin
    if os.path.lexists(draft) and not model:
        path, origin = draft, "draft"
        chosen = next((one for one in proposals if one.sha256 == facts.proposal), None)
    elif finished is not None and not model:
        path, origin, chosen = finished, "mask", None
    elif chosen is not None:
        path, origin = paths.proposal(case.name, chosen.sha256), "proposal"
    else:
        path, origin = None, "empty"
    # Before the files are read: what changes meanwhile is noticed when saving.
    finished_hash = content_hash(mask_path(dataset, case))
    image = read_case(case)
    labels, draft_hash = np.zeros(image.shape, np.uint8), ""
    with _naming(draft if origin == "draft" else None, case.name):
        draft_hash = content_hash(draft)
        if path is not None:
            labels = read_mask(dataset, case, path, image)
    hashes = finished_hash, draft_hash
    return OpenedCase(case.name, image, labels, origin, facts, chosen, *hashes)


@contextmanager
def _naming(draft: Path | None, case: str) -> Iterator[None]:
    """Say which file a damaged draft is, and how to go on without it."""
    try:
        yield
    except (UserError, OSError) as error:
        if draft is None:
            raise
        why = error.text if isinstance(error, UserError) else f"{error.strerror or error}."
        raise UserError(
            f"The draft of case {case} cannot be opened: {why}",
            f"Restore {draft} from a backup, or move it elsewhere to begin without it.",
        ) from None


def _finished(dataset: Dataset, paths: LabellingPaths, case: Case, facts: CaseFacts) -> Path | None:
    """Return the file of the finished mask, with the slices that are ignored if some are."""
    target = mask_path(dataset, case)
    if target.is_file():
        whole = paths.version(facts.whole) if facts.whole else target
        known = facts.whole and whole.is_file() and content_hash(target) == facts.mask
        return whole if known else target
    kept = paths.version(facts.mask)
    return kept if facts.mask and kept.is_file() else None
