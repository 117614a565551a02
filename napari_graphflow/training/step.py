"""One optimiser step: loss of labels, terms of the method, gradients."""

from typing import Any

import torch
from lightning_fabric import Fabric
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.logits import answer_weights
from napari_graphflow.evaluation.metrics import IGNORE
from napari_graphflow.training.batches import Batches
from napari_graphflow.training.gradients import gradient_norms
from napari_graphflow.training.parallel import see, teach
from napari_graphflow.training.state import Run

MAXIMUM_GRADIENT_NORM = 5.0


def _step(
    run: Run,
    student: nn.Module,
    teacher: nn.Module | None,
    optimiser: Any,
    fabric: Fabric,
    batches: Batches,
    watched: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """One optimiser step: the weighted terms by name, and facts where they are watched."""
    batch = batches(run.step)
    images, labels = fabric.to_device(batch.images), fabric.to_device(batch.labels)
    output = see(student, images, fabric)
    supervised = (run.method and run.method.supervised_loss) or supervised_loss
    terms = {"supervised": supervised(output.logits[: len(labels)].float(), labels)}
    facts: dict[str, float] = {}
    lesson = None
    if run.method is not None and teacher is not None:
        warm, lesson = _warm(run), teach(teacher, images, fabric)
        n = len(labels)
        weight = answer_weights(labels != IGNORE, lesson.logits[n:], run.method.config.certainty)
        found = run.method.terms(output, lesson, weight)
        found |= run.method.labelled_terms(output.first(n), lesson.first(n), labels)
        terms |= {name: warm * run.method.weights[name] * term for name, term in found.items()}
        if watched:
            facts = run.method.facts(output, lesson) | gradient_norms(terms, student, fabric)
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        worst = next((n for n, t in terms.items() if not torch.isfinite(t)), "total")
        raise FloatingPointError(f"The loss ({worst}) became infinite or NaN at step {run.step}.")
    optimiser.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        student, optimiser, max_norm=MAXIMUM_GRADIENT_NORM, error_if_nonfinite=False
    )
    # With 16-mixed the gradient scaler skips such a step by itself and goes on.
    if run.config.precision != "16-mixed" and norm is not None and not norm.isfinite():
        raise FloatingPointError(f"The gradient became infinite or NaN at step {run.step}.")
    optimiser.step()
    losses = {name: float(term.detach()) for name, term in terms.items()}
    losses["total"] = float(loss.detach())
    if run.method is not None and lesson is not None:
        losses |= run.method.after_step(output, lesson)
    return losses, facts


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


def _warm(run: Run) -> float:
    warmup = run.config.warmup if isinstance(run.config, DistillationConfig) else 0
    return min(1.0, (run.step + 1) / warmup) if warmup else 1.0
