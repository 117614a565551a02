"""``datasets status``, ``next``, ``accept``, ...: label a dataset; ``propose`` masks for it."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.datasets import datasets
from napari_graphflow.cli.options import DatasetFolder, Device, Flag, Json, Reader
from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.labelling import ProposalConfig
from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.overview import CaseRow, count_statuses, list_cases, next_cases
from napari_graphflow.labelling.priority import Strategy
from napari_graphflow.labelling.proposing import report, start_proposals, waiting
from napari_graphflow.labelling.records import CaseFacts
from napari_graphflow.labelling.rereads import due
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.runners import runner
from napari_graphflow.system.destinations import require_writable

Note = Annotated[str, Parameter(help="Why; it becomes the comment of the case.")]


@datasets.command
def status(folder: DatasetFolder, *, json: Json = False) -> None:
    """List the cases with their status, reader, proposals and problems."""
    labelling = Labelling(folder)
    rows = list_cases(labelling)
    counts = count_statuses(rows)
    if json:
        cases = {row.name: _row(row) for row in rows}
        print_json({"folder": folder, "counts": counts, "cases": cases})
        return
    table = Table("case", "split", "status", "reader", "difficulty", "proposals", "", box=None)
    for row in rows:
        difficulty = str(row.facts.difficulty or "")
        notes = [row.problem, row.facts.comment, row.holder and f"open by {row.holder}"]
        models = ", ".join(one.model for one in row.proposals)
        table.add_row(
            row.name, row.split, row.status, row.facts.reader, difficulty, models,
            " ".join(note for note in notes if note),
        )  # fmt: skip
    output.print(table)
    output.print(", ".join(f"{count} {name}" for name, count in counts.items() if count))


@datasets.command(name="next")
def next_(
    folder: DatasetFolder,
    *,
    strategy: Strategy | None = None,
    count: int = 1,
    seed: int = 0,
    reader: Reader = "",
    json: Json = False,
) -> None:
    """Suggest which case to label next, which of its slices, and why.

    Parameters
    ----------
    strategy
        ``random`` (foreground-aware), ``entropy`` (class-stratified), ``disagreement`` (of two
        models) or ``uncertain`` (least certain structure). By default ``entropy`` if there are
        proposals, and else ``random``.
    count
        Number of suggestions.
    seed
        Seed of the random choice.
    """
    labelling = Labelling(folder, reader)
    found = next_cases(labelling, strategy, seed)[:count]
    if json:
        print_json([vars(one) for one in found])
        return
    for one in found:
        output.print(f"{one.case}: {one.reason}", soft_wrap=True)
    if not found:
        output.print("No case waits for you.")
    if again := due(labelling):
        output.print(
            f"To be drawn again without the proposal: {counted(len(again), 'case')}, see “datasets "
            "reread”.",
            soft_wrap=True,
        )


@datasets.command
def accept(
    folder: DatasetFolder,
    /,
    *cases: str,
    proposal: str = "",
    reader: Reader = "",
    json: Json = False,
) -> None:
    """Accept the draft of the reader, or else the proposal, as the finished mask of cases.

    Parameters
    ----------
    cases
        Names of cases.
    proposal
        Begin of the SHA-256 of a model, to accept its proposal; by default the newest one.
    """
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.accept(case, proposal=proposal), json)


@datasets.command
def reject(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Reject the proposals for cases; or, in review, return their masks to the reader."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.reject(case, note=note), json)


@datasets.command
def flag(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Flag cases as doubtful: they are used for nothing until they are reopened."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.step(case, "flag", note=note), json)


@datasets.command
def exclude(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Exclude cases: they are used for nothing until they are reopened."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.step(case, "exclude", note=note), json)


@datasets.command
def review(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Send finished masks to review; they do not count until they are approved."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.step(case, "review", note=note), json)


@datasets.command
def approve(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Approve finished masks; they are not overwritten until they are reopened."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.step(case, "approve", note=note), json)


@datasets.command
def reopen(
    folder: DatasetFolder, /, *cases: str, note: Note = "", reader: Reader = "", json: Json = False
) -> None:
    """Take back that cases were flagged, excluded or approved."""
    labelling = Labelling(folder, reader)
    _each(cases, lambda case: labelling.step(case, "reopen", note=note), json)


def propose(
    folder: DatasetFolder,
    cases: tuple[str, ...] = (),
    *,
    model: Path,
    device: Device = "auto",
    again: Flag = False,
    detach: Flag = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Propose masks with a model for the cases that wait for one; their statuses say so.

    It is a job: “jobs” lists, pauses, cancels and resumes it, and cases that are done are not done
    again. The exit code is 2 if a case could not be segmented.

    Parameters
    ----------
    cases
        Names of cases; by default all without a finished mask.
    model
        Folder of a saved model.
    again
        Also replace proposals that this model has made before.
    detach
        Start the job, print its folder and return at once.
    """
    labelling = Labelling(folder)
    require_writable([labelling.paths.settings])
    asked = ProposalConfig(dataset=folder, model=model, cases=cases, again=again)
    known = waiting(labelling, asked).known
    job = start_proposals(labelling, model, cases=cases, again=again, device=device)
    runner("local").submit(job)
    if detach:
        print_json({"folder": job.folder}) if json else output.print(str(job.folder))
        return 0
    code = follow(job)
    done = report(job)
    if json:
        print_json(
            {"folder": job.folder, "known": known, **vars(done), "state": job.status().state}
        )
    else:
        more = f", {len(known)} had one of this model" if known else ""
        output.print(f"{len(done.proposed)} proposed{more}, {len(done.failed)} failed")
    return code or (2 if done.failed else 0)


def _each(cases: tuple[str, ...], step: Any, json: bool) -> None:
    """Do a step with each case; the first that fails ends the command."""
    if not cases:
        raise UserError("No case is named.", "Name one or several cases of the dataset.")
    done: dict[str, CaseFacts] = {}
    for case in cases:
        done[case] = step(case)
        if not json:
            output.print(f"{case}: {done[case].status}")
    if json:
        print_json({case: facts.model_dump(mode="json") for case, facts in done.items()})
    elif not cases:
        console.print("No case was named.")


def _row(row: CaseRow) -> dict[str, Any]:
    uncertain = row.uncertainty
    return {
        **row.facts.model_dump(mode="json"),
        "split": row.split,
        "proposals": [
            {"model": one.model, "sha256": one.sha256, "made": one.made, "method": one.method}
            for one in row.proposals
        ],
        "uncertainty": uncertain and {"structure": uncertain[0], "entropy": uncertain[1]},
        "drafts": row.drafts,
        "open_by": row.holder,
        "problem": row.problem,
    }
