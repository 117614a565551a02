"""The job of a round: the teacher, the student, the student alone, and the verdict on them."""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from napari_graphflow.config.labelling import RoundConfig
from napari_graphflow.config.model_card import read_model_card, weights_hash
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.config.student_alone import student_alone
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.evaluation.paired import Scores
from napari_graphflow.inference.dice import dice_of_case
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.labelling.judging import Part, ToScore, conclude, what_to_score
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.events import Event, Phase, Progress
from napari_graphflow.system.files import parse_json, replace_file
from napari_graphflow.system.regular_file import read_regular
from napari_graphflow.training.stages import run_stage


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
            yield from run_stage(teacher, paths.teacher, f"teacher (1 of {total})")
            network = network.model_copy(update={"teacher": JobPaths(paths.teacher).model})
        yield from run_stage(network, folder, f"student ({1 + first} of {total})", main=True)
        if config.alone:
            single = student_alone(network, read_model_card(network.teacher))
            yield from run_stage(single, paths.alone, f"student alone ({total} of {total})")
    else:
        yield from run_stage(network, folder, "", main=True)
    yield from _judge(steps, config, paths)


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
        kept = parse_json(read_regular(paths.frozen_scores))
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
