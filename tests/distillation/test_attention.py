"""The attention transfer loss against a loop written from its formula, and its properties."""

import pytest
import torch

from napari_graphflow.distillation.attention import attention_loss, attention_map
from napari_graphflow.errors import UserError


def features(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)], ids=["2d", "3d"])
def test_attention_loss_agrees_with_a_slow_loop_for_unequal_channels(size):
    student, teacher = features(2, 3, *size), features(2, 7, *size, seed=1)
    expected = 0.0
    for b in range(2):
        directions = []
        for tap in (student, teacher):
            q = [sum(v * v for v in column) for column in tap[b].flatten(1).T.tolist()]
            norm = sum(v * v for v in q) ** 0.5
            directions.append([v / norm for v in q])
        expected += sum((s - t) ** 2 for s, t in zip(*directions, strict=True)) / 2
    assert attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_attention_loss_depends_on_the_pattern_only():
    teacher = features(2, 4, 6, 6)
    assert attention_loss(-3 * teacher.flip(1), teacher).item() == pytest.approx(0, abs=1e-12)
    apart = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    apart[0][..., 0, 0], apart[1][..., 1, 1] = 5, 1
    assert attention_loss(*apart).item() == pytest.approx(2)
    assert attention_map(teacher).shape == (2, 6, 6)


def test_larger_attention_maps_are_averaged_down():
    small = features(1, 3, 4, 6)
    large = small.repeat_interleave(2, 2).repeat_interleave(3, 3)
    for student, teacher in ((small, large), (large, small)):
        assert attention_loss(student, teacher).item() == pytest.approx(0, abs=1e-12)


def test_attention_gradients_reach_the_student_only_and_are_finite_for_dead_maps():
    student, teacher = features(2, 3, 4, 4).requires_grad_(), features(2, 3, 4, 4, seed=2)
    teacher.requires_grad_()
    attention_loss(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None
    dead = torch.zeros(1, 2, 4, 4, requires_grad=True)
    attention_loss(dead, torch.rand(1, 2, 4, 4)).backward()
    assert dead.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_loss_does_not_overflow_in_half_precision(dtype):
    student = (300 * features(1, 3, 4, 4)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = attention_loss(student, (300 * features(1, 3, 4, 4, seed=3)).to(dtype))
    loss.backward()
    assert loss.isfinite()
    assert 0 < loss.item() < 2
    assert student.grad.isfinite().all()


def test_incompatible_taps_are_refused():
    with pytest.raises(UserError, match="shape") as caught:
        attention_loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    assert "same batch" in caught.value.remedy
    with pytest.raises(UserError, match="shape"):
        attention_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, 4))
