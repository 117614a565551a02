"""One optimiser step: supervised loss, distillation terms, gradients."""

from functools import partial

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.logits import is_confident, teacher_weights
from napari_graphflow.distillation.method import Pass
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.networks.bottleneck import maybe_recording
from napari_graphflow.networks.taps import Output
from napari_graphflow.training.batches import Batch
from napari_graphflow.training.gradients import gradient_norms
from napari_graphflow.training.parallel import forward_gathered, precision_of, teacher_forward
from napari_graphflow.training.state import Run
from napari_graphflow.training.teacher import output_of, padded_for

MAXIMUM_GRADIENT_NORM = 5.0


def make_step(run: Run, watched: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Make one optimiser step.

    Parameters
    ----------
    run
        The run; the caller increments its step.
    watched
        Whether to measure gradient norms and diagnostics as well.

    Returns
    -------
    losses, diagnostics
        The weighted loss terms by name, and the other metrics.

    Raises
    ------
    FloatingPointError
        If the loss or its gradient becomes infinite or NaN.
    """
    fabric = run.fabric
    last = _only_labels(run)
    batch = run.batches(run.step, labelled_only=last)
    images, labels = fabric.to_device(batch.images), fabric.to_device(batch.labels)
    # The further passes of some methods start from the recorded ones.
    taps = run.method.recorded if run.method is not None and not last else {}
    with maybe_recording(run.student, taps.get("student")) as recorded:
        output = forward_gathered(run.student, images, fabric)
    own = run.method and run.method.supervised_loss
    supervised = own or partial(supervised_loss, weights=run.class_weights)
    terms = {"supervised": supervised(output.logits[: len(labels)].float(), labels)}
    diagnostics: dict[str, float] = {}
    teacher_output = None
    if isinstance(run.config, DistillationConfig) and run.method and not last:
        with maybe_recording(run.teacher, taps.get("teacher")) as teacher_recorded:
            inside = fabric.to_device(batch.inside)
            warm, teacher_output = _warm_up(run), _teacher_output(run, batch, images, inside)
        n, confidence = len(labels), run.config.confidence
        answers = teacher_output.logits[n:]
        weight = teacher_weights(labels != IGNORE, answers, run.method.by_certainty, confidence)
        weight = weight * inside
        if run.config.answers == "hard" and len(answers):
            weight[n:] = 0  # in the terms of the method, which are soft
            pseudo_labels = hard_answers(answers, confidence).masked_fill(~inside[n:], IGNORE)
            terms["pseudo_labels"] = warm * supervised(output.logits[n:].float(), pseudo_labels)
        found = run.method.terms(output, teacher_output, weight)
        found |= run.method.labelled_terms(output.first(n), teacher_output.first(n), labels)
        if recorded and teacher_recorded:
            student, teacher = recorded(images), teacher_recorded(images)
            logits = teacher_output.logits
            with fabric.autocast():
                found |= run.method.passes(Pass(run.step, images, labels, student, teacher, logits))
        terms |= {name: warm * run.method.weights[name] * term for name, term in found.items()}
        if watched:
            diagnostics = run.method.diagnostics(output, teacher_output) | gradient_norms(
                terms, run.student, fabric
            )
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        worst = next((n for n, t in terms.items() if not torch.isfinite(t)), "total")
        raise FloatingPointError(f"The loss ({worst}) became infinite or NaN at step {run.step}.")
    run.optimiser.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        run.student, run.optimiser, max_norm=MAXIMUM_GRADIENT_NORM, error_if_nonfinite=False
    )
    # In 16-mixed the gradient scaler skips such a step.
    if precision_of(fabric) != "16-mixed" and norm is not None and not norm.isfinite():
        raise FloatingPointError(f"The gradient became infinite or NaN at step {run.step}.")
    run.optimiser.step()
    losses = {name: float(term.detach()) for name, term in terms.items()}
    losses["total"] = float(loss.detach())
    if run.method is not None and teacher_output is not None:
        losses |= run.method.after_step(output, teacher_output)
    return losses, diagnostics


def supervised_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy plus Dice loss over the annotated voxels.

    Parameters
    ----------
    logits
        (B, K, *spatial).
    labels
        (B, *spatial), class indices or `IGNORE`.
    weights
        (K,), weight of each class in the cross-entropy, which is divided by the sum of the weights
        of all voxels; None weights all equally.
    """
    valid = labels != IGNORE
    cross_entropy = functional.cross_entropy(
        logits, labels, weights, ignore_index=IGNORE, reduction="sum"
    )
    target = functional.one_hot(labels.masked_fill(~valid, 0), logits.shape[1])
    mask = valid[:, None]
    dice = DiceLoss(include_background=False, batch=True)(
        logits.softmax(1) * mask, target.movedim(-1, 1) * mask
    )
    total = valid.sum() if weights is None else weights[labels[valid]].sum()
    loss: Tensor = cross_entropy / total.clamp_min(1 if weights is None else 1e-8) + dice
    return loss


@torch.no_grad()
def hard_answers(logits: Tensor, confidence: float = 0.0) -> Tensor:
    """Return the most probable class of each voxel, `IGNORE` if it is less probable than that.

    Parameters
    ----------
    logits
        (B, K, *spatial), of the teacher.
    """
    return logits.argmax(1).masked_fill(~is_confident(logits, confidence), IGNORE)


def _teacher_output(run: Run, batch: Batch, images: Tensor, inside: Tensor) -> Output:
    if run.teacher is not None:
        images = padded_for(run.plan.teacher, images, inside)
        return teacher_forward(run.teacher, images, run.fabric)
    assert batch.answers is not None
    return output_of(run.fabric.to_device(batch.answers))


def _only_labels(run: Run) -> bool:
    """Return whether this is one of the last steps, which use only labelled patches."""
    share = run.config.labels_only if isinstance(run.config, DistillationConfig) else 0.0
    return run.step >= run.config.steps - round(share * run.config.steps)


def _warm_up(run: Run) -> float:
    warmup = run.config.warmup if isinstance(run.config, DistillationConfig) else 0
    return min(1.0, (run.step + 1) / warmup) if warmup else 1.0
