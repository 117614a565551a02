"""Attention transfer (AT), a baseline: the student looks where the teacher looks.

Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of
Convolutional Neural Networks via Attention Transfer", ICLR 2017.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, normalize

from napari_graphflow.config.methods import AttentionOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, check_taps
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output


def attention_map(features: Tensor) -> Tensor:
    """Sum of squares over channels, ``Q[u] = sum_c X[c, u]^2``, (B, *spatial), at least float32."""
    return features.to(torch.promote_types(features.dtype, torch.float32)).square().sum(1)


def attention_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean over the batch of ``|Q_S / |Q_S| - Q_T / |Q_T||^2``, between 0 and 2.

    The squared distance is that of the authors' code up to the number of pixels over which the
    code averages; the text of the paper has the distance itself. Neither channels nor sizes of
    the two taps need to agree: maps are averaged down to the smaller size along every axis
    (design choice).

    Parameters
    ----------
    student_features, teacher_features
        (B, C, H, W) or (B, C, D, H, W). Gradients reach the student only.

    Raises
    ------
    UserError
        If the number of images or of spatial axes differs.
    """
    shapes = [tuple(features.shape) for features in (student_features, teacher_features)]
    if len(shapes[0]) != len(shapes[1]) or shapes[0][0] != shapes[1][0]:
        raise UserError(
            f"The student's tap has shape {shapes[0]}, the teacher's {shapes[1]}.",
            "Give two 2D or two 3D networks the same batch.",
        )
    size = [min(pair) for pair in zip(*(shape[2:] for shape in shapes), strict=True)]
    student = _direction(student_features, size)
    teacher = _direction(teacher_features.detach(), size)
    return (student - teacher).square().sum(1).mean()


def _direction(features: Tensor, size: list[int]) -> Tensor:
    pool: Callable[..., Tensor] = adaptive_avg_pool2d if len(size) == 2 else adaptive_avg_pool3d
    return normalize(pool(attention_map(features), size).flatten(1), eps=1e-8)


#: The encoder at stride 2, and at stride 8.
TAPS = ("lo", "hi")


class AttentionTransfer(Method):
    """The student looks where the teacher looks (Zagoruyko and Komodakis, ICLR 2017)."""

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        check_taps(shapes, TAPS)
        assert isinstance(config.method, AttentionOptions)
        self.weights = {"attention": config.method.weight}

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        losses = [attention_loss(student.taps[tap], teacher.taps[tap]) for tap in TAPS]
        return {"attention": torch.stack(losses).sum()}
