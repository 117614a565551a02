"""Rounds: which masks made which model, on which frozen cases it was scored, and the verdict.

The validation cases are drawn once, by patient, and never move. Each round trains afresh on all
masks that count. Labelling starts no training and no segmentation itself: `start` creates an
ordinary job, which the caller submits, and `finish` is given a function that scores a model.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field

from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.dataset.cases import SPLITS, Case, Dataset
from napari_graphflow.dataset.names import patients
from napari_graphflow.dataset.splits import OWN, draw_patients, fifth_of, has_splits
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.manifest import MODEL
from napari_graphflow.jobs.store import create
from napari_graphflow.labelling import locks, log
from napari_graphflow.labelling.masks import content_hash, mask_path
from napari_graphflow.labelling.records import now
from napari_graphflow.labelling.snapshot import Snapshot, every_case, restore, take
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.labelling.verdict import Scores, Verdict, judge
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import replace_file

#: Scores a model: its folder and the cases to Dice by case and structure.
Score = Callable[[Path, Sequence[Case]], Scores]


class Round(Frozen):
    """``rounds/NNNN.json``.

    Parameters
    ----------
    number
        1 for the first round.
    state
        ``started`` until it is scored, then ``done``; ``undoing`` while it is undone, then
        ``undone``.
    started, reader
        When and by whom it was started.
    kind, settings
        What was trained: ``train`` or ``distill``, and all settings.
    masks, validation
        SHA-256 of the masks of the training cases, and of the frozen validation cases.
    before
        The labelling when the round was started.
    job
        Folder of the job.
    model, weights
        Folder of the model, and the SHA-256 of its weights.
    scores
        Dice of the model by frozen case and structure.
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
    scores: Scores = Field(default_factory=dict)
    verdict: Verdict | None = None
    after: Snapshot | None = None
    undo_entry: str = ""
    note: str = ""


def list_rounds(steps: CaseSteps) -> list[Round]:
    """Return all rounds, the first one first; completes an undo that was interrupted."""
    folder = steps.paths.rounds
    files = sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []
    rounds = [read_config(Round, path) for path in files]
    return [_completed(steps, one) if one.state == "undoing" else one for one in rounds]


def get_round(steps: CaseSteps, number: int) -> Round:
    """Return a round by its number."""
    for one in list_rounds(steps):
        if one.number == number:
            return one
    raise UserError(f"There is no round {number}.", "Choose one from the list of rounds.")


def default_round(rounds: Sequence[Round]) -> Round | None:
    """Return the round whose model is the default: the newest that was accepted and not undone."""
    accepted = (one for one in rounds if one.state == "done" and one.verdict)
    return max(
        (one for one in accepted if one.verdict and one.verdict.accepted),
        key=lambda one: one.number,
        default=None,
    )


def job_state(one: Round) -> str:
    """Return the state of a round's job; ``missing`` if its folder is gone."""
    try:
        return Job(Path(one.job)).status().state if one.job else "created"
    except UserError:
        return "missing"


def start(
    steps: CaseSteps, config: TrainingConfig, jobs_root: Path | None = None
) -> tuple[Round, Job]:
    """Record a round and create its job, which the caller submits.

    Parameters
    ----------
    steps
        The labelling of the dataset.
    config
        Settings of the run; with a `DistillationConfig` a student is distilled.
    jobs_root
        Parent folder of the job; None uses the user's default.

    Raises
    ------
    UserError
        If the last round is still running, there are too few masks, or a frozen validation case
        was moved to training.
    """
    kind: Literal["train", "distill"] = (
        "distill" if isinstance(config, DistillationConfig) else "train"
    )
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
            frozen = _frozen(steps, config, rounds)
            # After the draw, which an undo does not take back: frozen cases never move.
            before = take(steps)
            training = Dataset.of_run(config).labelled("train")
            if not training:
                raise UserError(
                    f"No training case of {steps.dataset.name} has a finished mask.",
                    "Accept or annotate at least one case.",
                )
            hashes = {
                name: content_hash(mask_path(steps.dataset, case))
                for name, case in every_case(steps).items()
            }
            record = Round(
                number=max((one.number for one in rounds), default=0) + 1,
                started=now(),
                reader=steps.reader,
                kind=kind,
                settings=config.model_dump(mode="json"),
                masks={case.name: hashes[case.name] for case in training},
                validation={name: hashes.get(name, "") for name in frozen},
                before=before,
            )
            write_round(steps, record)
            job = create(kind, config, jobs_root)
            record = record.model_copy(update={"job": str(job.folder)})
            write_round(steps, record)
        _log(steps, "round", f"Round {record.number} was started.")
    return record, job


