"""The discriminator of a run with its optimiser: one step of its own after each of the student."""

from typing import Any

import torch
from torch import Tensor

from napari_graphflow.distillation.adversarial import (
    Discriminator,
    adversarial_loss,
    discriminator_loss,
)
from napari_graphflow.methods import AdversarialOptions

#: Channels of the first block. In 3D, which was not published, 64 would mean 11 M parameters.
WIDTHS = {2: 64, 3: 16}


class Adversary:
    """A discriminator and the state of its training.

    It is no part of the method's modules: it is needed to go on with a run, and by nobody after.

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
        """The student's term, ``-E[D(S)]``."""
        return adversarial_loss(self.discriminator, student_logits)

    def step(self, student_logits: Tensor, teacher_logits: Tensor) -> float:
        """Train the discriminator once on the batch that the student has just seen."""
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
        """Everything that the next step depends on."""
        parts = (self.discriminator, self.optimiser, self.schedule)
        return {type(part).__name__: part.state_dict() for part in parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for part in (self.discriminator, self.optimiser, self.schedule):
            part.load_state_dict(state[type(part).__name__])
