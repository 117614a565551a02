"""Logits distillation: the student imitates the softened class probabilities of the teacher.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, per pixel.
"""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from napari_graphflow.errors import UserError


def logits_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean over pixels of ``tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau))``.

    The mean over pixels is a design choice (the code of Graph Flow's term was never published):
    unlike a sum it does not grow with the image. The default temperature is that of a library
    which the authors built upon, and unverified.

    Parameters
    ----------
    student_logits, teacher_logits
        (B, K, H, W) or (B, K, D, H, W), equal shapes. Computed in at least float32. Gradients
        reach the student only.
    temperature
        tau, above 0.
    mask
        Pixels that count, boolean (B, H, W) or (B, D, H, W); None takes all. Without a single
        one the loss is 0.

    Raises
    ------
    UserError
        If the two networks predict different numbers of classes or of pixels.
    """
    _check(student_logits, teacher_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    with torch.autocast(student_logits.device.type, enabled=False):
        student = log_softmax(student_logits.to(dtype) / temperature, dim=1)
        teacher = log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
        divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        if mask is None:
            mean = divergence.mean()
        else:
            mean = divergence.where(mask, 0).sum() / mask.sum().clamp_min(1)
        return temperature**2 * mean


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise UserError(
            f"The student predicts {student.shape[1]} classes, the teacher {teacher.shape[1]}.",
            "Choose a teacher that was trained for the same classes.",
        )
    if student.shape != teacher.shape:
        raise UserError(
            f"The student's logits have shape {tuple(student.shape)}, "
            f"the teacher's {tuple(teacher.shape)}.",
            "Give both networks the same images, at the same size.",
        )
