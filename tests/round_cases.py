"""Rounds whose jobs are ended by tests, with made-up scores."""

from pathlib import Path
from typing import Any

from job_cases import put

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.labelling.judging import conclude, what_to_score
from napari_graphflow.labelling.rounds import Round, start
from napari_graphflow.labelling.store import Labelling


def judged_round(labelling: Labelling, dice: float, **changes: float) -> Round:
    """Start a round, end its job as done, and score its model with made-up Dice values."""
    record, job = start(labelling, TrainingConfig(dataset=labelling.dataset.folder))
    end(job)
    return finish(labelling, record.number, scorer(dice, **changes))


def finish(labelling: Labelling, number: int, score: Any) -> Round:
    """Do what the job of a round does at its end."""
    plan = what_to_score(labelling, number)
    scores = {part: score(model, plan.cases) for part, model in plan.models.items()}
    return conclude(labelling, plan, scores)


def end(job: Job) -> None:
    """Write a model and the state of a job that is done."""
    job.model.mkdir(parents=True)
    (job.model / "weights.safetensors").write_bytes(job.name.encode())
    put(job, Status(state="done"))


def scorer(dice: float, **changes: float) -> Any:
    """Return a function that scores each case with `dice`, or else as `changes` says."""

    def score(_: Path, cases: Any) -> dict[str, dict[str, float | None]]:
        value = {case.name: changes.get(case.name, dice) for case in cases}
        return {name: {"liver": one, "lesion": None} for name, one in value.items()}

    return score
