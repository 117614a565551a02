"""Supervised training and distillation as generators of events.

``for event in train(config, folder): ...`` runs a training. Closing the generator writes a
checkpoint and ends the run; calling it again with the same folder resumes from there.
"""

import gc
import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from napari_graphflow.config.model_card import TeacherRecord, answers_whole_cases, weights_hash
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.answers import ReadsAnswers
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.jobs.memory import Setting, is_out_of_memory, saved_setting
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.devices import peak_memory, resolve_device
from napari_graphflow.models.given import GivenTeacher, load_teacher
from napari_graphflow.models.saved import Model, build_network, save_weights
from napari_graphflow.system.events import (
    Event,
    Metric,
    PeakMemory,
    Phase,
    Progress,
    SettingChosen,
    Warned,
)
from napari_graphflow.training.ahead import BatchesAhead
from napari_graphflow.training.averaging import start_average
from napari_graphflow.training.batches import Batches
from napari_graphflow.training.checkpoints import Checkpoints
from napari_graphflow.training.data import (
    check_channels,
    make_card,
    mirror_axes,
    read_training_data,
    temporary_cache,
    warn_about_teacher_labels,
    warn_without_unlabelled,
)
from napari_graphflow.training.describing import describe_source
from napari_graphflow.training.method_setup import (
    check_pair,
    prepare,
    provide_material,
    set_up_method,
)
from napari_graphflow.training.parallel import (
    set_up_teacher,
    start_fabric,
    synchronise_batch_norm,
)
from napari_graphflow.training.postprocessing import learn_postprocessing
from napari_graphflow.training.start import class_weights, start_from
from napari_graphflow.training.state import Plan, Run
from napari_graphflow.training.step import make_step
from napari_graphflow.training.teacher import check_teacher
from napari_graphflow.training.validation import validate
from napari_graphflow.training.whole_cases import CaseAnswers

POINTS_PER_CURVE = 500
#: How often per run the gradient norms are measured, at one backward pass per loss term.
GRADIENTS_PER_RUN = 20


