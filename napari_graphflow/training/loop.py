"""Supervised training and distillation, as generators that yield a record for what happens.

``for record in train(config, folder): ...`` runs a training; closing the generator ends it after
writing a checkpoint, and calling it again on the same folder goes on from there.
"""

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_graphflow.config.model_card import TeacherRecord
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.distillation.method import Record
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.memory import Setting, is_out_of_memory, kept_setting
from napari_graphflow.models.compatibility import check_classes
from napari_graphflow.models.devices import peak_memory
from napari_graphflow.models.saved import build_network, load_model, save_weights, weights_hash
from napari_graphflow.training.batches import Batches
from napari_graphflow.training.checkpoints import Checkpoints
from napari_graphflow.training.data import (
    check_channels,
    make_card,
    mirror_axes,
    read_training_data,
    temporary_cache,
    warn_of_other_labels,
)
from napari_graphflow.training.method_setup import build_modules, check_pair, prepare
from napari_graphflow.training.parallel import (
    set_up_teacher,
    start_fabric,
    synchronised,
)
from napari_graphflow.training.state import BEST, Run
from napari_graphflow.training.step import _step
from napari_graphflow.training.validation import validate

POINTS_PER_CURVE = 500


#: How often in a run the gradient of each term is measured, which costs a backward pass each.
GRADIENTS_PER_RUN = 20


