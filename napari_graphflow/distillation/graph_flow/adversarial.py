"""Adversarial distillation: a discriminator separates the teacher's masks from the student's.

The layout follows the discriminator of self-attention GANs (Zhang et al., ICML 2019) as used in
structured knowledge distillation (Liu et al., CVPR 2019), which Graph Flow borrows; the losses are
WGAN-GP (Gulrajani et al., NeurIPS 2017) and, as the alternative, the hinge loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import spectral_norm

from napari_graphflow.config.methods import AdversarialOptions

AdversarialLoss = Literal["wgan_gp", "hinge"]
Squash = Literal["softmax", "tanh"]


class Discriminator(nn.Module):
    """Four strided convolutions and two self-attentions, from logits to a map of scores.

    Each block is a 4x4 convolution of stride 2 with spectral norm and LeakyReLU(0.1); attention
    follows blocks 3 and 4; a last 4x4 convolution returns 13 x 13 scores for 256 x 256 pixels.
    Maps smaller than a kernel are padded with zeros, so that inputs of any size are accepted.

    Parameters
    ----------
    classes
        Channels of the logits.
    dims
        2 or 3 spatial axes.
    width
        Channels of the first block; each further block doubles them.
    squash
        ``softmax`` feeds class probabilities (design choice: bounded, and the same for logits
        that differ by a constant), ``tanh`` the squashed logits of the authors' code.
    """

    def __init__(
        self, classes: int, dims: int = 2, width: int = 64, squash: Squash = "softmax"
    ) -> None:
        super().__init__()
        if dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, not {dims}")
        self.squash = squash
        convolution = Conv[Conv.CONV, dims]
        channels = [classes, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                spectral_norm(convolution(before, after, kernel_size=4, stride=2, padding=1)),
                nn.LeakyReLU(0.1),
            )
            for before, after in pairwise(channels)
        )
        self.attentions = nn.ModuleList(
            [nn.Identity(), nn.Identity(), *(SelfAttention(c, dims) for c in channels[-2:])]
        )
        self.last = convolution(channels[-1], 1, kernel_size=4)

    def maps(self, logits: Tensor) -> Tensor:
        """Squash logits (B, K, *spatial) to the discriminator's input, of the same shape."""
        return logits.softmax(1) if self.squash == "softmax" else logits.tanh()

    def forward(self, maps: Tensor) -> Tensor:
        """Score the output of :meth:`maps`: (B, 1, *smaller), high for maps of the teacher."""
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            maps = attention(block(_at_least(maps, 2)))
        scores: Tensor = self.last(_at_least(maps, 4))
        return scores


class SelfAttention(nn.Module):
    """``x + gate * softmax(q^T k) v`` over all positions; the learnable gate starts at 0."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, dims]
        narrow = max(1, channels // 8)
        self.query = convolution(channels, narrow, kernel_size=1)
        self.key = convolution(channels, narrow, kernel_size=1)
        self.value = convolution(channels, channels, kernel_size=1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Mix features (B, C, *spatial) over positions."""
        query, key, value = (
            layer(features).flatten(2) for layer in (self.query, self.key, self.value)
        )
        # Written out: fused attention kernels have no second derivative for the penalty.
        attention = (query.mT @ key).softmax(-1)
        mixed: Tensor = (value @ attention.mT).view_as(features)
        return features + self.gate * mixed


def discriminator_loss(
    discriminator: Discriminator,
    student_logits: Tensor,
    teacher_logits: Tensor,
    kind: AdversarialLoss = "wgan_gp",
    penalty: float = 10.0,
) -> Tensor:
    """Return the loss of the discriminator's step, always in float32 or float64.

    ``wgan_gp``: ``E[D(S)] - E[D(T)] + penalty * E[(|grad D| - 1)^2]``, see
    :func:`gradient_penalty`; the gradient is then bounded twice, by the penalty and by the
    spectral norm, as in the authors' code. ``hinge``: ``E[relu(1 - D(T))] + E[relu(1 + D(S))]``,
    bounded by the spectral norm alone. Expectations are means over batch and score map.

    Parameters
    ----------
    discriminator
        The only network that receives a gradient.
    student_logits, teacher_logits
        (B, K, *spatial), equal shapes.
    kind
        Which of the two losses.
    penalty
        Weight of the gradient penalty of ``wgan_gp``.
    """
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = (
            discriminator.maps(_at_least_float32(logits.detach()))
            for logits in (student_logits, teacher_logits)
        )
        of_student: Tensor = discriminator(student)
        of_teacher: Tensor = discriminator(teacher)
        if kind == "hinge":
            return (1 - of_teacher).relu().mean() + (1 + of_student).relu().mean()
        distance = of_student.mean() - of_teacher.mean()
        return distance + penalty * gradient_penalty(discriminator, student, teacher)


