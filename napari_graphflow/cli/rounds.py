"""``rounds``: learn from what is labelled, judge the model, take a round back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from napari_graphflow.cli.options import DatasetFolder, Device, Flag, Json
from napari_graphflow.cli.terminal import console, follow, output, print_json, progress_bar
from napari_graphflow.config.methods import METHODS, MethodName
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Case
from napari_graphflow.labelling.rounds import (
    Round,
    default_round,
    finish,
    get_round,
    job_state,
    list_rounds,
    start,
    undo,
    unscored,
)
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.labelling.verdict import Scores
from napari_graphflow.runners import runner

rounds = App(name="rounds", help="Learn from what is labelled, and judge and undo the result.")
Number = Annotated[int, Parameter(help="Number of the round.")]


@rounds.command(name="start")
def start_(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    teacher: Path | None = None,
    method: MethodName = "graph_flow",
    detach: Flag = False,
    json: Json = False,
) -> int:
    """Train afresh on all masks that count; with a teacher, distil it into a student.

    The validation cases are drawn at the first round and never change.

    Parameters
    ----------
    config
        Settings of the training.
    teacher
        Folder of the teacher's model.
    method
        Method of the distillation.
    detach
        Start the job and return at once; “rounds list” scores the model when the job is done.
    """
    settings = config
    if teacher is not None:
        read_model_card(teacher)
        settings = DistillationConfig(
            **dict(config), teacher=teacher, method=METHODS[method].options()
        )
    labelling = Labelling(config.dataset)
    record, job = start(labelling, settings)
    runner("local").submit(job)
    if not detach:
        code = follow(job)
        if job.status().state != "done":
            return code
        record = _score(labelling, record.number, config.device)
    _print_round(record, json)
    return 0


@rounds.command(name="list")
def list_(folder: DatasetFolder, *, device: Device = "auto", json: Json = False) -> None:
    """List the rounds with their verdicts; models whose job is done are scored first."""
    labelling = Labelling(folder)
    for one in unscored(list_rounds(labelling)):
        _score(labelling, one.number, device)
    found = list_rounds(labelling)
    default = default_round(found)
    if json:
        number = default.number if default else None
        print_json({"default": number, "rounds": [_summary(one) for one in found]})
        return
    table = Table("round", "started", "masks", "state", "verdict", box=None)
    for one in found:
        mark = " (default)" if default is one else ""
        table.add_row(
            f"{one.number}{mark}", f"{one.started:%Y-%m-%d %H:%M}", str(len(one.masks)),
            _state(one), one.verdict.sentence if one.verdict else "",
        )  # fmt: skip
    output.print(table) if found else output.print("There are no rounds yet.")


@rounds.command(name="finish")
def finish_(folder: DatasetFolder, *, device: Device = "auto", json: Json = False) -> None:
    """Score the models of rounds whose job is done, and print the verdicts."""
    labelling = Labelling(folder)
    done = [_score(labelling, one.number, device) for one in unscored(list_rounds(labelling))]
    if json:
        print_json([_summary(one) for one in done])
        return
    for one in done:
        _print_round(one, json=False)
    if not done:
        output.print("No round waits for its verdict.")


@rounds.command
def show(folder: DatasetFolder, number: Number, *, json: Json = False) -> None:
    """Show a round: its masks, its scores by case and structure, and the verdict."""
    one = get_round(Labelling(folder), number)
    if json:
        print_json(one.model_dump(mode="json", exclude={"before", "after"}))
        return
    _print_round(one, json=False)
    names = sorted({name for scores in one.scores.values() for name in scores})
    table = Table("frozen case", *names, box=None)
    for case, scores in one.scores.items():
        values = (scores.get(name) for name in names)
        table.add_row(case, *("" if value is None else f"{value:.3f}" for value in values))
    if one.scores:
        output.print(table)
    if one.verdict and one.verdict.structures:
        compared = Table("structure", "last", "new", "difference", "95 % interval", box=None)
        for name, part in one.verdict.structures.items():
            interval = "" if part.low is None else f"{part.low:+.3f} to {part.high:+.3f}"
            compared.add_row(
                name, f"{part.last:.3f}", f"{part.new:.3f}", f"{part.difference:+.3f}", interval
            )
        output.print(compared)


@rounds.command(name="undo")
def undo_(folder: DatasetFolder, number: Number, *, json: Json = False) -> None:
    """Bring back labels, statuses and the default model of before a round; nothing is deleted."""
    _print_round(undo(Labelling(folder), number), json)


def _score(labelling: Labelling, number: int, device: str) -> Round:
    from napari_graphflow.inference.dice import dice_by_case

    with progress_bar() as bar:
        task = bar.add_task(f"scoring round {number}", total=None)

        def score(model: Path, cases: Sequence[Case]) -> Scores:
            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            return dice_by_case(labelling.dataset, model, cases, device, progress)

        return finish(labelling, number, score)


def _state(one: Round) -> str:
    return job_state(one) if one.state == "started" else one.state


def _summary(one: Round) -> dict[str, Any]:
    kept = one.model_dump(mode="json", include={"number", "started", "reader", "kind", "note"})
    return {
        **kept,
        "state": _state(one),
        "masks": len(one.masks),
        "frozen": list(one.validation),
        "job": one.job,
        "model": one.model,
        "weights": one.weights,
        "verdict": one.verdict and one.verdict.model_dump(mode="json"),
    }


def _print_round(one: Round, json: bool) -> None:
    if json:
        print_json(_summary(one))
        return
    output.print(
        f"Round {one.number}: {_state(one)}, {len(one.masks)} masks, {len(one.validation)} frozen "
        "validation cases",
        soft_wrap=True,
    )
    for text in (one.verdict.sentence if one.verdict else "", one.note):
        if text:
            output.print(text, soft_wrap=True)
    console.print(f"job: {one.job}", soft_wrap=True)
