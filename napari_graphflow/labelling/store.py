"""Label a dataset: open cases, save drafts and finished masks, accept, reject, flag, approve."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.labelling import locks
from napari_graphflow.labelling.masks import (
    content_hash,
    ensure_ignore,
    keep_new_version,
    keep_version,
    mask_path,
    read_mask,
    refreshed,
    stored_values,
    write_mask,
)
from napari_graphflow.labelling.opened import OpenedCase, open_mask
from napari_graphflow.labelling.proposals import (
    Proposal,
    open_proposal,
    read_proposals,
    store_proposal,
)
from napari_graphflow.labelling.records import CaseFacts, now, write_record
from napari_graphflow.labelling.statuses import HELD_BACK, Action, after
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.failures import in_words


class Labelling(CaseSteps):
    """The labelling of one dataset by one reader in one window.

    Parameters and attributes are those of `CaseSteps`.
    """

    def __init__(self, dataset: Path, reader: str = "") -> None:
        super().__init__(dataset, reader)
        self._held: set[str] = set()

    def hold(self, name: str, *, take_over: bool = False) -> None:
        """Note that this window has a case open, so that others leave it alone.

        Raises
        ------
        UserError
            If another window has it open; with `take_over` it loses the case instead.
        """
        self.case(name)
        with in_words():
            self.paths.create()
            lock, guard = self.paths.lock(name), self.paths.guard(name)
            locks.hold(lock, guard, self.reader, self._token, take_over=take_over)
        self._held.add(name)

    def beat(self) -> None:
        """Renew the notes of the open cases, every `locks.HEARTBEAT` seconds.

        Raises
        ------
        UserError
            If another window has taken a case over.
        """
        for name in sorted(self._held):
            self.hold(name)

    def release(self, name: str) -> None:
        """Note that this window has closed a case."""
        self._held.discard(name)
        with in_words():
            if self.paths.locks.is_dir():
                locks.release(self.paths.lock(name), self.paths.guard(name), self._token)

    def holds(self, name: str) -> bool:
        """Whether this window has noted that it has a case open."""
        return name in self._held

    def proposals(self, name: str) -> list[Proposal]:
        """Return the proposals for a case, the newest first."""
        return read_proposals(self.paths, name)

    def open_case(self, name: str, *, proposal: str = "") -> OpenedCase:
        """Read the image of a case and the mask to continue with.

        The mask is the reader's draft; else the finished mask; else the newest proposal that was
        not rejected; else empty. `proposal`, the begin of a model's SHA-256, asks for that one.

        Raises
        ------
        UserError
            If the image or the mask cannot be read, or the proposal is on another grid.
        """
        case, facts = self.case(name), self.facts(name)
        self.dataset = refreshed(self.dataset)
        return open_mask(self.dataset, self.paths, case, facts, self.reader, proposal)

    def save_draft(
        self,
        opened: OpenedCase,
        labels: NDArray[Any],
        *,
        slices: Sequence[int] | None = None,
        axis: int = 0,
        source: str = "",
    ) -> OpenedCase:
        """Save a mask in progress; the mask that counts, if there is one, is not changed.

        Parameters
        ----------
        opened
            The case as it was opened or last saved.
        labels
            Class indices on the grid of the image.
        slices, axis
            Slices marked as done, see `CaseFacts`.
        source
            Program that the mask is from, if another one.

        Returns
        -------
        OpenedCase
            For the next call.

        Raises
        ------
        UserError
            If the draft was changed by another window meanwhile (`labels` is then kept in the
            versions), if another window has the case open, or the file cannot be written.
        """
        case = self.case(opened.name)
        with self._writing(case) as facts:
            path = self.paths.draft(case.name, self.reader)
            if (found := content_hash(path)) != opened.draft_hash:
                sha256 = keep_new_version(self.paths, self.dataset, case, labels, opened.image)
                what = f"The draft of case {case.name}"
                by = f"another window of {self.reader}"
                raise self._changed(case, facts, what, by, found, sha256)
            status = after("draft", facts.status, facts.before, case.name)
            write_mask(self.dataset, path, labels, opened.image)
            changed = facts.model_copy(
                update={
                    "status": status,
                    "slices": None if slices is None else tuple(sorted(set(slices))),
                    "axis": axis,
                    "proposal": opened.proposal.sha256 if opened.proposal else "",
                    "source": source,
                    "reader": self.reader,
                    "changed": now(),
                }
            )
            write_record(self.paths.case(case.name), changed)
            if status != facts.status:
                self.note(self.entry("draft", case, facts, changed))
        return replace(opened, facts=changed, draft_hash=content_hash(path))

    def save(
        self,
        opened: OpenedCase,
        labels: NDArray[Any],
        *,
        slices: Sequence[int] | None = None,
        axis: int = 0,
        seconds: float | None = None,
        source: str | None = None,
    ) -> OpenedCase:
        """Save a finished mask where training finds it; the reader's draft is removed.

        Parameters
        ----------
        opened, labels
            As for `save_draft`.
        slices, axis
            Slices marked as done, if not all: the others are ignored in training and export.
        seconds
            Time that the reader took.
        source
            Program that the mask is from, if another one; None for that of the draft.

        Raises
        ------
        UserError
            If the finished mask was changed meanwhile (`labels` is then kept as a draft), if
            another window has the case open, or the status does not allow it.
        """
        case = self.case(opened.name)
        source = opened.source if source is None else source
        stored_values(self.dataset, labels, opened.image)  # nothing is written if it is no mask
        before = self._began_with(case, opened)
        voxels = None if before is None else int(np.count_nonzero(labels != before))
        written = labels
        done: tuple[int, ...] | None = None
        if slices is not None and len(set(slices)) < labels.shape[axis]:
            done = tuple(sorted(set(slices)))
            written = self._ignore_elsewhere(labels, done, axis, case.name)
        with in_words():
            self.paths.create()
            sha256 = keep_new_version(self.paths, self.dataset, case, written, opened.image)
            whole = ""
            if done is not None:
                whole = keep_new_version(self.paths, self.dataset, case, labels, opened.image)
        with self._writing(case) as facts:
            draft, target = self.paths.draft(case.name, self.reader), mask_path(self.dataset, case)
            own_draft = content_hash(draft) in ("", opened.draft_hash)
            if (found := content_hash(target)) != opened.mask_hash:
                if own_draft:  # the next opening shows it
                    write_mask(self.dataset, draft, labels, opened.image)
                by = facts.reader if facts.mask == found and facts.reader else "another program"
                what = f"The finished mask of case {case.name}"
                raise self._changed(case, facts, what, by, found, whole or sha256)
            changed = self._finish_step(
                case, "save", facts,
                mask=sha256, whole=whole, slices=done, axis=axis,
                voxels=voxels, seconds=seconds, source=source, used=opened.proposal,
            )  # fmt: skip
            if own_draft:
                draft.unlink(missing_ok=True)
        return replace(opened, facts=changed, mask_hash=sha256, draft_hash="")

    def accept(self, name: str, *, proposal: str = "", seconds: float | None = None) -> CaseFacts:
        """Accept the reader's draft, or else the proposal, as the finished mask.

        Raises
        ------
        UserError
            If there is neither, or the status does not allow it.
        """
        opened = self.open_case(name, proposal=proposal)
        after("accept", opened.facts.status, opened.facts.before, name)
        if opened.origin == "draft":
            slices, axis = opened.facts.slices, opened.facts.axis
            saved = self.save(opened, opened.labels, slices=slices, axis=axis, seconds=seconds)
            return saved.facts
        if opened.origin != "proposal" or opened.proposal is None:
            raise UserError(
                f"The case {name} has no proposal and no draft of {self.reader}.",
                "Make proposals with “napari-graphflow propose”, or annotate the case.",
            )
        case, chosen = self.case(name), opened.proposal
        if content_hash(self.paths.proposal(name, chosen.sha256)) != chosen.mask:
            raise UserError(
                f"The proposal for case {name} is not the one that {chosen.model} made.",
                "Open the case and save the mask, or make the proposal again.",
            )
        with self._writing(case) as facts:
            found = content_hash(mask_path(self.dataset, case))
            if found != opened.mask_hash:
                what, by = f"The finished mask of case {name}", facts.reader or "another program"
                raise self._changed(case, facts, what, by, found, chosen.mask)
            # The very file of the model: nothing was changed.
            sha256 = keep_version(self.paths, self.paths.proposal(name, chosen.sha256))
            return self._finish_step(
                case, "accept", facts,
                mask=sha256, whole="", slices=None, voxels=0, seconds=seconds, used=chosen,
            )  # fmt: skip

    def reject(self, name: str, *, seconds: float | None = None, note: str = "") -> CaseFacts:
        """Reject the proposal; or, as a reviewer, return the mask to its reader."""
        case = self.case(name)
        with self._writing(case) as facts:
            used = None
            if facts.status == "proposed":
                used = open_proposal(self.proposals(name), facts.rejected)
            rejected = facts.rejected + ((used.sha256,) if used else ())
            return self._finish_step(
                case, "reject", facts, rejected=rejected, seconds=seconds, used=used, note=note
            )

    def step(self, name: str, action: Action, *, note: str = "") -> CaseFacts:
        """Send to review, approve, flag, exclude or reopen a case.

        Parameters
        ----------
        action
            ``review``, ``approve``, ``flag``, ``exclude`` or ``reopen``.
        note
            Why, as the comment of the case.

        Raises
        ------
        UserError
            If the status does not allow it, or there is no mask to approve.
        """
        case = self.case(name)
        with self._writing(case) as facts:
            changes: dict[str, Any] = {"comment": note} if note else {}
            if action in ("flag", "exclude") and facts.status not in HELD_BACK:
                changes["before"] = facts.status
            return self._finish_step(case, action, facts, note=note, **changes)

    def describe(self, name: str, **changes: Any) -> CaseFacts:
        """Set the difficulty, the comment or the `readers` of a case, without changing its status.

        Raises
        ------
        UserError
            If the difficulty is not 1, 2 or 3.
        """
        unknown = set(changes) - {"difficulty", "comment", "readers"}
        assert not unknown, unknown
        if changes.get("difficulty") not in (None, 1, 2, 3):
            raise UserError(
                f"{changes['difficulty']} is not a difficulty.", "Choose 1 (easy), 2 or 3 (hard)."
            )
        case = self.case(name)
        with self._writing(case) as facts:
            changed = facts.model_copy(update={**changes, "changed": now()})
            write_record(self.paths.case(name), changed)
        return changed

    def propose(self, described: Proposal, labels: NDArray[Any]) -> Proposal:
        """Store a proposed mask for a case; see :func:`store_proposal`.

        The status becomes proposed if nobody has begun with the case.
        """
        case = self.case(described.case)
        image = read_case(case)
        with self._writing(case, others=True) as facts, in_words():
            stored = store_proposal(self.paths, self.dataset, case, image, labels, described)
            if facts.status in ("unlabelled", "proposed", "in progress"):
                self._finish_step(case, "propose", facts, used=stored)
        return stored

    def _began_with(self, case: Case, opened: OpenedCase) -> NDArray[Any] | None:
        """Return the mask that the reader changed; None if it cannot be compared."""
        facts = opened.facts
        paths = [self.paths.version(sha) for sha in (facts.whole, facts.mask) if sha]
        if opened.mask_hash:
            paths.append(mask_path(self.dataset, case))
        if opened.proposal is not None:
            paths = [self.paths.proposal(case.name, opened.proposal.sha256)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return np.zeros(opened.image.shape, np.uint8)
        try:
            return read_mask(self.dataset, case, path, opened.image)
        except UserError:  # a damaged mask, which is about to be replaced
            return None

    def _ignore_elsewhere(
        self, labels: NDArray[Any], done: tuple[int, ...], axis: int, name: str
    ) -> NDArray[Any]:
        """Return the mask with the ignore label in all slices that are not done."""
        if not done:
            raise UserError(
                f"No slice of case {name} is marked as done.",
                "Mark the slices that are annotated, or save the whole mask.",
            )
        if done[-1] >= labels.shape[axis]:
            raise UserError(
                f"The case {name} has no slice {done[-1]}; its last one is "
                f"{labels.shape[axis] - 1}.",
                "Mark other slices as done.",
            )
        with in_words():
            self.paths.create()
            self.dataset = ensure_ignore(self.paths, self.dataset)
        kept = np.zeros(labels.shape[axis], bool)
        kept[list(done)] = True
        shape = [1] * labels.ndim
        shape[axis] = -1
        return np.where(kept.reshape(shape), labels, np.uint8(IGNORE))

    def _changed(
        self, case: Case, facts: CaseFacts, what: str, by: str, found: str, kept: str
    ) -> UserError:
        """Log that a mask was not saved since another one had been meanwhile, and describe it."""
        entry = self.entry("conflict", case, facts, facts)
        self.note(entry.model_copy(update={"from_mask": found, "to_mask": kept}))
        return UserError(
            f"{what} was changed by {by} since it was opened here, so it was not overwritten. Both "
            f"are kept; yours is {self.paths.version(kept)}.",
            "Open the case again to compare them.",
        )
