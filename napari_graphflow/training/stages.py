"""Several trainings in one job: of a round, a student and the same alone, a self-training."""

import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.self_training import second_network
from napari_graphflow.config.student_alone import student_alone
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import (
    CheckpointSaved,
    Event,
    Metric,
    ModelSaved,
    Phase,
    Preview,
)
from napari_graphflow.training.loop import distill, train


def distill_and_train_alone(config: DistillationConfig, folder: Path) -> Iterator[Event]:
    """Distil a student, then train it without its teacher: same seed, batches and steps.

    Parameters and errors are those of :func:`napari_graphflow.training.loop.distill`. The second
    model is saved in the folder ``alone`` of `JobPaths`. A model that is there already is not
    trained again when the job is resumed.
    """
    yield from run_stage(config, folder, "student (1 of 2)", main=True)
    single = student_alone(config, read_model_card(config.teacher))
    yield from run_stage(single, JobPaths(folder).alone, "student alone (2 of 2)")


def train_twice(config: TrainingConfig, folder: Path) -> Iterator[Event]:
    """Self-training: a fresh network learns from masks and from the answers of a first one.

    Parameters and errors are those of :func:`napari_graphflow.training.loop.train`. The first
    network is saved in the folder ``first`` of `JobPaths`; it is refused as a teacher if it is too
    poor. One round of what is called iterative or noisy self-training; teacher and student see the
    same augmented patch.
    """
    paths = JobPaths(folder)
    single = config.model_copy(update={"self_training": "none"})
    yield from run_stage(single, paths.first, "first network (1 of 2)")
    second = second_network(config, JobPaths(paths.first).model)
    yield from run_stage(second, folder, "second network (2 of 2)", main=True)


def run_stage(
    config: TrainingConfig, folder: Path, name: str, *, main: bool = False
) -> Iterator[Event]:
    """Train one network, unless it is trained already; `name` is told in each phase."""
    paths = JobPaths(folder)
    if (paths.model / "model.json").is_file():
        return
    asked = JobPaths(folder.parent).request_file("checkpoint_now")
    if isinstance(config, DistillationConfig):
        run = distill(config, folder)
    elif config.self_training != "none":
        run = train_twice(config, folder)
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
