"""Judge the models of a round on the frozen cases, from scores that the job computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_graphflow.config.labelling import RoundConfig
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.paired import Scores
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.labelling import locks
from napari_graphflow.labelling.masks import content_hash
from napari_graphflow.labelling.rounds import (
    Round,
    default_round,
    get_round,
    list_rounds,
    write_round,
)
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.labelling.verdict import judge
from napari_graphflow.system.failures import in_words

WEIGHTS = "weights.safetensors"
#: The model of the round, the same student without its teacher, the teacher, the last default.
Part = Literal["model", "alone", "teacher", "last"]


@dataclass(frozen=True)
class ToScore:
    """What the job of a round has to score.

    Attributes
    ----------
    record
        The round.
    dataset, cases
        The dataset as it was at the start of the round, and its frozen cases with a mask.
    models
        Folder of each model.
    last
        The round whose model is the default until now.
    scores
        Scores that are known already, of the last model.
    note
        One sentence if something is not as planned.
    """

    record: Round
    dataset: Dataset
    cases: list[Case]
    models: dict[Part, Path]
    last: Round | None = None
    scores: dict[Part, Scores] = field(default_factory=dict)
    note: str = ""


def what_to_score(steps: CaseSteps, number: int) -> ToScore:
    """Return the models and cases that the verdict of a round needs.

    The last model is scored again only if a mask of a frozen case was changed since.

    Raises
    ------
    UserError
        If the round is undone or judged already, or its job is gone.
    """
    record = get_round(steps, number)
    if record.state != "started":
        raise UserError(f"Round {number} is {record.state}.", "Start a new round.")
    job = Job(Path(record.job))
    config = job.config
    assert isinstance(config, RoundConfig)
    dataset = Dataset.open(job.frozen)
    cases = [case for case in dataset.labelled("val") if record.validation.get(case.name)]
    models: dict[Part, Path] = {"model": job.model}
    if isinstance(config.network, DistillationConfig):
        trained = JobPaths(job.teacher).model
        models["teacher"] = trained if config.teacher is not None else config.network.teacher
        if config.alone:
            models["alone"] = JobPaths(job.alone).model
    last = default_round([one for one in list_rounds(steps) if one.number < number])
    if last is None:
        return ToScore(record, dataset, cases, models)
    same = {
        case.name: last.scores[case.name]
        for case in cases
        if last.validation.get(case.name) == record.validation[case.name]
        and case.name in last.scores
    }
    if len(same) == len(cases):
        return ToScore(record, dataset, cases, models, last, {"last": same})
    if (Path(last.model) / WEIGHTS).is_file():
        note = f"Round {last.number} was scored again on the corrected masks."
        return ToScore(record, dataset, cases, models | {"last": Path(last.model)}, last, note=note)
    note = (
        f"The model of round {last.number} was removed, so it is compared on "
        f"{counted(len(same), 'case')} with unchanged masks."
    )
    return ToScore(record, dataset, cases, models, last, {"last": same}, note)


def conclude(steps: CaseSteps, plan: ToScore, scores: Mapping[Part, Scores]) -> Round:
    """Write the scores and the verdict of a round.

    Raises
    ------
    UserError
        If the round was undone or judged meanwhile.
    """
    one, last = plan.record, plan.last
    known = plan.scores | dict(scores)
    notes = [plan.note]
    missing = len(one.validation) - len(plan.cases)
    if missing:
        text = "had no finished mask and was" if missing == 1 else "had no finished mask and were"
        notes.append(f"{counted(missing, 'frozen case')} {text} left out.")
    verdict = judge(
        known["model"],
        known.get("last", {}),
        last.number if last else None,
        alone=known.get("alone"),
        teacher=known.get("teacher"),
    )
    with in_words(), locks.guarded(steps.paths.rounds_guard):
        # Not by `get_round`, which may take the guard.
        state = read_config(Round, steps.paths.round(one.number)).state
        if state != "started":
            raise UserError(f"Round {one.number} is {state}.", "Start a new round.")
        done = one.model_copy(
            update={
                "state": "done",
                "model": str(plan.models["model"]),
                "weights": content_hash(plan.models["model"] / WEIGHTS),
                "teacher": str(plan.models.get("teacher", "")),
                "scores": known["model"],
                "alone_scores": known.get("alone", {}),
                "teacher_scores": known.get("teacher", {}),
                "verdict": verdict,
                "note": " ".join(note for note in notes if note),
            }
        )
        write_round(steps, done)
    return done
