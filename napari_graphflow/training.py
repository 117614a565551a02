"""Supervised training and distillation, as generators that yield a record for what happens.

``for record in train(config, folder): ...`` runs a training; closing the generator ends it after
writing a checkpoint, and calling it again on the same folder goes on from there.
"""

import os
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.batches import Batches
from napari_graphflow.checkpoints import Checkpoints
from napari_graphflow.config import DistillationConfig, ModelCard, TrainingConfig
from napari_graphflow.distillation import Method, Record, build_method
from napari_graphflow.errors import UserError
from napari_graphflow.inference import peak_memory, predict
from napari_graphflow.metrics import IGNORE, dice_score
from napari_graphflow.model import (
    METHOD,
    Model,
    build_network,
    load_model,
    load_weights,
    resolve_device,
    save_model,
    save_weights,
    weights_hash,
)
from napari_graphflow.networks import Output
from napari_graphflow.training_data import TrainingData, make_card, mirror_axes, read_training_data

BEST = "checkpoints/best.safetensors"
MODEL = "artifacts/model"
MAXIMUM_GRADIENT_NORM = 5.0
POINTS_PER_CURVE = 500


def train(config: TrainingConfig, folder: Path) -> Iterator[Record]:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        What to train, on what, for how long.
    folder
        Receives checkpoints and, at the end, the model in ``artifacts/model``.

    Yields
    ------
    dict
        Records with the key ``event``: ``phase``, ``progress``, ``metric``, ``checkpoint``,
        ``memory`` and at last ``model``.

    Raises
    ------
    UserError
        If dataset and configuration do not fit.
    FloatingPointError
        If the loss is no longer a number.
    """
    _limit_threads(config)
    data = yield from read_training_data(config, folder, config.preprocessing)
    yield from _fit(_Run(config, folder, data, make_card(config, data, "teacher")))


def distill(config: DistillationConfig, folder: Path) -> Iterator[Record]:
    """Train a student from a frozen teacher, on labelled and unlabelled cases.

    Parameters, records and errors are those of :func:`train`; the student takes over the
    preprocessing of its teacher, so that both see the same voxels.
    """
    _limit_threads(config)
    teacher = load_model(config.teacher)
    if teacher.card.dims != config.dims:
        raise UserError(
            f"The teacher {teacher.card.name} is {teacher.card.dims}D, but the student is to be "
            f"{config.dims}D.",
            f"Set dims to {teacher.card.dims}, or choose another teacher.",
        )
    data = yield from read_training_data(
        config,
        folder,
        teacher.card.preprocessing,
        patch_size=teacher.card.patch_size,
        unlabelled=config.unlabelled,
    )
    _check_teacher(teacher.card, data)
    card = make_card(config, data, "student")
    yield from _fit(_Run(config, folder, data, card, teacher, build_method(config)))


def _check_teacher(card: ModelCard, data: TrainingData) -> None:
    if card.classes != data.dataset.classes:
        raise UserError(
            f"The teacher {card.name} knows the classes {', '.join(card.classes)}, but the dataset "
            f"{data.dataset.name} has {', '.join(data.dataset.classes)}.",
            "Choose a teacher that was trained on these classes.",
        )
    if card.in_channels != data.channels:
        raise UserError(
            f"The teacher {card.name} was made for images of {card.in_channels} channels, but "
            f"those of {data.dataset.name} have {data.channels}.",
            "Choose a teacher that was trained on such images.",
        )


def _limit_threads(config: TrainingConfig) -> None:
    # One core is left to the windows on the screen, which would starve beside a full machine.
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))


@dataclass
class _Run:
    config: TrainingConfig
    folder: Path
    data: TrainingData
    card: ModelCard
    teacher: Model | None = None
    method: Method | None = None
    step: int = 0
    best: float = -1.0
    #: Terms of the loss of the last step, until they have been told and the network validated.
    untold: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


def _fit(run: _Run) -> Iterator[Record]:
    config, data = run.config, run.data
    device = resolve_device(config.device)
    fabric = Fabric(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index or 0],
        precision=config.precision,
    )
    torch.manual_seed(config.seed)
    network = build_network(run.card)
    student, optimiser = fabric.setup(
        network,
        torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        ),
    )
    # Of 10 steps a tenth would be a rise of no length, by which the schedule divides.
    rise = 0.2 if config.steps == 10 else 0.1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=rise
    )
    batches = Batches(
        data.labelled,
        data.unlabelled,
        data.patch_size,
        config.batch_size,
        config.seed,
        mirror_axes(config, data),
    )
    teacher = None
    if run.teacher is not None and run.method is not None:
        teacher = fabric.setup_module(run.teacher.module)
        _build_method(run.method, student, teacher, fabric.to_device(batches(0).images))
    state = {
        "student": student,
        "optimiser": optimiser,
        "schedule": schedule,
        "precision": fabric.strategy.precision,
    }
    checkpoints = Checkpoints(run.folder, config.checkpoint_minutes)
    saved = yield from checkpoints.load(fabric.device)
    if saved is not None:
        _restore(run, state, saved)
    elif run.method is not None and teacher is not None:
        yield {"event": "phase", "name": "paraphrasing the teacher's features"}
        outputs = (_teach(teacher, fabric.to_device(images)) for images in batches.images())
        with fabric.autocast():
            yield from run.method.prepare(outputs)
        yield checkpoints.save(_content(run, state), run.step)

    yield {"event": "phase", "name": "training"}
    student.train()
    started, first = time.monotonic(), run.step
    try:
        while True:
            if run.untold:
                validated = yield from _tell(run, student)
                if validated or checkpoints.due():
                    yield checkpoints.save(_content(run, state), run.step)
                done, left = run.step - first, config.steps - run.step
                eta = round((time.monotonic() - started) / done * left, 1) if done else None
                yield {
                    "event": "progress",
                    "step": run.step,
                    "total": config.steps,
                    "eta_s": eta,
                }
            if run.step >= config.steps:
                break
            # Dropout then depends on seed and step alone, so that a resumed run repeats it.
            torch.manual_seed(config.seed * 1_000_003 + run.step)
            run.untold = _step(run, student, teacher, optimiser, fabric, batches)
            schedule.step()
            run.step += 1
    except GeneratorExit:
        checkpoints.save(_content(run, state), run.step)
        raise
    yield {"event": "memory", "peak_bytes": peak_memory(fabric.device)}
    yield _save_result(run, network)


def _tell(run: _Run, student: nn.Module) -> Generator[Record, None, bool]:
    """Tell the losses of the last step and validate where it is time; says whether it was.

    A pause in the midst of it leaves them untold, and the resumed run tells them all.
    """
    config = run.config
    if run.step % max(1, config.steps // POINTS_PER_CURVE) == 0:
        for name, value in run.untold.items():
            yield _metric(f"loss/{name}", value, run.step, "train")
    validated = run.step % config.validate_every == 0 or run.step == config.steps
    if validated:
        yield from _validate(run, student)
    run.untold = {}
    return validated


def _step(
    run: _Run,
    student: nn.Module,
    teacher: nn.Module | None,
    optimiser: Any,
    fabric: Fabric,
    batches: Batches,
) -> dict[str, float]:
    """One optimiser step; gives the weighted terms of the loss by name."""
    batch = batches(run.step)
    images, labels = fabric.to_device(batch.images), fabric.to_device(batch.labels)
    output = student(images)
    terms = {"supervised": supervised_loss(output.logits[: len(labels)].float(), labels)}
    if run.method is not None and teacher is not None:
        warm = _warm(run)
        found = run.method.terms(output, _teach(teacher, images))
        terms |= {name: warm * run.method.weights[name] * term for name, term in found.items()}
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        worst = next((n for n, t in terms.items() if not torch.isfinite(t)), "total")
        raise FloatingPointError(f"The loss ({worst}) became infinite or NaN at step {run.step}.")
    optimiser.zero_grad()
    fabric.backward(loss)
    fabric.clip_gradients(student, optimiser, max_norm=MAXIMUM_GRADIENT_NORM)
    optimiser.step()
    return {name: float(term.detach()) for name, term in terms.items()} | {
        "total": float(loss.detach())
    }


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus Dice loss over the voxels that carry a label.

    Parameters
    ----------
    logits
        (B, K, *spatial).
    labels
        (B, *spatial), class indices or `IGNORE`.
    """
    valid = labels != IGNORE
    cross_entropy = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    target = functional.one_hot(labels.masked_fill(~valid, 0), logits.shape[1])
    mask = valid[:, None]
    dice = DiceLoss(include_background=False, batch=True)(
        logits.softmax(1) * mask, target.movedim(-1, 1) * mask
    )
    loss: Tensor = cross_entropy / valid.sum().clamp_min(1) + dice
    return loss