def unscored(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds whose job is done and whose model is not scored yet."""
    return [one for one in rounds if one.state == "started" and job_state(one) == "done"]


def finish(steps: CaseSteps, number: int, score: Score) -> Round:
    """Score the model of a round and the last default one on the frozen cases, and judge.

    Parameters
    ----------
    score
        Scores a model on cases; the last model is scored again only if a mask of a frozen case
        was changed since.

    Raises
    ------
    UserError
        If the job is not done, or no frozen case has a mask.
    """
    rounds = list_rounds(steps)
    one = get_round(steps, number)
    if one.state != "started":
        raise UserError(f"Round {number} is {one.state}.", "Choose another round.")
    if (state := job_state(one)) != "done":
        raise UserError(f"The job of round {number} is {state}.", "Wait until it is done.")
    model = Job(Path(one.job)).model
    steps.reload()
    present = {case.name: case for case in steps.dataset.cases if case.label is not None}
    cases = [present[name] for name in one.validation if name in present]
    if one.validation and not cases:
        raise UserError(
            "None of the frozen validation cases has a finished mask any more.",
            "Reopen or annotate them.",
        )
    now_hashes = {case.name: content_hash(mask_path(steps.dataset, case)) for case in cases}
    last = default_round([other for other in rounds if other.number < number])
    scores = score(model, cases) if cases else {}
    last_scores: Scores = {}
    notes = [_used_other_masks(one)]
    if last is not None:
        same = all(last.validation.get(name) == sha256 for name, sha256 in now_hashes.items())
        last_scores = last.scores if same else score(Path(last.model), cases)
        if not same:
            notes.append(f"Round {last.number} was scored again on the corrected masks.")
    missing = len(one.validation) - len(cases)
    if missing:
        notes.append(f"{missing} frozen cases had no finished mask and were left out.")
    record = one.model_copy(
        update={
            "state": "done",
            "model": str(model),
            "weights": content_hash(model / MODEL[1]),
            "scores": scores,
            "validation": one.validation | now_hashes,
            "verdict": judge(scores, last_scores, last.number if last else None),
            "note": " ".join(note for note in notes if note),
        }
    )
    with in_words(), locks.guarded(steps.paths.rounds_guard):
        write_round(steps, record)
    return record


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


def _frozen(steps: CaseSteps, config: TrainingConfig, rounds: Sequence[Round]) -> list[str]:
    """Return the validation cases: those of the first round, of the splits, or newly drawn."""
    steps.reload()
    dataset = Dataset.of_run(config)
    if drawn := next((one.validation for one in rounds if one.validation), None):
        training = {case.name for case in dataset.cases if case.split == "train"}
        moved = sorted(training & set(drawn))
        if moved:
            raise UserError(
                f"The case {moved[0]} is a frozen validation case but is now in train, so its "
                "score would be too high.",
                f"Move it back to val in {OWN}, or choose the same fold as before.",
            )
        return list(drawn)
    validation = [case.name for case in dataset.labelled("val")]
    if validation and has_splits(dataset.folder):
        return validation
    of = patients(every_case(steps), dataset.record.get("patients"))
    groups = {of[case.name] for case in dataset.labelled("train")}
    # A split that is drawn at each opening changes with the masks, so it is written down.
    chosen = set(draw_patients(groups, fifth_of(len(groups)))) if not validation else set()
    _write_splits(steps, dataset, {name for name in of if of[name] in chosen})
    return [case.name for case in Dataset.of_run(config).labelled("val")]


def _write_splits(steps: CaseSteps, dataset: Dataset, held: set[str]) -> None:
    """Write the splits of a dataset to a file, with some training cases held for validation."""
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for case in (*dataset.cases, *dataset.held_back):
        split = "val" if case.split == "train" and case.name in held else case.split
        splits[split].append(case.name)
    content = json.dumps(splits, indent=1, ensure_ascii=False) + "\n"
    replace_file(dataset.folder / OWN, content.encode())
    steps.reload()


def _used_other_masks(one: Round) -> str:
    """Compare the masks that the job noted as its input with those of the round."""
    path = Job(Path(one.job)).manifest
    if not path.is_file():
        return ""
    used = {entry["sha256"] for entry in json.loads(path.read_text("utf-8")).values()}
    changed = sorted(name for name, sha256 in one.masks.items() if sha256 not in used)
    if not changed:
        return ""
    return f"{len(changed)} masks were changed before the job read them, such as {changed[0]}."