def train(
    config: TrainingConfig, folder: Path, *, cases: int | None = None, lighter: bool = True
) -> Iterator[Record]:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        What to train, on what, for how long.
    folder
        Receives checkpoints and, at the end, the model in ``artifacts/model``.
    cases
        Read only so many cases of each kind, to measure what a run takes.
    lighter
        Whether to go on with a smaller setting where memory runs out.

    Yields
    ------
    dict
        Records with the key ``event``: ``phase``, ``setting``, ``progress``, ``metric``,
        ``preview``, ``checkpoint``, ``warning``, ``memory`` and at last ``model``.

    Raises
    ------
    UserError
        If dataset and configuration do not fit.
    FloatingPointError
        If the loss is no longer a number.
    """
    _limit_threads(config)
    with temporary_cache(folder):
        data = yield from read_training_data(config, folder, config.preprocessing, cases=cases)
        run = Run(config, folder, data, make_card(config, data, "teacher"))
        yield from _fit_into_memory(run, lighter)


def distill(
    config: DistillationConfig, folder: Path, *, cases: int | None = None, lighter: bool = True
) -> Iterator[Record]:
    """Train a student from a frozen teacher, on labelled and unlabelled cases.

    Parameters, records and errors are those of :func:`train`; the student takes over the
    preprocessing of its teacher, so that both see the same voxels.
    """
    _limit_threads(config)
    teacher = load_model(config.teacher)
    # Of the weights that teach: the folder may hold others when the run ends.
    source = TeacherRecord(name=teacher.card.name, sha256=weights_hash(config.teacher))
    if teacher.card.dims != config.dims:
        raise UserError(
            f"The teacher {teacher.card.name} is {teacher.card.dims}D, but the student is to be "
            f"{config.dims}D.",
            f"Set dims to {teacher.card.dims}, or choose another teacher.",
        )
    check_classes(teacher.card, Dataset.open(config.dataset))
    check_pair(config, teacher)
    with temporary_cache(folder):
        data = yield from read_training_data(
            config,
            folder,
            teacher.card.preprocessing,
            patch_size=teacher.card.patch_size,
            unlabelled=config.unlabelled,
            cases=cases,
        )
        check_channels(teacher.card, data)
        yield from warn_of_other_labels(teacher.card, config, data.dataset)
        run = Run(config, folder, data, make_card(config, data, "student", source), teacher)
        yield from _fit_into_memory(run, lighter)


def _limit_threads(config: TrainingConfig) -> None:
    # One core is left to the windows on the screen, which would starve beside a full machine.
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))


def _fit_into_memory(run: Run, lighter: bool) -> Iterator[Record]:
    """Fit; where memory runs out, go on from the last checkpoint with a smaller setting."""
    setting = kept_setting(run.folder) or Setting(run.config.batch_size, run.data.patch_size)
    while True:
        yield {"event": "setting", **asdict(setting)}
        try:
            yield from _fit(_with_setting(run, setting))
            return
        except Exception as error:
            smaller = setting.lighter() if lighter and is_out_of_memory(error) else None
            if smaller is None:
                raise
        # Here the error is gone, and with it the frames that held the memory.
        gc.collect()
        torch.cuda.empty_cache()
        yield {
            "event": "warning",
            "code": "out_of_memory",
            "text": f"Out of memory with {setting}. Going on from the last checkpoint with "
            f"{smaller}.",
        }
        setting = smaller
        setting.keep(run.folder)


def _with_setting(run: Run, setting: Setting) -> Run:
    config = run.config.model_copy(update={"batch_size": setting.batch_size})
    patch = setting.patch_size
    return replace(
        run,
        config=config,
        data=replace(run.data, patch_size=patch),
        card=run.card.model_copy(update={"patch_size": patch}),
    )


def _fit(run: Run) -> Iterator[Record]:
    config, data = run.config, run.data
    fabric = start_fabric(config)
    torch.manual_seed(config.seed)
    network = build_network(run.card)
    batches = Batches(
        data.labelled,
        data.unlabelled,
        data.patch_size,
        config.batch_size,
        config.seed,
        mirror_axes(config, data),
    )
    parameters = [*network.parameters(), *build_modules(run, network, batches, fabric)]
    network = synchronised(network, fabric)
    student, optimiser = fabric.setup(
        network,
        torch.optim.AdamW(
            # All tensors in one call: the same numbers, and faster on a processor.
            parameters,
            config.learning_rate,
            weight_decay=config.weight_decay,
            foreach=True,
        ),
    )
    # Of 10 steps a tenth would be a rise of no length, by which the schedule divides.
    rise = 0.2 if config.steps == 10 else 0.1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=rise
    )
    teacher = None if run.teacher is None else set_up_teacher(run.teacher.module, fabric)
    state = {
        "student": student,
        "optimiser": optimiser,
        "schedule": schedule,
        "precision": fabric.strategy.precision,
    }
    checkpoints = Checkpoints(run.folder, config.checkpoint_minutes)
    saved = yield from checkpoints.load(fabric.device)
    fabric.barrier()  # nobody writes a checkpoint before all have read the last one
    if saved is not None:
        run.restore(state, saved)
    if teacher is not None and not run.prepared:
        yield from prepare(run, teacher, fabric, batches, checkpoints, state)

    yield {"event": "phase", "name": "training"}
    student.train()
    started, first = time.monotonic(), run.step
    every = max(1, config.steps // POINTS_PER_CURVE)
    watch_every = max(1, config.steps // GRADIENTS_PER_RUN)
    # DDP's own forward would wait for the other processes.
    seen = student if fabric.world_size == 1 else network
    try:
        while True:
            if fabric.is_global_zero:
                yield from _tell(run, seen, checkpoints, state)
                done, left = run.step - first, config.steps - run.step
                eta = round((time.monotonic() - started) / done * left, 1) if done else None
                yield {"event": "progress", "step": run.step, "total": config.steps, "eta_s": eta}
            if run.step >= config.steps:
                break
            # Dropout then depends on seed and step alone, so that a resumed run repeats it.
            torch.manual_seed(config.seed * 1_000_003 + run.step)
            watched = run.step % watch_every == 0
            losses, facts = _step(run, student, teacher, optimiser, fabric, batches, watched)
            schedule.step()
            run.step += 1
            told = losses if run.step % every == 0 else {}
            run.untold = {f"loss/{name}": value for name, value in told.items()} | facts
    except GeneratorExit:
        if fabric.is_global_zero:
            checkpoints.save(run.content(state), run.step)
        raise
    yield {"event": "memory", "peak_bytes": peak_memory(fabric.device)}
    if fabric.is_global_zero:
        yield run.save_result(network)


def _tell(
    run: Run, student: nn.Module, checkpoints: Checkpoints, state: dict[str, Any]
) -> Iterator[Record]:
    """Tell the numbers of the last step; validate and write a checkpoint where it is time.

    A pause in the midst of it leaves them untold, and the resumed run tells them all.
    """
    if run.untold is None:
        return
    for name, value in run.untold.items():
        yield _metric(name, value, run.step, "train")
    validated = run.step % run.config.validate_every == 0 or run.step == run.config.steps
    if validated:
        yield from _validate(run, student)
    run.untold = None
    if validated or checkpoints.due():
        yield checkpoints.save(run.content(state), run.step)


def _validate(run: Run, student: nn.Module) -> Iterator[Record]:
    """Keep the network if its mean Dice over cases and classes is the best so far."""
    scores = yield from validate(student, run.data, run.card, run.folder, run.step)
    if not scores:
        return
    mean = float(np.mean(list(scores.values())))
    yield _metric("dice", mean, run.step, "val")
    for name, value in scores.items():
        yield _metric(f"dice/{name}", value, run.step, "val")
    if mean > run.best:
        run.best = mean
        path = run.folder / BEST
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(student, path)


def _metric(name: str, value: float, step: int, split: str) -> Record:
    return {"event": "metric", "name": name, "value": value, "step": step, "split": split}
