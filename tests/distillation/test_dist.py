"""The DIST loss against numbers computed by hand and a slow loop, and its properties."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.distillation.dist import correlation, dist_loss
from napari_graphflow.errors import UserError

SIZES = [pytest.param((3, 4), id="2d"), pytest.param((2, 3, 4), id="3d")]


def logits(size, seed, batch=2, classes=3):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)


def of_pixels(*rows):
    """Return logits (1, K, 1, N) with these class probabilities of each pixel."""
    return torch.tensor(rows, dtype=torch.float64).T[None, :, None].log()


def pearson(a, b):
    a, b = ([v - sum(x) / len(x) for v in x] for x in (a, b))
    norms = [math.sqrt(sum(v * v for v in x)) for x in (a, b)]
    return sum(v * w for v, w in zip(a, b, strict=True)) / math.prod(norms)


def slow_loss(student, teacher, temperature, beta, gamma, mask):
    rows = []
    for values in (student, teacher):
        rows.append([])
        for at in product(*map(range, mask.shape)):
            if mask[at]:
                powers = [math.exp(v / temperature) for v in values[(at[0], slice(None), *at[1:])]]
                rows[-1].append([power / sum(powers) for power in powers])
    inter = [1 - pearson(s, t) for s, t in zip(*rows, strict=True)]
    columns = [list(zip(*some, strict=True)) for some in rows]
    intra = [1 - pearson(s, t) for s, t in zip(*columns, strict=True)]
    terms = beta * sum(inter) / len(inter), gamma * sum(intra) / len(intra)
    return temperature**2 * sum(terms)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize(("temperature", "beta", "gamma"), [(1, 1, 1), (4, 2, 0.5)])
def test_dist_loss_agrees_with_a_slow_loop(size, classes, temperature, beta, gamma):
    student, teacher = (logits(size, seed, classes=classes) for seed in (0, 1))
    whole = torch.ones(2, *size, dtype=torch.bool)
    found = dist_loss(student, teacher, temperature, beta, gamma)
    expected = slow_loss(student, teacher, temperature, beta, gamma, whole)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    part = torch.rand(2, *size, generator=torch.Generator().manual_seed(2)) < 0.5
    assert 0 < part.sum() < part.numel()
    found = dist_loss(student, teacher, temperature, beta, gamma, part)
    expected = slow_loss(student, teacher, temperature, beta, gamma, part)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_dist_loss_of_two_pixels_is_that_computed_by_hand():
    teacher = of_pixels([0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    student = of_pixels([0.7, 0.2, 0.1], [0.7, 0.2, 0.1])
    # Over classes: correlation 1 in the first pixel, -23/31 in the second. Over pixels: the
    # student is constant (correlation 0) in two classes, the teacher in the remaining one.
    inter, intra = (0 + 54 / 31) / 2, (1 + 0 + 1) / 3
    assert dist_loss(student, teacher).item() == pytest.approx(inter + intra, rel=1e-9)
    weighted = dist_loss(student, teacher, 1.0, 2.0, 3.0)
    assert weighted.item() == pytest.approx(2 * inter + 3 * intra, rel=1e-9)


def test_with_two_classes_only_the_correlation_over_pixels_counts():
    teacher = of_pixels([0.9, 0.1], [0.6, 0.4], [0.2, 0.8])
    student = of_pixels([0.4, 0.6], [0.3, 0.7], [0.1, 0.9])
    expected = 1 - pearson([0.9, 0.6, 0.2], [0.4, 0.3, 0.1])
    assert dist_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    # The most probable class of two pixels differs, for which the first term would be 2.
    assert dist_loss(student, teacher, beta=100).item() == pytest.approx(expected, rel=1e-9)
    assert dist_loss(student, teacher, gamma=0).item() == 0


@given(
    seed=st.integers(0, 1000),
    dims=st.integers(2, 3),
    classes=st.integers(2, 14),
    batch=st.integers(1, 3),
    confidence=st.floats(0.05, 1),
)
def test_dist_loss_is_zero_for_equal_or_less_confident_probabilities(
    seed, dims, classes, batch, confidence
):
    teacher = logits((4, 3, 2)[:dims], seed, batch, classes)
    assert abs(dist_loss(teacher.clone(), teacher).item()) < 1e-9
    less = confidence * teacher.softmax(1) + (1 - confidence) / classes
    assert abs(dist_loss(less.log(), teacher).item()) < 1e-9
    assert dist_loss(teacher.flip(-1), teacher).item() > 1e-3


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_correlation_is_invariant_to_shift_and_positive_scale_of_each_vector(seed, scale, shift):
    student, teacher = logits((3, 4), seed), logits((3, 4), seed + 1)
    each = torch.full((), 1 / 12, dtype=torch.float64)
    found = correlation(student, teacher, each, (2, 3))
    assert found.shape == (2, 3, 1, 1)
    changed = correlation(scale * student + shift, teacher / scale - shift, each, (2, 3))
    torch.testing.assert_close(changed, found, rtol=1e-9, atol=1e-9)
    flipped = correlation(-scale * student, teacher, each, (2, 3))
    torch.testing.assert_close(flipped, -found, rtol=1e-9, atol=1e-9)


def test_pixels_of_all_images_are_correlated_together():
    student, teacher = logits((3, 4), 3), logits((3, 4), 4)
    joined = [torch.cat(list(values), -1)[None] for values in (student, teacher)]
    assert dist_loss(student, teacher).item() == pytest.approx(dist_loss(*joined).item(), rel=1e-9)


def test_a_class_that_the_teacher_never_sees_counts_as_matched():
    teacher = logits((4, 4), 5, classes=4)
    teacher[:, 3] = -1000
    others = dist_loss(logits((4, 4), 6, classes=4), teacher, beta=0).item()
    assert 0 < others < 2 * 3 / 4
    assert abs(dist_loss(teacher.clone(), teacher).item()) < 1e-9


def test_masked_pixels_and_the_teacher_receive_no_gradient():
    student, teacher = logits((4, 4), 7), logits((4, 4), 8).requires_grad_()
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    student[:, :, 3] = math.nan
    student.requires_grad_()
    loss = dist_loss(student, teacher, weight=mask)
    loss.backward()
    kept = dist_loss(student.detach()[:, :, :2], teacher[:, :, :2])
    assert loss.item() == pytest.approx(kept.item(), rel=1e-9)
    assert teacher.grad is None
    assert not student.grad[:, :, 2:].any()
    assert student.grad[:, :, :2].all()


def test_dist_loss_with_an_empty_mask_is_zero():
    student, teacher = logits((4, 4), 9).requires_grad_(), logits((4, 4), 10)
    loss = dist_loss(student, teacher, weight=torch.zeros(2, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [2, 3])
def test_dist_loss_gradients_agree_with_finite_differences(size, classes):
    teacher = logits(size, 11, 1, classes)
    weight = torch.rand(1, *size, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(
        lambda student: dist_loss(student, teacher, 2.0, 1.0, 3.0, weight),
        logits(size, 12, 1, classes).requires_grad_(),
    )


@pytest.mark.parametrize("classes", range(2, 15))
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
def test_gradients_are_finite_in_single_precision_for_extreme_logits(classes, scale):
    for student_scale, teacher_scale in product((scale, 1.0), repeat=2):
        student = (student_scale * logits((4, 4), 13, 1, classes)).float().requires_grad_()
        loss = dist_loss(student, (teacher_scale * logits((4, 4), 14, 1, classes)).float())
        loss.backward()
        assert -1e-5 < loss.item() < 4 + 1e-5
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dist_loss_of_half_precision_is_computed_in_float32(dtype):
    student, teacher = (10 * logits((4, 4), seed).to(dtype) for seed in (15, 16))
    student.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = dist_loss(student, teacher)
    assert loss.dtype == torch.float32
    expected = dist_loss(student.double(), teacher.double())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert student.grad.isfinite().all()


def test_incompatible_logits_are_refused():
    with pytest.raises(UserError, match="2 classes, the teacher 3"):
        dist_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(UserError, match="shape"):
        dist_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
