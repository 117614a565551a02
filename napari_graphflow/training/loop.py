"""Supervised training and distillation, as generators that yield an event for what happens.

``for event in train(config, folder): ...`` runs a training; closing the generator ends it after
writing a checkpoint, and calling it again on the same folder goes on from there.
"""

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from napari_graphflow.config.model_card import TeacherRecord
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.memory import Setting, is_out_of_memory, kept_setting
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.compatibility import check_classes
from napari_graphflow.models.devices import peak_memory
from napari_graphflow.models.saved import build_network, load_model, save_weights, weights_hash
from napari_graphflow.system.events import (
    Event,
    Metric,
    PeakMemory,
    Phase,
    Progress,
    SettingChosen,
    Warned,
)
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
from napari_graphflow.training.method_setup import check_pair, prepare, set_up_method
from napari_graphflow.training.parallel import (
    set_up_teacher,
    start_fabric,
    synchronised,
)
from napari_graphflow.training.state import Plan, Run
from napari_graphflow.training.step import make_step
from napari_graphflow.training.validation import validate

POINTS_PER_CURVE = 500


#: How often in a run the gradient of each term is measured, which costs a backward pass each.
GRADIENTS_PER_RUN = 20


def train(
    config: TrainingConfig, folder: Path, *, cases: int | None = None, lighter: bool = True
) -> Iterator[Event]:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        What to train, on what, for how long.
    folder
        Receives checkpoints and, at the end, the model; see `JobPaths`.
    cases
        Read only so many cases of each kind, to measure what a run takes.
    lighter
        Whether to go on with a smaller setting where memory runs out.

    Yields
    ------
    event
        What happens, see `napari_graphflow.system.events`; at last `ModelSaved`.

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
        plan = Plan(config, folder, data, make_card(config, data, "teacher"))
        yield from _fit_into_memory(plan, lighter)


def distill(
    config: DistillationConfig, folder: Path, *, cases: int | None = None, lighter: bool = True
) -> Iterator[Event]:
    """Train a student from a frozen teacher, on labelled and unlabelled cases.

    Parameters, events and errors are those of :func:`train`; the student takes over the
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
    check_classes(teacher.card, Dataset.open(config.dataset), "teacher")
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
        plan = Plan(config, folder, data, make_card(config, data, "student", source), teacher)
        yield from _fit_into_memory(plan, lighter)


def _limit_threads(config: TrainingConfig) -> None:
    # One core is left to the windows on the screen, which would starve beside a full machine.
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))


def _fit_into_memory(plan: Plan, lighter: bool) -> Iterator[Event]:
    """Fit; where memory runs out, go on from the last checkpoint with a smaller setting."""
    setting = kept_setting(plan.folder) or Setting(plan.config.batch_size, plan.data.patch_size)
    while True:
        yield SettingChosen(**asdict(setting))
        try:
            yield from _fit(plan.with_setting(setting))
            return
        except Exception as error:
            smaller = setting.lighter() if lighter and is_out_of_memory(error) else None
            if smaller is None:
                raise
        # Here the error is gone, and with it the frames that held the memory.
        gc.collect()
        torch.cuda.empty_cache()
        yield Warned(
            code="out_of_memory",
            text=f"Out of memory with {setting}. Going on from the last checkpoint with {smaller}.",
        )
        setting = smaller
        setting.keep(plan.folder)


def _set_up(plan: Plan) -> Run:
    config, data = plan.config, plan.data
    fabric = start_fabric(config)
    torch.manual_seed(config.seed)
    network = build_network(plan.card)
    batches = Batches(
        data.labelled,
        data.unlabelled,
        data.patch_size,
        config.batch_size,
        config.seed,
        mirror_axes(config, data),
    )
    parameters = list(network.parameters())
    method = set_up_method(plan, network, batches)
    if method is not None:
        parameters += method.to(fabric.device).adapters.parameters()
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
    return Run(
        plan,
        fabric,
        batches,
        network,
        student,
        optimiser,
        schedule,
        Checkpoints(plan.folder, config.checkpoint_minutes),
        None if plan.teacher is None else set_up_teacher(plan.teacher.module, fabric),
        method,
    )


def _fit(plan: Plan) -> Iterator[Event]:
    run = _set_up(plan)
    config, fabric = run.config, run.fabric
    saved = yield from run.checkpoints.load(fabric.device)
    fabric.barrier()  # nobody writes a checkpoint before all have read the last one
    if saved is not None:
        run.restore(saved)
    if run.method is not None and not run.prepared:
        yield from prepare(run)

    yield Phase(name="training")
    run.student.train()
    started, first = time.monotonic(), run.step
    every = max(1, config.steps // POINTS_PER_CURVE)
    watch_every = max(1, config.steps // GRADIENTS_PER_RUN)
    try:
        while True:
            if fabric.is_global_zero:
                yield from _report(run)
                done, left = run.step - first, config.steps - run.step
                eta = round((time.monotonic() - started) / done * left, 1) if done else None
                yield Progress(step=run.step, total=config.steps, eta_s=eta)
            if run.step >= config.steps:
                break
            # Dropout then depends on seed and step alone, so that a resumed run repeats it.
            torch.manual_seed(config.seed * 1_000_003 + run.step)
            watched = run.step % watch_every == 0
            losses, diagnostics = make_step(run, watched)
            run.schedule.step()
            run.step += 1
            shown = losses if run.step % every == 0 else {}
            run.pending_metrics = {
                f"loss/{name}": value for name, value in shown.items()
            } | diagnostics
    except GeneratorExit:
        if fabric.is_global_zero:
            run.save_checkpoint()
        raise
    yield PeakMemory(peak_bytes=peak_memory(fabric.device))
    if fabric.is_global_zero:
        yield run.save_result()


def _report(run: Run) -> Iterator[Event]:
    """Report the numbers of the last step; validate and write a checkpoint where it is time.

    A pause in the midst of it leaves them pending, and the resumed run reports them all.
    """
    if run.pending_metrics is None:
        return
    for name, value in run.pending_metrics.items():
        yield Metric(name=name, value=value, step=run.step)
    validated = run.step % run.config.validate_every == 0 or run.step == run.config.steps
    if validated:
        yield from _validate(run)
    run.pending_metrics = None
    if validated or run.checkpoints.due():
        yield run.save_checkpoint()


def _validate(run: Run) -> Iterator[Event]:
    """Keep the network if its mean Dice over cases and classes is the best so far."""
    # DDP's own forward would wait for the other processes.
    network = run.student if run.fabric.world_size == 1 else run.network
    plan = run.plan
    scores = yield from validate(network, plan.data, plan.card, plan.folder, run.step)
    if not scores:
        return
    mean = float(np.mean(list(scores.values())))
    yield Metric(name="dice", value=mean, step=run.step, split="val")
    for name, value in scores.items():
        yield Metric(name=f"dice/{name}", value=value, step=run.step, split="val")
    if mean > run.best:
        run.best = mean
        path = JobPaths(plan.folder).best_weights
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(network, path)
