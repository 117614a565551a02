"""The job of a round: the teacher, the student, the student alone, and the verdict on them."""

import json
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

from napari_graphflow.config.labelling import RoundConfig, student_alone
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.evaluation.paired import Scores
from napari_graphflow.inference.dice import dice_of_case
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.labelling.judging import Part, ToScore, conclude, what_to_score
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.events import (
    CheckpointSaved,
    Event,
    Metric,
    ModelSaved,
    Phase,
    Preview,
    Progress,
)
from napari_graphflow.system.files import replace_file
from napari_graphflow.training.loop import distill, train


def run_round(config: RoundConfig, folder: Path) -> Iterator[Event]:
    """Train the networks of a round one after the other, score them and judge the result.

    What is trained or scored is not done again when the job is resumed. Only the very last step
    changes the dataset: the record of the round gets its verdict.

    Parameters
    ----------
    config
        Settings of the round.
    folder
        Folder of its job, with the dataset as it was at the start.

    Yields
    ------
    event
        Events of the trainings; metrics and previews of the teacher and of the student alone have
        the name of their stage in front.

    Raises
    ------
    UserError
        As :func:`napari_graphflow.training.loop.distill`, or if the round was undone meanwhile.
    """
    paths, steps = JobPaths(folder), CaseSteps(config.dataset, config.reader)
    what_to_score(steps, config.number)  # it is not undone
    changes = {"dataset": paths.frozen, "fold": 0, "device": config.device}
    network = config.network.model_copy(update=changes)
    if isinstance(network, DistillationConfig):
        first = config.teacher is not None
        total = 1 + first + config.alone
        if config.teacher is not None:
            teacher = config.teacher.model_copy(update=changes)
            yield from _stage(teacher, paths.teacher, f"teacher (1 of {total})")
            network = network.model_copy(update={"teacher": JobPaths(paths.teacher).model})
        yield from _stage(network, folder, f"student ({1 + first} of {total})", main=True)
        if config.alone:
            single = student_alone(network, read_model_card(network.teacher))
            yield from _stage(single, paths.alone, f"student alone ({total} of {total})")
    else:
        yield from _stage(network, folder, "", main=True)
    yield from _judge(steps, config, paths)


def _stage(
    config: TrainingConfig, folder: Path, name: str, *, main: bool = False
) -> Iterator[Event]:
    """Train one network, unless it is trained already; `name` is told in each phase."""
    paths = JobPaths(folder)
    if (paths.model / "model.json").is_file():
        return
    asked = JobPaths(folder.parent).request_file("checkpoint_now")
    if isinstance(config, DistillationConfig):
        run = distill(config, folder)
    else:
        run = train(config, folder)
    # Closed with this generator, so that it writes its checkpoint.
    with closing(cast(Generator[Event, None, None], run)) as events:
        for event in events:
            if not main and asked.exists():
                paths.control.mkdir(exist_ok=True)
                asked.replace(paths.request_file("checkpoint_now"))
            if not (isinstance(event, ModelSaved) and not main):
                yield _relayed(event, name, "" if main else folder.name)
    if not main:  # its model is saved, and a round has three of them
        shutil.rmtree(paths.checkpoints, ignore_errors=True)


def _relayed(event: Event, name: str, stage: str) -> Event:
    """Return an event of a stage as one of the job; `stage` is its folder, empty for the main."""
    match event:
        case Phase() if name:
            return event.model_copy(update={"name": f"{name}: {event.name}"})
        case Metric() if stage:
            return event.model_copy(update={"name": f"{stage.removesuffix('_stage')}/{event.name}"})
        case CheckpointSaved() | Preview() if stage:
            return event.model_copy(update={"path": f"{stage}/{event.path}"})
    return event


def _judge(steps: CaseSteps, config: RoundConfig, paths: JobPaths) -> Iterator[Event]:
    yield Phase(kind="scoring", name="scoring the models on the frozen cases")
    plan = what_to_score(steps, config.number)
    scores: dict[Part, Scores] = {}
    total = len(plan.models) * len(plan.cases)
    for part, model in plan.models.items():
        done = len(scores) * len(plan.cases)
        scores[part] = yield from _scored(plan, model, config.device, paths, done, total)
    conclude(steps, plan, scores)


def _scored(
    plan: ToScore, model: Path, device: str, paths: JobPaths, done: int, total: int
) -> Generator[Event, None, Scores]:
    """Score a model case by case, and keep each score in the job's folder."""
    kept: dict[str, Scores] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(paths.frozen_scores.read_text("utf-8"))
    found = kept.setdefault(weights_hash(model), {})
    left = [case for case in plan.cases if case.name not in found]
    if left:
        loaded = load_for_inference(model, device)
        check_classes(loaded.card, plan.dataset)
    for case in left:
        found[case.name] = dice_of_case(plan.dataset, loaded, case)
        replace_file(paths.frozen_scores, json.dumps(kept, indent=1).encode())
        yield Progress(step=done + len(found), total=total)
    return {case.name: found[case.name] for case in plan.cases}
