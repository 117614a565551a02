"""Rounds: which masks made which model, on which frozen cases it was scored, and the verdict.

The validation cases are drawn once, by patient, and never move. Each round trains afresh on all
masks that count. A round is one job, which trains its networks, scores them and judges the result::

    record, job = start(labelling, config)      # TrainingConfig: one network on the masks alone
    record, job = start(labelling, config)      # DistillationConfig: student, student alone
    record, job = start(labelling, config, teacher=settings)     # trains the teacher first
    runner("local").submit(job)

A round whose job was cancelled or failed changes nothing but the list of rounds; its job can be
resumed.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field

from napari_graphflow.config.labelling import RoundConfig
from napari_graphflow.config.networks import require_network
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.paired import Scores
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import absolute_paths, create
from napari_graphflow.labelling import locks, log
from napari_graphflow.labelling.frozen import frozen_cases, write_frozen
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.masks import content_hash
from napari_graphflow.labelling.records import now
from napari_graphflow.labelling.snapshot import Snapshot, every_case, restore, take
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.labelling.verdict import Verdict
from napari_graphflow.system import folders
from napari_graphflow.system.destinations import require_writable
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import replace_file


class Round(Frozen):
    """``rounds/NNNN.json``.

    Parameters
    ----------
    number
        1 for the first round.
    state
        ``started`` until it is judged, then ``done``; ``undoing`` while it is undone, then
        ``undone``.
    started, reader
        When and by whom it was started.
    kind, settings
        What was trained: ``train`` or ``distill``, and all settings, see `RoundConfig`.
    masks, validation
        SHA-256 of the masks of the training cases, and of the frozen validation cases.
    before
        The labelling when the round was started.
    job
        Folder of the job.
    model, weights
        Folder of the model, and the SHA-256 of its weights.
    teacher
        Folder of its teacher; empty without one.
    scores, alone_scores, teacher_scores
        Dice by frozen case and structure: of the model, of the same student without its teacher,
        and of the teacher.
    verdict
        The verdict.
    after
        The labelling when the round was undone.
    undo_entry
        Identifies the undo in the log.
    note
        One sentence if something was not as planned.
    """

    number: int
    state: Literal["started", "done", "undoing", "undone"] = "started"
    started: datetime
    reader: str
    kind: Literal["train", "distill"]
    settings: dict[str, Any]
    masks: dict[str, str]
    validation: dict[str, str]
    before: Snapshot
    job: str = ""
    model: str = ""
    weights: str = ""
    teacher: str = ""
    scores: Scores = Field(default_factory=dict)
    alone_scores: Scores = Field(default_factory=dict)
    teacher_scores: Scores = Field(default_factory=dict)
    verdict: Verdict | None = None
    after: Snapshot | None = None
    undo_entry: str = ""
    note: str = ""


@dataclass(frozen=True)
class DamagedRound:
    """A round whose record cannot be read, and why."""

    number: int
    problem: str


def list_rounds(steps: CaseSteps) -> list[Round]:
    """Return all rounds, the first one first; completes an undo that was interrupted.

    Raises
    ------
    UserError
        If one is damaged. Which cases are frozen, and which model is the default, may be known to
        that one alone, so that neither a round nor an undo may start; `read_rounds` lists the
        others.
    """
    rounds, damaged = read_rounds(steps)
    if damaged:
        raise UserError(
            damaged[0].problem, "Restore it from a backup; until then, rounds can only be shown."
        )
    return rounds


def read_rounds(steps: CaseSteps) -> tuple[list[Round], list[DamagedRound]]:
    """Return the rounds that can be read, and the damaged ones, each the first one first.

    Completes an undo that was interrupted.
    """
    rounds, damaged = _stored(steps.paths)
    return [_completed(steps, one) if one.state == "undoing" else one for one in rounds], damaged


def _stored(paths: LabellingPaths) -> tuple[list[Round], list[DamagedRound]]:
    rounds, damaged = [], []
    for path in sorted(paths.rounds.glob("[0-9]*.json")):
        if not path.stem.isdecimal():
            continue
        try:
            one = read_config(Round, path)
            if paths.round(one.number) != path:
                raise UserError(f"{path} cannot be read: it is a copy of round {one.number}.")
            rounds.append(one)
        except UserError as error:
            damaged.append(DamagedRound(int(path.stem), error.text))
    return rounds, damaged


def get_round(steps: CaseSteps, number: int) -> Round:
    """Return a round by its number."""
    rounds, damaged = read_rounds(steps)
    for one in rounds:
        if one.number == number:
            return one
    for bad in damaged:
        if bad.number == number:
            raise UserError(bad.problem, "Restore it from a backup.")
    raise UserError(f"There is no round {number}.", "Choose one from the list of rounds.")


def default_round(rounds: Sequence[Round]) -> Round | None:
    """Return the round whose model is the default: the newest that was accepted and not undone."""
    accepted = (one for one in rounds if one.state == "done" and one.verdict)
    return max(
        (one for one in accepted if one.verdict and one.verdict.accepted),
        key=lambda one: one.number,
        default=None,
    )


def offered_round(rounds: Sequence[Round]) -> Round | None:
    """Return the default round among those whose model was not deleted with its job."""
    return default_round([one for one in rounds if Path(one.model).is_dir()])


def is_default(job: Job) -> bool:
    """Whether a job holds the model that is the default of its dataset, or may hold it."""
    with suppress(UserError, OSError):
        if isinstance(job.config, RoundConfig):
            paths = LabellingPaths(job.config.dataset, "")
            rounds, damaged = _stored(paths)
            found = offered_round(rounds)
            named = found is not None and Path(found.job) == job.folder
            return named or any(one.number == job.config.number for one in damaged)
    return False


def job_state(one: Round) -> str:
    """Return the state of a round's job; ``missing`` if its folder is gone."""
    try:
        return Job(Path(one.job)).status().state if one.job else "created"
    except UserError:
        return "missing"


