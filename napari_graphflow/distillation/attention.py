"""Attention transfer (AT), a baseline: the student matches the teacher's attention maps.

Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of
Convolutional Neural Networks via Attention Transfer", ICLR 2017.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from napari_graphflow.config.methods import AttentionOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, averaged, check_taps, common_size
from napari_graphflow.networks.taps import Output


def attention_map(features: Tensor) -> Tensor:
    """Sum squares over channels: ``Q[u] = sum_c X[c, u]^2``, (B, *spatial), at least float32."""
    return features.to(torch.promote_types(features.dtype, torch.float32)).square().sum(1)


def attention_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean over the batch of ``|Q_S / |Q_S| - Q_T / |Q_T||^2``, between 0 and 2.

    The squared distance is that of the authors' code up to the number of pixels over which the
    code averages; the text of the paper has the distance itself. The two taps may differ in
    channels and size: maps are averaged down to the smaller size along every axis (design choice).

    Parameters
    ----------
    student_features, teacher_features
        (B, C, H, W) or (B, C, D, H, W). Gradients reach the student only.

    Raises
    ------
    UserError
        If the number of images or of spatial axes differs.
    """
    size = common_size(student_features, teacher_features)
    student = _normalised_map(student_features, size)
    teacher = _normalised_map(teacher_features.detach(), size)
    return (student - teacher).square().sum(1).mean()


def _normalised_map(features: Tensor, size: list[int]) -> Tensor:
    return normalize(averaged(attention_map(features), size).flatten(1), eps=1e-8)


#: The encoder's feature maps at strides 2 and 8.
TAPS = ("lo", "hi")


class AttentionTransfer(Method):
    """Match the teacher's attention maps (Zagoruyko and Komodakis, ICLR 2017)."""

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        check_taps(shapes, TAPS)
        assert isinstance(config.method, AttentionOptions)
        self.weights = {"attention": config.method.weight}

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        losses = [attention_loss(student.taps[tap], teacher.taps[tap]) for tap in TAPS]
        return {"attention": torch.stack(losses).sum()}