def train(
    config: TrainingConfig, folder: Path, *, cases: int | None = None, allow_smaller: bool = True
) -> Iterator[Event]:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        Settings of the run.
    folder
        Folder for checkpoints and, at the end, the model; see `JobPaths`.
    cases
        Maximum number of cases of each kind, for the trial of an estimate.
    allow_smaller
        Whether to continue with a smaller batch or patch size when memory runs out.

    Yields
    ------
    event
        See `napari_graphflow.system.events`; the last one is `ModelSaved`.

    Raises
    ------
    UserError
        If dataset and configuration are incompatible.
    FloatingPointError
        If the loss becomes infinite or NaN.
    """
    _limit_threads(config)
    with temporary_cache(folder):
        data = yield from read_training_data(config, folder, config.preprocessing, cases=cases)
        plan = Plan(config, folder, data, make_card(config, data))
        yield from _fit_into_memory(plan, allow_smaller)


def distill(
    config: DistillationConfig,
    folder: Path,
    *,
    cases: int | None = None,
    allow_smaller: bool = True,
) -> Iterator[Event]:
    """Train a student from a frozen teacher, on labelled and unlabelled cases.

    Parameters, events and errors are those of :func:`train`. The student uses the preprocessing of
    its teacher, so that both receive the same input. If it has other axes or preprocessing, or the
    teacher no network, the teacher's answers for whole cases are brought to its grid.
    """
    _limit_threads(config)
    teacher = load_teacher(config.teacher)
    given: ReadsAnswers | None = None
    pair: Model | GivenTeacher = teacher
    if isinstance(teacher, GivenTeacher):
        given = teacher.answers
    elif answers_whole_cases(teacher.card, config):
        teacher.module.to(resolve_device(config.device))
        given = CaseAnswers(in_torch(teacher), JobPaths(folder).answers)
        pair = GivenTeacher(teacher.card, teacher.folder, given)
    # Hashed now: the folder may contain other weights when the run ends.
    source = TeacherRecord(name=teacher.card.name, sha256=weights_hash(config.teacher))
    check_classes(teacher.card, Dataset.of_run(config), "teacher")
    check_pair(config, pair)
    with temporary_cache(folder):
        data = yield from read_training_data(
            config,
            folder,
            config.preprocessing if given else teacher.card.preprocessing,
            patch_size=() if given else teacher.card.patch_size,
            unlabelled=config.unlabelled,
            cases=cases,
            given=given,
        )
        check_channels(teacher.card, data)
        if cases is None:
            yield from check_teacher(config, teacher, data.dataset, folder)
        yield from warn_about_teacher_labels(teacher.card, config, data.dataset)
        yield from warn_without_unlabelled(config, data)
        plan = Plan(config, folder, data, make_card(config, data, source), pair)
        yield from _fit_into_memory(plan, allow_smaller)


def _limit_threads(config: TrainingConfig) -> None:
    # Leave one core to the user interface, which would otherwise become unresponsive.
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))


def _fit_into_memory(plan: Plan, allow_smaller: bool) -> Iterator[Event]:
    """Run the fit; when memory runs out, resume from the last checkpoint with a smaller setting."""
    setting = saved_setting(plan.folder) or Setting(plan.config.batch_size, plan.data.patch_size)
    while True:
        yield SettingChosen(**asdict(setting))
        try:
            yield from _fit(plan.with_setting(setting))
            return
        except Exception as error:
            smaller = setting.smaller() if allow_smaller and is_out_of_memory(error) else None
            if smaller is None:
                raise
        # Only here are the error and the frames that held the memory released.
        gc.collect()
        torch.cuda.empty_cache()
        yield Warned(
            code="out_of_memory",
            text=f"Out of memory with {setting}. Resuming from the last checkpoint with {smaller}.",
        )
        setting = smaller
        setting.save(plan.folder)


def _set_up(plan: Plan) -> Run:
    config, data = plan.config, plan.data
    fabric = start_fabric(config)
    torch.manual_seed(config.seed)
    network: torch.nn.Module = build_network(plan.card)
    if config.init is not None:
        start_from(network, config.init, plan.card)
    batches = Batches(
        data.labelled,
        data.unlabelled,
        data.patch_size,
        config.batch_size,
        config.seed,
        mirror_axes(config, data),
        config.augmentation,
        config.cutmix if isinstance(config, DistillationConfig) else 0.0,
        config.scanner_augmentation,
        len(plan.card.classes),
        zeros=plan.card.pads_with_zeros,
    )
    parameters = list(network.parameters())
    method = set_up_method(plan, network, batches)
    if method is not None:
        parameters += method.to(fabric.device).adapters.parameters()
    network = synchronise_batch_norm(network, fabric)
    average = start_average(network, config.ema_decay)
    student, optimiser = fabric.setup(
        network,
        torch.optim.AdamW(
            # One call for all tensors: same result, faster on the CPU.
            parameters,
            config.learning_rate,
            weight_decay=config.weight_decay,
            foreach=True,
        ),
    )
    # With 10 steps, 0.1 gives a rise of zero length, by which the schedule divides.
    module = None if plan.teacher is None else plan.teacher.module
    teacher = None if module is None else set_up_teacher(module, fabric)
    rise = 0.2 if config.steps == 10 else 0.1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=rise
    )
    return Run(
        plan,
        fabric,
        BatchesAhead(batches, config.steps),
        network,
        student,
        optimiser,
        schedule,
        Checkpoints(plan.folder, config.checkpoint_minutes),
        teacher,
        method,
        average and average.to(fabric.device),
        class_weights(config, data, fabric.device),
    )


def _fit(plan: Plan) -> Iterator[Event]:
    run = _set_up(plan)
    with closing(run.batches):
        yield from _steps(run)


def _steps(run: Run) -> Iterator[Event]:
    provide_material(run)
    config, fabric = run.config, run.fabric
    saved = yield from run.checkpoints.load(fabric.device)
    fabric.barrier()  # all processes must have read the checkpoint before one writes
    if saved is not None:
        run.restore(saved)
    if run.method is not None and not run.prepared:
        yield from prepare(run)

    yield Phase(kind="training", name="training")
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
            if run.step >= config.steps or (yield from _stops_early(run)):
                break
            # Dropout then depends only on seed and step, so that a resumed run repeats it.
            torch.manual_seed(config.seed * 1_000_003 + run.step)
            watched = run.step % watch_every == 0
            losses, diagnostics = make_step(run, watched)
            run.schedule.step()
            if run.average is not None:
                run.average.update_parameters(run.network)
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
        result = run.save_result()
        yield from learn_postprocessing(run)
        yield from describe_source(run)
        yield result


def _stops_early(run: Run) -> Generator[Event, None, bool]:
    """Return whether the run stops early; the first process decides, which alone validates."""
    config = run.config
    if not config.patience or run.step % config.validate_every:
        return False
    run.stale = run.fabric.broadcast(run.stale)
    if run.stale < config.patience:
        return False
    yield Warned(
        code="stopped_early",
        text=f"Stopped at step {run.step} of {config.steps}: no better Dice in {run.stale} "
        "validations.",
    )
    return True


def _report(run: Run) -> Iterator[Event]:
    """Report the metrics of the last step; validate and write a checkpoint if due.

    If paused meanwhile, the metrics stay pending and the resumed run reports all of them.
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
    """Validate and draw; save the weights if the mean Dice over the classes is the best so far."""
    # The forward pass of DDP would wait for the other processes.
    alone = run.fabric.world_size == 1 and run.average is None
    network = run.student if alone else run.result
    plan = run.plan
    scores = yield from validate(network, plan.data, plan.card, plan.folder, run.step)
    if run.method is not None:
        yield from run.method.drawings(run.step)
    if not scores:
        return
    mean = float(np.mean(list(scores.values())))
    yield Metric(name="dice", value=mean, step=run.step, split="val")
    for name, value in scores.items():
        yield Metric(name=f"dice/{name}", value=value, step=run.step, split="val")
    run.stale += 1
    if mean > run.best:
        run.best, run.stale = mean, 0
        path = JobPaths(plan.folder).best_weights
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(network, path)