def start(
    steps: CaseSteps,
    config: TrainingConfig,
    jobs_root: Path | None = None,
    *,
    teacher: TrainingConfig | None = None,
    alone: bool = True,
) -> tuple[Round, Job]:
    """Record a round and create its job, which the caller submits.

    Parameters
    ----------
    steps
        The labelling of the dataset.
    config
        Settings of the network that becomes the model of the round; with a `DistillationConfig` it
        is the student of a teacher.
    jobs_root
        Parent folder of the job; None uses the user's default.
    teacher
        Settings of a teacher to train first, on the same masks; it takes the place of
        ``config.teacher``.
    alone
        Whether a student is also trained without its teacher, for the verdict.

    Raises
    ------
    UserError
        If the last round is still running, there are too few masks, a frozen validation case was
        moved to training, or network, teacher and dataset do not fit.
    """
    distils = isinstance(config, DistillationConfig)
    check_run(config if teacher is None else teacher)
    require_network(config.network)
    if teacher is not None and teacher.dims != config.dims:
        raise UserError(
            f"The teacher would be {teacher.dims}D, but the student {config.dims}D.",
            "Choose the same number of dimensions for both.",
        )
    require_writable([(folders.jobs_root() if jobs_root is None else jobs_root) / "round"])
    with in_words():
        steps.paths.create()
        list_rounds(steps)  # completes an undo, which takes the guard, too
        with locks.guarded(steps.paths.rounds_guard):
            rounds = list_rounds(steps)
            for one in rounds:
                if one.state == "started" and job_state(one) in ("queued", "running"):
                    raise UserError(
                        f"Round {one.number} is still running.", "Wait until it ends, or cancel it."
                    )
            drawn = next((one.validation for one in rounds if one.validation), {})
            frozen = frozen_cases(steps, config, drawn)
            # After the draw, which an undo does not take back: frozen cases never move.
            before = take(steps)
            masks, validation = _masks(config, frozen, before)
            number = max((one.number for one in rounds), default=0) + 1
            settings = absolute_paths(
                RoundConfig(
                    dataset=steps.dataset.folder,
                    number=number,
                    network=config,
                    teacher=teacher,
                    alone=distils and alone,
                    reader=steps.reader,
                    device=config.device,
                    name=config.name and f"{config.name}, round {number}",
                )
            )
            record = Round(
                number=number,
                started=now(),
                reader=steps.reader,
                kind="distill" if distils else "train",
                settings=settings.model_dump(mode="json"),
                masks=masks,
                validation=validation,
                before=before,
            )
            write_round(steps, record)
            try:
                job = create("round", settings, jobs_root)
                write_frozen(steps, config, masks | validation, job.frozen)
            except (UserError, OSError):
                steps.paths.round(number).unlink(missing_ok=True)
                raise
            record = record.model_copy(update={"job": str(job.folder)})
            write_round(steps, record)
        _log(steps, "round", f"Round {record.number} was started.")
    return record, job


