"""The logits distillation loss against a loop written from its formula, and its properties."""

import itertools
import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.distillation.logits import certainty, logits_loss, teacher_weights
from napari_graphflow.errors import UserError

SIZES = [pytest.param((3, 4), id="2d"), pytest.param((2, 3, 4), id="3d")]


def logits(size, seed, batch=2, classes=3):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)


def slow_loss(student, teacher, temperature, mask):
    def softmax(values):
        values = [math.exp(v / temperature) for v in values]
        return [v / sum(values) for v in values]

    total, count = 0.0, 0
    for at in product(*map(range, mask.shape)):
        if mask[at]:
            p = softmax(teacher[(at[0], slice(None), *at[1:])].tolist())
            q = softmax(student[(at[0], slice(None), *at[1:])].tolist())
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            count += 1
    return temperature**2 * total / count


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_logits_loss_agrees_with_a_slow_loop(size, temperature):
    student, teacher = logits(size, 0), logits(size, 1)
    whole = torch.ones(2, *size, dtype=torch.bool)
    expected = slow_loss(student, teacher, temperature, whole)
    assert logits_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-10)
    part = torch.rand(2, *size, generator=torch.Generator().manual_seed(2)) < 0.5
    assert 0 < part.sum() < part.numel()
    expected = slow_loss(student, teacher, temperature, part)
    masked = logits_loss(student, teacher, temperature, part)
    assert masked.item() == pytest.approx(expected, rel=1e-10)


@given(seed=st.integers(0, 1000), dims=st.integers(2, 3), temperature=st.floats(0.5, 10))
def test_logits_loss_is_zero_iff_logits_are_equal_up_to_a_constant_per_pixel(
    seed, dims, temperature
):
    size = (3, 4, 2)[:dims]
    teacher = logits(size, seed) / 3
    constant = logits(size, seed + 1, classes=1)
    assert abs(logits_loss(teacher + constant, teacher, temperature).item()) < 1e-12
    changed = teacher.clone()
    changed[(0, 1, *[0] * dims)] += 1.0
    assert logits_loss(changed, teacher, temperature).item() > 1e-9


@pytest.mark.parametrize("size", SIZES)
def test_logits_loss_is_a_mean_over_pixels(size):
    student, teacher = logits(size, 3), logits(size, 4)
    tiles = (1, 1, *[2] * len(size))
    once = logits_loss(student, teacher)
    tiled = logits_loss(student.tile(tiles), teacher.tile(tiles))
    assert tiled.item() == pytest.approx(once.item(), rel=1e-12)
    doubled = logits_loss(torch.cat([student] * 2), torch.cat([teacher] * 2))
    assert doubled.item() == pytest.approx(once.item(), rel=1e-12)


def test_masked_pixels_and_the_teacher_receive_no_gradient():
    student, teacher = logits((4, 4), 5).requires_grad_(), logits((4, 4), 6).requires_grad_()
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    logits_loss(student, teacher, weight=mask).backward()
    assert teacher.grad is None
    assert not student.grad[:, :, 2:].any()
    assert student.grad[:, :, :2].all()


def test_weighted_logits_loss_is_the_weighted_mean():
    student, teacher = logits((4, 4), 20), logits((4, 4), 21)
    torch.manual_seed(22)
    weight = torch.rand(2, 4, 4, dtype=torch.float64)
    each = []
    for b, y, x in itertools.product(range(2), range(4), range(4)):
        pixel = (b, slice(None), y, x)
        one = logits_loss(student[pixel][None, :, None], teacher[pixel][None, :, None])
        each.append(weight[b, y, x] * one)
    expected = torch.stack(each).sum() / weight.sum()
    assert logits_loss(student, teacher, weight=weight).item() == pytest.approx(expected.item())


def test_certainty_is_one_for_a_confident_teacher_and_zero_for_a_uniform_one():
    sure = torch.tensor([40.0, 0, 0, 0]).view(1, 4, 1)
    torch.testing.assert_close(certainty(sure), torch.ones(1, 1))
    torch.testing.assert_close(certainty(torch.zeros(1, 4, 1)), torch.zeros(1, 1))
    # Two of four classes equally likely: 1 - log 2 / log 4.
    halves = torch.tensor([0, 0, -80.0, -80.0]).view(1, 4, 1)
    torch.testing.assert_close(certainty(halves), torch.full((1, 1), 0.5))


@pytest.mark.parametrize("by_certainty", [False, True])
def test_teacher_weights_cover_annotated_pixels_and_unlabelled_images(by_certainty):
    annotated = torch.tensor([[True, False, True]])
    unlabelled = torch.tensor([[[9.0, 0, 1], [0, 0, 0]]])
    weights = teacher_weights(annotated, unlabelled, by_certainty)
    assert weights[0].tolist() == [1, 0, 1]
    expected = certainty(unlabelled)[0] if by_certainty else torch.ones(3)
    torch.testing.assert_close(weights[1], expected)


def test_unlabelled_pixels_below_the_confidence_have_weight_zero():
    annotated = torch.tensor([[True, False, True]])
    # Probabilities of the most probable of two classes: 0.9, 0.6, 0.75.
    unlabelled = torch.tensor([[[9.0, 2, 1], [1, 3, 3]]]).log()
    assert teacher_weights(annotated, unlabelled, False, 0.7)[1].tolist() == [1, 0, 1]
    sure = teacher_weights(annotated, unlabelled, True, 0.7)
    assert sure[0].tolist() == [1, 0, 1]
    torch.testing.assert_close(sure[1], certainty(unlabelled)[0] * torch.tensor([1, 0, 1]))


def test_logits_loss_with_an_empty_mask_is_zero():
    student, teacher = logits((4, 4), 7).requires_grad_(), logits((4, 4), 8)
    loss = logits_loss(student, teacher, weight=torch.zeros(2, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_logits_loss_gradients_agree_with_finite_differences():
    teacher = logits((2, 2), 9)
    assert torch.autograd.gradcheck(
        lambda student: logits_loss(student, teacher), logits((2, 2), 10).requires_grad_()
    )


def test_logits_loss_at_large_temperature_matches_centred_logits():
    # tau^2 KL tends to the mean of (centred difference)^2 / (2 K): tau^2 keeps gradients alive.
    student, teacher = logits((5, 5), 11), logits((5, 5), 12)
    difference = (student - student.mean(1, True)) - (teacher - teacher.mean(1, True))
    limit = difference.square().sum(1).mean() / (2 * 3)
    assert logits_loss(student, teacher, 1000.0).item() == pytest.approx(limit.item(), rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_loss_of_half_precision_is_computed_in_float32(dtype):
    student, teacher = (1000 * logits((4, 4), seed).to(dtype) for seed in (13, 14))
    student.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = logits_loss(student, teacher, 1.0)
    assert loss.dtype == torch.float32
    expected = logits_loss(student.double(), teacher.double(), 1.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert student.grad.isfinite().all()


def test_teacher_outputs_of_inference_mode_are_accepted():
    student = logits((4, 4), 15).requires_grad_()
    with torch.inference_mode():
        teacher = logits((4, 4), 16) * 1
    logits_loss(student, teacher).backward()
    assert student.grad.any()


def test_incompatible_logits_are_refused():
    with pytest.raises(UserError, match="2 classes, the teacher 3") as caught:
        logits_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    assert "same classes" in caught.value.remedy
    with pytest.raises(UserError, match="shape"):
        logits_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
