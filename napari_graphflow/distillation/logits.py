"""Logits distillation: the student matches the teacher's soft labels.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, per pixel.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, check_logits
from napari_graphflow.networks.taps import Output


def logits_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean over pixels of ``tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau))``.

    The mean over pixels is a design choice (the code of Graph Flow's term was never published):
    unlike a sum it does not grow with the image. The default temperature is that of a library
    that the authors built upon, and unverified.

    Parameters
    ----------
    student_logits, teacher_logits
        (B, K, H, W) or (B, K, D, H, W), equal shapes. Computed in at least float32. Gradients
        reach the student only.
    temperature
        tau, above 0.
    weight
        Weight of each pixel, boolean or from 0 to 1, (B, H, W) or (B, D, H, W); None weights all
        equally. If all weights are 0 the loss is 0.

    Raises
    ------
    UserError
        If the two networks predict different numbers of classes or of pixels.
    """
    check_logits(student_logits, teacher_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    with torch.autocast(student_logits.device.type, enabled=False):
        student = log_softmax(student_logits.to(dtype) / temperature, dim=1)
        teacher = log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
        divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        if weight is None:
            mean = divergence.mean()
        else:
            weight = weight.to(dtype)
            # Pixels of weight 0 may hold any value, even NaN.
            weighted = (divergence * weight).where(weight > 0, 0)
            mean = weighted.sum() / weight.sum().clamp_min(torch.finfo(dtype).tiny)
        return temperature**2 * mean


@torch.no_grad()
def certainty(logits: Tensor) -> Tensor:
    """``1 - H(softmax(z)) / log K`` of each pixel: 1 if one class is certain, 0 if all are equal.

    Parameters
    ----------
    logits
        (B, K, H, W) or (B, K, D, H, W).
    """
    log_p = log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    entropy = -(log_p.exp() * log_p).sum(1)
    return (1 - entropy / math.log(logits.shape[1])).clamp(0, 1)


@torch.no_grad()
def is_confident(logits: Tensor, confidence: float) -> Tensor:
    """Return where the most probable class has at least this probability, (B, *spatial)."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype).softmax(1).amax(1) >= confidence


@torch.no_grad()
def teacher_weights(
    annotated: Tensor, unlabelled: Tensor, by_certainty: bool, confidence: float = 0.0
) -> Tensor:
    """Return the weight of the teacher's logits at each pixel of a batch, (L + U, *spatial).

    Parameters
    ----------
    annotated
        (L, *spatial), boolean: annotated pixels of the labelled images. Pixels with the ignore
        label are not distilled either.
    unlabelled
        (U, K, *spatial), the teacher's logits for unlabelled images.
    by_certainty
        Whether to weight unlabelled pixels by the teacher's certainty; otherwise by 1.
    confidence
        Unlabelled pixels whose most probable class is less probable have weight 0.
    """
    weight = certainty(unlabelled) if by_certainty else torch.ones_like(unlabelled[:, 0])
    if confidence:
        weight = weight * is_confident(unlabelled, confidence)
    return torch.cat([annotated.to(weight.dtype), weight])


class LogitsDistillation(Method):
    """Match the teacher's soft labels pixel by pixel (Hinton, Vinyals and Dean, 2015)."""

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        assert isinstance(config.method, LogitsOptions)
        self.options = config.method
        self.by_certainty = self.options.certainty
        self.weights = {"logits": self.options.weight}

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        temperature = self.options.temperature
        return {"logits": logits_loss(student.logits, teacher.logits, temperature, weight)}
