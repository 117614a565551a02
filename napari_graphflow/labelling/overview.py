"""The cases of a dataset at a glance: statuses, proposals, problems, what comes next."""

from collections import Counter
from dataclasses import dataclass

from napari_graphflow.dataset.cases import Split
from napari_graphflow.errors import UserError
from napari_graphflow.labelling import locks
from napari_graphflow.labelling.priority import Candidate, Strategy, Suggestion, rank
from napari_graphflow.labelling.proposals import Proposal, damaged_proposals, read_described
from napari_graphflow.labelling.records import CaseFacts, read_record
from napari_graphflow.labelling.statuses import STATUSES, Status
from napari_graphflow.labelling.store import Labelling

#: Cases in these statuses wait for a reader.
WAITING: tuple[Status, ...] = ("unlabelled", "proposed", "in progress")


@dataclass(frozen=True)
class CaseRow:
    """A case in the list.

    Attributes
    ----------
    name, split
        Name and split of the case.
    facts
        Its record.
    proposals
        The proposals for it, the newest first.
    drafts
        Readers with a draft.
    holder
        Reader who has it open in another window; empty if nobody.
    problem
        One sentence if something is wrong with its files; else empty.
    """

    name: str
    split: Split
    facts: CaseFacts
    proposals: tuple[Proposal, ...]
    drafts: tuple[str, ...]
    holder: str
    problem: str

    @property
    def status(self) -> Status:
        return self.facts.status

    @property
    def uncertainty(self) -> tuple[str, float] | None:
        """The least certain structure of the newest proposal, and its largest entropy."""
        for one in self.proposals:
            if one.statistics is not None:
                largest = {
                    name: max(values, default=0.0)
                    for name, values in one.statistics.entropy.items()
                }
                name = max(largest, key=lambda name: largest[name], default="")
                return (name, largest[name]) if name else None
        return None


def list_cases(labelling: Labelling) -> list[CaseRow]:
    """Return all cases of a dataset, also those held back, by name."""
    dataset = labelling.dataset
    every = {case.name: case for case in (*dataset.held_back, *dataset.cases)}
    drafts = labelling.paths.drafts_by_case()
    described = labelling.paths.proposals_by_case()
    rows = []
    for name, case in sorted(every.items()):
        problem = damaged = _damaged(labelling, name)
        facts = CaseFacts(status="excluded") if damaged else labelling.facts(name)
        held = locks.holder(labelling.paths.lock(name))
        records = described.get(name, [])
        proposals = tuple(read_described(labelling.paths, records))
        missing = [path.name for path in case.images if not path.is_file()]
        if missing and not problem:
            problem = f"Its image {missing[0]} is gone."
        elif facts.mask and facts.status in ("unlabelled", "proposed"):
            problem = "Its mask was removed by another program; open the case to restore it."
        elif len(proposals) < len(records):
            problem = next(iter(damaged_proposals(labelling.paths, records)), "")
        rows.append(
            CaseRow(
                name,
                case.split,
                facts,
                proposals,
                tuple(drafts.get(name, {})),
                held.reader if held and not labelling.holds(name) else "",
                problem,
            )
        )
    return rows


def _damaged(labelling: Labelling, name: str) -> str:
    """Return why the record of a case cannot be read; empty if it can."""
    try:
        read_record(labelling.paths.case(name))
    except UserError as error:
        return str(error)
    return ""


def count_statuses(rows: list[CaseRow]) -> dict[Status, int]:
    """Return the number of cases in each status."""
    counted = Counter(row.status for row in rows)
    return {status: counted[status] for status in STATUSES}


def next_cases(
    labelling: Labelling, strategy: Strategy | None = None, seed: int = 0
) -> list[Suggestion]:
    """Return the cases that wait for this reader, the next one first.

    Drafts of the reader come first. Cases that are given to others, or open in another window, are
    left out.

    Parameters
    ----------
    strategy
        None chooses class-stratified entropy if there are proposals, and else random.
    seed
        Seed of the random choice.
    """
    reader = labelling.reader
    waiting = [
        row
        for row in list_cases(labelling)
        if row.status in WAITING
        and not row.holder
        and (not row.facts.readers or reader in row.facts.readers)
        and not row.problem.startswith("Its image")
    ]
    begun = [
        Suggestion(row.name, None, "", 1.0, "You have begun with this case.")
        for row in waiting
        if reader in row.drafts
    ]
    known = {one.case for one in begun}
    candidates = [
        Candidate(row.name, tuple(p for p in row.proposals if p.sha256 not in row.facts.rejected))
        for row in waiting
        if row.name not in known
    ]
    if strategy is None:
        strategy = "entropy" if any(one.statistics for one in candidates) else "random"
    return begun + rank(strategy, candidates, seed)
