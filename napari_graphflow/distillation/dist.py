"""DIST: the student's class probabilities correlate with the teacher's.

Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022. Only
relations are matched: a student may be less confident than its teacher without a penalty.
"""

import torch
from torch import Tensor

from napari_graphflow.config.methods import DistOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, check_logits
from napari_graphflow.networks.taps import Output

#: Probabilities with a smaller standard deviation are constant in single precision.
CONSTANT = 1e-6


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """One minus the correlation of the probabilities, over classes and over pixels.

    ``tau^2 (beta mean_n (1 - rho(S[n, :], T[n, :])) + gamma mean_k (1 - rho(S[:, k], T[:, k])))``

    S and T are the probabilities ``softmax(z / tau)`` of N pixels for K classes, and rho is
    Pearson's correlation. The first term compares the classes of each pixel (the paper's
    inter-class relation), the second the pixels of each class (its intra-class relation).

    From the paper: the two terms and ``tau^2``. From its code for segmentation: the N pixels are
    those of all images of the batch together, and beta and gamma are 1. Our reading for
    segmentation in general:

    - In 3D, N counts voxels.
    - With K = 2 the first term is left out: the two probabilities of a pixel sum to 1, so that
      their correlation is 1 or -1 and has no gradient.
    - A pixel or class with constant probabilities of the teacher, such as one that rounds to 0
      everywhere, has no correlation; it counts as matched.
    - Pixels are weighted in both means and in the correlations of the second term. A weight of 0
      is the same as leaving the pixel out.

    Parameters
    ----------
    student_logits, teacher_logits
        (B, K, H, W) or (B, K, D, H, W), equal shapes. Computed in at least float32. Gradients
        reach the student only.
    temperature
        tau, above 0.
    beta, gamma
        Weights of the two terms.
    weight
        Weight of each pixel, boolean or from 0 to 1, (B, H, W) or (B, D, H, W); None weights all
        equally. If all weights are 0 the loss is 0.

    Returns
    -------
    Tensor
        A scalar between 0 and ``2 tau^2 (beta + gamma)``.

    Raises
    ------
    UserError
        If the two networks predict different numbers of classes or of pixels.
    """
    check_logits(student_logits, teacher_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    if weight is None:
        weight = torch.ones_like(teacher_logits[:, 0])
    weight = weight.detach().to(dtype)[:, None]
    weight = weight / weight.sum().clamp_min(torch.finfo(dtype).tiny)
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = (
            # Pixels of weight 0 may hold any value, even NaN.
            (logits.to(dtype).where(weight > 0, 0) / temperature).softmax(1).flatten(2)
            for logits in (student_logits, teacher_logits.detach())
        )
        weight = weight.flatten(2)
        classes = student.shape[1]
        loss = gamma * (1 - correlation(student, teacher, weight, (0, 2))).mean()
        if classes > 2:
            each = torch.full((), 1 / classes).to(student)
            loss = loss + beta * (weight * (1 - correlation(student, teacher, each, (1,)))).sum()
        return temperature**2 * loss


def correlation(student: Tensor, teacher: Tensor, weight: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return Pearson's correlation along `axes`, which are kept; 1 where the teacher is constant.

    It does not change if a constant is added to the values of the student or the teacher, or if
    they are multiplied by a positive number.

    Parameters
    ----------
    student, teacher
        Tensors of equal shapes.
    weight
        Weight of each value, with sum 1 along `axes`; broadcast.
    """
    student = student - (weight * student).sum(axes, keepdim=True)
    teacher = teacher - (weight * teacher).sum(axes, keepdim=True)
    covariance = (weight * student * teacher).sum(axes, keepdim=True)
    variances = [(weight * one.square()).sum(axes, keepdim=True) for one in (student, teacher)]
    # Clamped before the root, which has an infinite gradient at 0.
    deviations = [variance.clamp_min(CONSTANT**2).sqrt() for variance in variances]
    found = covariance / (deviations[0] * deviations[1])
    return found.where(variances[1] > CONSTANT**2, 1.0)


class Dist(Method):
    """Correlate the student's class probabilities with the teacher's (DIST, NeurIPS 2022)."""

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        assert isinstance(config.method, DistOptions)
        self.options = config.method
        self.by_certainty = self.options.certainty
        self.weights = {"dist": self.options.weight}

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        options = self.options
        loss = dist_loss(
            student.logits, teacher.logits, options.temperature, options.beta, options.gamma, weight
        )
        return {"dist": loss}
