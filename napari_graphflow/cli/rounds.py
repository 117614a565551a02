"""``rounds``: learn from what is labelled, judge the model, take a round back."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from pydantic import Field, create_model
from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import DatasetFolder, Flag, Json
from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.methods import METHODS, MethodName
from napari_graphflow.config.run import MIN_TEACHER_DICE, DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.rounds import (
    Round,
    get_round,
    job_state,
    offered_round,
    read_rounds,
    start,
    undo,
)
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.runners import runner
from napari_graphflow.system.destinations import require_writable

rounds = App(name="rounds", help="Learn from what is labelled, and judge and undo the result.")
Number = Annotated[int, Parameter(help="Number of the round.")]

if TYPE_CHECKING:
    RoundOptions = TrainingConfig
else:
    _NETWORK = "Network of the student, or with --masks-only the only one. Default: enet, or unet."
    #: A training on the command line whose network depends on the kind of round.
    RoundOptions = create_model(
        "RoundOptions",
        __base__=TrainingConfig,
        role=(Annotated[Literal["student"] | None, Parameter(parse=False)], None),
        network=(str, Field("", description=_NETWORK)),
    )


@rounds.command(name="start")
def start_(
    config: Annotated[RoundOptions, Parameter(name="*")],
    *,
    teacher: Path | None = None,
    teacher_network: str = TrainingConfig.model_fields["network"].default,
    teacher_steps: int | None = None,
    teacher_width: int | None = None,
    teacher_min_dice: float = MIN_TEACHER_DICE,
    method: MethodName = "graph_flow",
    alone: bool = True,
    masks_only: Flag = False,
    detach: Flag = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Train a teacher, a student of it, and the student alone on all masks; judge the student.

    Every round trains afresh. The validation cases are drawn at the first round and never change.
    It is one job: cancelled or failed it changes nothing, and “jobs resume” continues it.

    Parameters
    ----------
    config
        Settings of the training.
    teacher
        Folder of a teacher's model; by default one is trained first.
    teacher_network, teacher_steps, teacher_width
        Its network, steps and width; by default as many steps as the student.
    teacher_min_dice
        As for “distill”.
    method
        Method of the distillation.
    alone
        Also train the same student without its teacher, which the verdict compares.
    masks_only
        Train one network on the masks, without a teacher.
    detach
        Start the job, and return at once; “rounds list” shows the verdict when it is done.
    """
    values = {name: getattr(config, name) for name in TrainingConfig.model_fields}
    kind = TrainingConfig if masks_only else DistillationConfig
    values["network"] = config.network or kind.model_fields["network"].default
    own = TrainingConfig(**values)
    first: TrainingConfig | None = None
    if masks_only and teacher is not None:
        raise UserError("--masks-only trains without a teacher.", "Leave out one of the two.")
    if not masks_only:
        if teacher is None:
            first = own.model_copy(
                update={
                    "network": teacher_network,
                    "steps": teacher_steps or own.steps,
                    "width": teacher_width,
                    "name": f"{own.name} teacher".strip(),
                }
            )
        own = DistillationConfig(
            **values | {"role": "student"},
            teacher=teacher or Path("teacher"),
            teacher_min_dice=teacher_min_dice,
            method=METHODS[method].options(),
        )
    labelling = Labelling(config.dataset)
    require_writable([labelling.paths.settings])
    record, job = start(labelling, own, teacher=first, alone=alone)
    runner("local").submit(job)
    if detach:
        _print_round(record, json)
        return 0
    code = follow(job)
    if job.status().state == "done":
        _print_round(get_round(labelling, record.number), json)
    return code


@rounds.command(name="list")
def list_(folder: DatasetFolder, *, json: Json = False) -> None:
    """List the rounds with their verdicts."""
    found, damaged = read_rounds(Labelling(folder))
    default = offered_round(found)
    if json:
        number = default.number if default else None
        rows = [*map(_summary, found), *map(asdict, damaged)]
        rows.sort(key=lambda one: int(one["number"]))
        print_json({"default": number, "rounds": rows})
        return
    table = Table("round", "started", "masks", "state", "verdict", box=None)
    for one in found:
        mark = " (default)" if default is one else ""
        table.add_row(
            f"{one.number}{mark}", f"{one.started:%Y-%m-%d %H:%M}", str(len(one.masks)),
            _state(one), one.verdict.sentence if one.verdict else "",
        )  # fmt: skip
    for bad in damaged:
        table.add_row(f"{bad.number}", "", "", "damaged", bad.problem)
    output.print(table) if table.row_count else output.print("There are no rounds yet.")


@rounds.command
def show(folder: DatasetFolder, number: Number, *, json: Json = False) -> None:
    """Show a round: its masks, its scores by case and structure, and the verdict."""
    one = get_round(Labelling(folder), number)
    if json:
        print_json(one.model_dump(mode="json", exclude={"before", "after"}))
        return
    _print_round(one, json=False)
    names = sorted({name for scores in one.scores.values() for name in scores})
    table = Table("frozen case", "model", *names, box=None)
    parts = {"round": one.scores, "alone": one.alone_scores, "teacher": one.teacher_scores}
    for case in one.scores:
        for title, scored in parts.items():
            values = (scored.get(case, {}).get(name) for name in names)
            if case in scored:
                texts = ("" if value is None else f"{value:.3f}" for value in values)
                table.add_row(case, title, *texts)
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
        "teacher": one.teacher,
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
