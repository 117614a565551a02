"""The steps of a case on disk: done as a whole or not at all.

A step is decided by writing one file, the record of the case with the step as pending. The mask,
the list in ``dataset.json`` and the log follow; whoever sees a pending step after a crash
completes it.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.labelling import locks, log
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.masks import (
    content_hash,
    keep_version,
    list_mask,
    mask_path,
    put_version,
    refreshed,
)
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.records import (
    CaseFacts,
    Pending,
    as_found,
    now,
    read_record,
    write_record,
)
from napari_graphflow.labelling.statuses import COUNTED, Action, after
from napari_graphflow.system.failures import in_words


class CaseSteps:
    """The cases of a dataset, and the steps between their statuses.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    reader
        Name of the reader; by default of the user of this computer.

    Attributes
    ----------
    dataset
        The dataset as it was last read; see `reload`.
    paths
        The paths in ``labelling/``.
    """

    def __init__(self, dataset: Path, reader: str = "") -> None:
        self.dataset = Dataset.open(dataset, hold_damaged=True)
        self.reader = reader.strip() or getpass.getuser()
        self.paths = LabellingPaths(self.dataset.folder, self.dataset.file_ending)
        self._token = uuid4().hex

    def reload(self) -> None:
        """Read the dataset again, for cases that were added meanwhile."""
        self.dataset = Dataset.open(self.dataset.folder, hold_damaged=True)

    def case(self, name: str) -> Case:
        """Return a case of the dataset, also one that is held back.

        Raises
        ------
        UserError
            If there is none of this name.
        """
        for case in (*self.dataset.cases, *self.dataset.held_back):
            if case.name == name:
                return case
        raise UserError(
            f"The dataset {self.dataset.name} has no case {name}.",
            "Choose one from the list of cases.",
        )

    def facts(self, name: str) -> CaseFacts:
        """Return what is known of a case, in the light of the files that are there."""
        case = self.case(name)
        record = read_record(self.paths.case(name))
        if record is not None and record.pending is not None:
            with in_words(), locks.guarded(self.paths.guard(name)):
                return self._recovered(case)
        return as_found(record and record.facts, mask_path(self.dataset, case).is_file())

    def entries(self) -> Iterator[log.Entry]:
        """Yield what was done, oldest first."""
        return log.read(self.paths.log)

    def refuse_others(self, name: str) -> None:
        """Raise a `UserError` if another window has a case open."""
        locks.refuse_others(self.paths.lock(name), self._token)

    @contextmanager
    def _writing(self, case: Case, *, others: bool = False) -> Iterator[CaseFacts]:
        """Hold the guard of a case; `others` allows it although another window has it open."""
        with in_words():
            self.paths.create()
            with locks.guarded(self.paths.guard(case.name)):
                if not others:
                    self.refuse_others(case.name)
                self.dataset = refreshed(self.dataset)
                yield self._recovered(case)

    def _recovered(self, case: Case) -> CaseFacts:
        """Complete the pending step of a case, note a mask of another program; under its guard."""
        record = read_record(self.paths.case(case.name))
        if record is not None and record.pending is not None:
            self._complete(case, record.pending, once=True)
            record = read_record(self.paths.case(case.name))
        target = mask_path(self.dataset, case)
        facts = as_found(record and record.facts, target.is_file())
        if facts.status in COUNTED and (found := content_hash(target)) != facts.mask:
            facts = self._note_found(case, facts, found, new=record is None)
        return facts

    def _note_found(self, case: Case, facts: CaseFacts, found: str, *, new: bool) -> CaseFacts:
        """Keep a mask that is not from here, and record it as the mask of the case."""
        keep_version(self.paths, mask_path(self.dataset, case))
        changed = facts.model_copy(update={"mask": found, "whole": "", "slices": None})
        note = "It was there before." if new else "Another program changed the mask."
        self.note(self.entry("found", case, facts, changed, note=note))
        write_record(self.paths.case(case.name), changed)
        return changed

    def _finish_step(
        self,
        case: Case,
        action: Action,
        facts: CaseFacts,
        *,
        voxels: int | None = None,
        seconds: float | None = None,
        source: str = "",
        used: Proposal | None = None,
        note: str = "",
        **changes: Any,
    ) -> CaseFacts:
        """Decide a step and carry it out; under the guard of the case."""
        changes |= {
            "status": after(action, facts.status, facts.before, case.name),
            "reader": self.reader,
            "changed": now(),
        }
        if action in ("save", "accept"):
            changes |= {"proposal": used.sha256 if used else "", "source": ""}
        changed = facts.model_copy(update=changes)
        if changed.status in COUNTED and not changed.mask:
            raise UserError(f"The case {case.name} has no finished mask.", "Annotate it first.")
        entry = self.entry(
            action, case, facts, changed,
            voxels=voxels, seconds=seconds, source=source, note=note,
            proposal=used.sha256 if used else "",
            model=used.model if used else "",
        )  # fmt: skip
        pending = Pending(facts=changed, entry=entry)
        write_record(self.paths.case(case.name), facts, pending)
        self._complete(case, pending)
        return changed

    def _complete(self, case: Case, pending: Pending, *, once: bool = False) -> None:
        """Carry out a decided step; each part may have been done before a crash."""
        target = mask_path(self.dataset, case)
        keep_version(self.paths, target)
        put_version(
            self.paths, pending.facts.mask if pending.facts.status in COUNTED else "", target
        )
        list_mask(self.paths, self.dataset, case, target)
        self.note(pending.entry, once=once)
        write_record(self.paths.case(case.name), pending.facts)

    def entry(
        self, what: Any, case: Case, old: CaseFacts, new: CaseFacts, **values: Any
    ) -> log.Entry:
        """Return an entry of the log by this reader."""
        return log.Entry(
            time=now(),
            who=self.reader,
            what=what,
            case=case.name,
            status=(old.status, new.status),
            from_mask=old.mask,
            to_mask=new.mask,
            **values,
        )

    def note(self, entry: log.Entry, *, once: bool = False) -> None:
        """Append an entry to the log."""
        log.append(self.paths.log, self.paths.log_guard, entry, once=once)