def gradient_penalty(discriminator: Discriminator, student: Tensor, teacher: Tensor) -> Tensor:
    """``E[(|grad D(z)|_2 - 1)^2]`` at random points z between the maps of student and teacher.

    ``z = alpha T + (1 - alpha) S`` with one alpha from U(0, 1) per sample. Design choices: z is
    interpolated between the squashed maps, the input of D, and the gradient is that of the mean
    score, so that the penalty does not depend on the size of the image.
    """
    with torch.autocast(student.device.type, enabled=False):
        alpha = torch.rand(len(student), *[1] * (student.ndim - 1)).to(student)
        between = (alpha * teacher + (1 - alpha) * student).detach().requires_grad_()
        scores = discriminator(between).flatten(1).mean(1)
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        # The norm is not differentiable at exactly 0; the smallest offset makes it so.
        length = (slope.flatten(1).square().sum(1) + torch.finfo(slope.dtype).tiny).sqrt()
        return (length - 1).square().mean()


def adversarial_loss(discriminator: Discriminator, student_logits: Tensor) -> Tensor:
    """Return the student's (generator) loss ``-E[D(S)]``, for both kinds of loss.

    The discriminator receives no gradient, and its buffers do not change.
    """
    with torch.autocast(student_logits.device.type, enabled=False), _frozen(discriminator):
        maps = discriminator.maps(_at_least_float32(student_logits))
        scores: Tensor = discriminator(maps)
        return -scores.mean()


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    # Evaluation mode stops the power iteration of the spectral norm. Only parameters are
    # toggled: the vectors of the norm are buffers and must never become trainable.
    training = module.training
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        module.train(training)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _at_least(maps: Tensor, smallest: int) -> Tensor:
    missing = [max(0, smallest - length) for length in reversed(maps.shape[2:])]
    if not any(missing):
        return maps
    return pad(maps, [side for m in missing for side in (m // 2, m - m // 2)])


#: Channels of the first block. In 3D, which was not published, 64 would mean 11 M parameters.
WIDTHS = {2: 64, 3: 16}


class Adversary:
    """A discriminator and the state of its training.

    It is not among the method's saved modules: it is needed to resume a run, not afterwards.

    Parameters
    ----------
    options
        Kind of loss, learning rate, penalty.
    classes, dims
        Channels and spatial axes of the logits.
    steps
        Length of the run, over which the learning rate falls as ``(1 - t / T)^0.9``.
    """

    def __init__(self, options: AdversarialOptions, classes: int, dims: int, steps: int) -> None:
        self.options = options
        width = options.width or WIDTHS[dims]
        self.discriminator = Discriminator(classes, dims, width, options.squash)
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(), options.learning_rate, betas=(0.9, 0.99)
        )
        self.schedule = torch.optim.lr_scheduler.PolynomialLR(self.optimiser, steps, 0.9)

    def loss(self, student_logits: Tensor) -> Tensor:
        """Return the student's loss term, ``-E[D(S)]``."""
        return adversarial_loss(self.discriminator, student_logits)

    def step(self, student_logits: Tensor, teacher_logits: Tensor) -> float:
        """Train the discriminator for one step on the student's current batch."""
        loss = discriminator_loss(
            self.discriminator,
            student_logits,
            teacher_logits,
            self.options.loss,
            self.options.penalty,
        )
        if not loss.isfinite():
            raise FloatingPointError("The loss of the discriminator became infinite or NaN.")
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the discriminator, its optimiser and its schedule."""
        parts = (self.discriminator, self.optimiser, self.schedule)
        return {type(part).__name__: part.state_dict() for part in parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of :meth:`state_dict`."""
        for part in (self.discriminator, self.optimiser, self.schedule):
            part.load_state_dict(state[type(part).__name__])
