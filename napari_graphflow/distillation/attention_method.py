"""Attention transfer as a method."""

import torch
from torch import Tensor

from napari_graphflow.config import DistillationConfig
from napari_graphflow.distillation import Method, check_taps
from napari_graphflow.distillation.attention import attention_loss
from napari_graphflow.networks import Output

#: The encoder at stride 2, and at stride 8.
TAPS = ("lo", "hi")


class AttentionTransfer(Method):
    """The student looks where the teacher looks (Zagoruyko and Komodakis, ICLR 2017)."""

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__(config)
        self.weights = {"attention": config.attention.weight}

    def build(self, student: Output, teacher: Output) -> None:
        check_taps(student, teacher, TAPS)

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        losses = [attention_loss(student.taps[tap], teacher.taps[tap]) for tap in TAPS]
        return {"attention": torch.stack(losses).sum()}