def _masks(
    config: TrainingConfig, frozen: Sequence[str], before: Snapshot
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the SHA-256 of the masks of the training cases, and of the frozen ones."""
    dataset = Dataset.of_run(config)
    training = dataset.labelled("train")
    if not training:
        raise UserError(
            f"No training case of {dataset.name} has a finished mask.",
            "Accept or annotate at least one case.",
        )
    for case in (*training, *dataset.labelled("val")):
        gone = [path.name for path in case.images if not path.exists()]
        if gone:
            raise UserError(
                f"The image {gone[0]} of case {case.name} is gone.",
                "Restore it, or exclude the case.",
            )
    # Not read again, because these very masks are in the versions.
    counted = {
        case.name: before.masks.get(case.name) or content_hash(case.label)
        for case in (*training, *dataset.labelled("val"))
        if case.label is not None
    }
    validation = {name: counted.get(name, "") for name in frozen}
    if frozen and not any(validation.values()):
        raise UserError(
            "None of the frozen validation cases has a finished mask any more.",
            "Reopen or annotate them.",
        )
    return {case.name: counted[case.name] for case in training}, validation


def undo(steps: CaseSteps, number: int) -> Round:
    """Bring back the labels, statuses and the default model of before a round, bit for bit.

    Nothing is deleted: masks stay in the versions, the model in its job, the round in the list.

    Raises
    ------
    UserError
        If it is not the newest round that is not undone, its job is running, or a case is open in
        another window.
    """
    with in_words():
        rounds = list_rounds(steps)
        one = get_round(steps, number)
        if one.state == "undone":
            raise UserError(f"Round {number} is undone already.", "Choose another round.")
        later = [other.number for other in rounds if other.number > number]
        open_rounds = [n for n in later if get_round(steps, n).state != "undone"]
        if open_rounds:
            raise UserError(
                f"Round {open_rounds[-1]} came after round {number}.",
                f"Undo round {open_rounds[-1]} first.",
            )
        if job_state(one) in ("queued", "running"):
            raise UserError(f"The job of round {number} is still running.", "Cancel it first.")
        with locks.guarded(steps.paths.rounds_guard):
            for name in every_case(steps):
                steps.refuse_others(name)
            record = one.model_copy(
                update={"state": "undoing", "after": take(steps), "undo_entry": uuid4().hex}
            )
            # From here on, whoever lists the rounds completes the undo.
            write_round(steps, record)
            return _undone(steps, record)


def write_round(steps: CaseSteps, record: Round) -> None:
    """Replace the record of a round."""
    content = record.model_dump_json(indent=1).encode() + b"\n"
    replace_file(steps.paths.round(record.number), content)


def _completed(steps: CaseSteps, record: Round) -> Round:
    """Complete an undo that was interrupted, unless another window has done so."""
    with in_words(), locks.guarded(steps.paths.rounds_guard):
        now_stored = read_config(Round, steps.paths.round(record.number))
        return _undone(steps, now_stored) if now_stored.state == "undoing" else now_stored


def _undone(steps: CaseSteps, record: Round) -> Round:
    with in_words():
        restore(steps, record.before)
        text = f"Round {record.number} was undone."
        _log(steps, "undo", text, entry_id=record.undo_entry)
        done = record.model_copy(update={"state": "undone"})
        write_round(steps, done)
    return done


def _log(steps: CaseSteps, what: Literal["round", "undo"], note: str, entry_id: str = "") -> None:
    entry = log.Entry(
        id=entry_id or uuid4().hex, time=now(), who=steps.reader, what=what, note=note
    )
    log.append(steps.paths.log, steps.paths.log_guard, entry, once=bool(entry_id))