@torch.no_grad()
def _teach(teacher: nn.Module, images: Tensor) -> Output:
    output: Output = teacher(images)
    return output


def _build_method(method: Method, student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    student.eval()
    with torch.no_grad():
        method.build(student(images[:1]), teacher(images[:1]))


def _warm(run: _Run) -> float:
    warmup = run.config.warmup if isinstance(run.config, DistillationConfig) else 0
    return min(1.0, (run.step + 1) / warmup) if warmup else 1.0


def _validate(run: _Run, student: nn.Module) -> Iterator[Record]:
    """Mean Dice over validation cases and foreground classes, on the network's own grid."""
    student.eval()
    scores: dict[str, list[float]] = {name: [] for name, i in run.card.classes.items() if i}
    for case in run.data.validation:
        soft = predict(student, case.image, run.card.dims, run.card.patch_size)
        labels = soft.argmax(0)
        assert case.labels is not None
        labels = np.where(case.labels == IGNORE, IGNORE, labels)
        for name, values in scores.items():
            values.append(dice_score(labels, case.labels, run.card.classes[name]))
        yield {"event": "alive"}  # so that a wish to cancel is heard between two cases
    student.train()
    run.scores = {n: float(np.nanmean(v)) for n, v in scores.items() if not np.isnan(v).all()}
    if not run.scores:
        return
    mean = float(np.mean(list(run.scores.values())))
    yield _metric("dice", mean, run.step, "val")
    for name, value in run.scores.items():
        yield _metric(f"dice/{name}", value, run.step, "val")
    if mean > run.best:
        run.best = mean
        path = run.folder / BEST
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(student, path)


def _content(run: _Run, state: dict[str, Any]) -> dict[str, Any]:
    """All that a run needs to go on; the random numbers and batches follow from the step."""
    content = {name: part.state_dict() for name, part in state.items()}
    content |= {"step": run.step, "best": run.best, "untold": run.untold}
    if run.method is not None:
        content["method"] = run.method.state_dict()
    return content


def _restore(run: _Run, state: dict[str, Any], content: dict[str, Any]) -> None:
    for name, part in state.items():
        part.load_state_dict(content.get(name, {}))
    if run.method is not None:
        run.method.load_state_dict(content["method"])
        run.method.requires_grad_(False).eval()
    run.step, run.best = content["step"], content["best"]
    run.untold = content.get("untold", {})


def _save_result(run: _Run, network: nn.Module) -> Record:
    """Save the best network, or the last one where there was nothing to validate on."""
    best = run.folder / BEST
    if best.is_file():
        load_weights(network, best)
    provenance = run.card.provenance | {"best_validation_dice": run.best if run.best >= 0 else None}
    extras: dict[str, nn.Module] = {}
    if run.teacher is not None and run.method is not None:
        provenance["teacher"] = run.teacher.card.name
        provenance["teacher_sha256"] = weights_hash(run.teacher.folder)
        if any(True for _ in run.method.parameters()):
            extras[METHOD] = run.method
    card = run.card.model_copy(
        update={
            "parameters": sum(p.numel() for p in network.parameters()),
            "provenance": provenance,
        }
    )
    save_model(run.folder / MODEL, card, network, extras)
    shutil.rmtree(run.folder / "cache", ignore_errors=True)
    return {"event": "model", "path": MODEL, "name": card.name}


def _metric(name: str, value: float, step: int, split: str) -> Record:
    return {"event": "metric", "name": name, "value": value, "step": step, "split": split}
