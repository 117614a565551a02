"""Properties of the EMKD losses for random features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.distillation.emkd.losses import (
    affinity_matrix,
    focal_dice_loss,
    importance_maps_loss,
    prediction_maps_loss,
    region_affinity_loss,
    region_vectors,
    region_weights,
)
from napari_graphflow.imaging.labels import IGNORE

seeds = st.integers(0, 10_000)
dimensions = st.integers(2, 3)
masks = pytest.mark.parametrize("masks", ["nearest", "area"])


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def case(seed=0, dims=2, batch=2, classes=3):
    """One tap per network, and labels at twice their size with every class in every image."""
    size = (4, 6, 2)[:dims]
    generator = torch.Generator().manual_seed(seed + 2)
    labels = torch.randint(0, classes, (batch, *[2 * n for n in size]), generator=generator)
    for label in range(classes):  # one whole cell each
        labels[:, :2, 2 * label : 2 * label + 2] = label
    return random(batch, 3, *size, seed=seed), random(batch, 5, *size, seed=seed + 1), labels


def near(value, tolerance=1e-10):
    return pytest.approx(value, rel=tolerance, abs=tolerance)


# Prediction maps


@given(seed=seeds, dims=dimensions, classes=st.integers(2, 5))
def test_prediction_maps_loss_is_invariant_to_a_constant_per_pixel(seed, dims, classes):
    teacher = random(2, classes, *(3, 4, 2)[:dims], seed=seed)
    shifted = teacher + random(2, 1, *(3, 4, 2)[:dims], seed=seed + 1)
    assert prediction_maps_loss(shifted, teacher).item() == near(0, 1e-12)
    other = random(2, classes, *(3, 4, 2)[:dims], seed=seed + 2)
    loss = prediction_maps_loss(other, teacher).item()
    assert loss > 0
    assert prediction_maps_loss(other, teacher.log_softmax(1)).item() == near(loss)


@given(seed=seeds, classes=st.integers(2, 5))
def test_prediction_maps_loss_at_high_temperature_is_half_the_variance_over_classes(seed, classes):
    student, teacher = random(2, classes, 3, 4, seed=seed), random(2, classes, 3, 4, seed=seed + 1)
    limit = (student - teacher).var(1, unbiased=False).mean() / 2
    # The remainder falls with tau, and for two classes with its square.
    rest = 1e-5 if classes == 2 else 1e-2
    assert prediction_maps_loss(student, teacher, 1000).item() == pytest.approx(limit.item(), rest)
    if classes == 2:
        differences = [z[:, 1] - z[:, 0] for z in (student, teacher)]
        eighth = (differences[0] - differences[1]).square().mean() / 8
        assert limit.item() == near(eighth.item())


def test_prediction_maps_gradient_is_the_difference_of_the_soft_labels():
    student, teacher = random(2, 3, 4, 5).requires_grad_(), random(2, 3, 4, 5, seed=1)
    prediction_maps_loss(student, teacher, 4).backward()
    soft = [(z.detach() / 4).softmax(1) for z in (student, teacher)]
    torch.testing.assert_close(student.grad, 4 / (2 * 4 * 5) * (soft[0] - soft[1]))
    torch.testing.assert_close(student.grad.sum(1), torch.zeros(2, 4, 5).double())


# Importance maps


@given(seed=seeds, dims=dimensions, power=st.sampled_from([1, 2, 4]))
def test_importance_maps_loss_depends_on_the_location_of_importance_only(seed, dims, power):
    student, teacher, _ = case(seed, dims)
    loss = importance_maps_loss(student, teacher, power).item()
    assert 0 <= loss <= 2
    maps = [f.abs().pow(power).sum(1).flatten(1) for f in (student, teacher)]
    cosine = torch.nn.functional.cosine_similarity(*maps)
    assert loss == near((2 - 2 * cosine).mean().item(), 1e-9)
    scale = torch.tensor([1e-3, -70.0]).double().view(2, *[1] * (dims + 1))
    signs = random(*student.shape, seed=seed + 5).sign()
    for same in (scale * student, student.flip(1), torch.cat([student] * 2, 1), signs * student):
        assert importance_maps_loss(same, teacher, power).item() == near(loss)
        assert importance_maps_loss(teacher, same, power).item() == near(loss)
    assert importance_maps_loss(student, -2 * student.flip(1), power).item() == near(0, 1e-12)


def test_importance_maps_loss_of_disjoint_maps_is_two():
    student, teacher = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    student[..., :2, :], teacher[..., 2:, :] = 3, 5
    assert importance_maps_loss(student, teacher).item() == pytest.approx(2)


@pytest.mark.parametrize("power", [1, 2, 4])
def test_importance_maps_loss_of_a_dead_student_is_one_with_a_finite_gradient(power):
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = importance_maps_loss(student, random(2, 5, 4, 4).float(), power)
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert student.grad.isfinite().all()


def test_scaling_before_the_power_does_not_change_the_gradient():
    student, teacher = random(2, 3, 4, 4).requires_grad_(), random(2, 5, 4, 4, seed=1)
    importance_maps_loss(student, teacher).backward()
    again = student.detach().clone().requires_grad_()
    maps = [f.pow(4).sum(1).flatten(1) for f in (again, teacher)]
    (2 - 2 * torch.nn.functional.cosine_similarity(*maps)).mean().backward()
    torch.testing.assert_close(student.grad, again.grad)


@pytest.mark.parametrize("resize", ["maps", "features"])
def test_importance_maps_loss_compares_taps_of_different_sizes(resize):
    small = random(1, 3, 4, 6)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    loss = importance_maps_loss(large, small, resize=resize)
    assert loss.item() == near(0, 1e-12)
    assert 0 < importance_maps_loss(small, random(1, 3, 8, 12), resize=resize).item() < 2


# Affinity of regions


@masks
@given(seed=seeds, dims=dimensions)
def test_region_affinity_loss_depends_on_the_angles_between_regions_only(masks, seed, dims):
    student, teacher, labels = case(seed, dims)
    loss = region_affinity_loss(student, teacher, labels, 3, masks).item()
    assert 0 < loss <= 4
    assert region_affinity_loss(student.relu(), teacher.relu(), labels, 3, masks) <= 1
    scale = torch.tensor([1e-4, 30.0]).double().view(2, *[1] * (dims + 1))
    rotation = torch.linalg.qr(random(3, 3, seed=seed + 7)).Q
    rotated = torch.einsum("ck,bk...->bc...", rotation, student)
    padded = torch.cat([student, torch.zeros_like(student)], 1)
    for same in (scale * student, rotated, padded):
        assert region_affinity_loss(same, teacher, labels, 3, masks).item() == near(loss)
        assert region_affinity_loss(teacher, same, labels, 3, masks).item() == near(loss)
    twice = [torch.cat([x, x], -1) for x in (student, teacher, labels)]
    assert region_affinity_loss(*twice, 3, masks).item() == near(loss)
    renamed = torch.tensor([2, 0, 1])[labels]
    assert region_affinity_loss(student, teacher, renamed, 3, masks).item() == near(loss)
    assert region_affinity_loss(student, 5 * student, labels, 3, masks).item() == near(0, 1e-12)


@given(seed=seeds, present=st.sets(st.integers(0, 3), min_size=2))
def test_paper_reduction_never_exceeds_pairs_reduction(seed, present):
    student, teacher, labels = case(seed, batch=1, classes=4)
    labels = torch.where(torch.isin(labels, torch.tensor(sorted(present))), labels, IGNORE)
    pairs, paper = (
        region_affinity_loss(student, teacher, labels, 4, reduction=reduction).item()
        for reduction in ("pairs", "paper")
    )
    assert 0 < paper <= pairs + 1e-12


@masks
@given(seed=seeds)
def test_affinity_matrix_is_a_cosine_matrix(masks, seed):
    student, _, labels = case(seed)
    weights = region_weights(labels, 3, student.shape[2:], masks).double()
    matrix = affinity_matrix(region_vectors(student, weights))
    torch.testing.assert_close(matrix, matrix.mT)
    torch.testing.assert_close(matrix.diagonal(0, 1, 2), torch.ones(2, 3).double())
    assert torch.linalg.eigvalsh(matrix).min() > -1e-9
    assert matrix.abs().max() <= 1 + 1e-12
    active = affinity_matrix(region_vectors(student.relu(), weights))
    assert active.min() >= 0
    sums = weights.flatten(2) @ student.flatten(2).mT
    torch.testing.assert_close(affinity_matrix(sums), matrix)


def test_region_affinity_loss_is_invariant_to_permuting_pixels_inside_a_region():
    student, teacher, _ = case()
    labels = torch.zeros(2, 4, 6, dtype=torch.int64)
    labels[:, :2] = 1
    before = region_affinity_loss(student, teacher, labels, 2)
    for features in (student, teacher):
        features[:, :, :2] = features[:, :, :2].flip(2, 3).clone()
    assert region_affinity_loss(student, teacher, labels, 2).item() == near(before.item())


@masks
@given(seed=seeds)
def test_images_without_a_region_do_not_change_the_loss_and_receive_no_gradient(masks, seed):
    student, teacher, labels = case(seed, classes=2)
    loss = region_affinity_loss(student, teacher, labels, 2, masks).item()
    more = [torch.cat([x, random(*x.shape, seed=seed + 9)]) for x in (student, teacher)]
    for empty in (0, 1, IGNORE):
        every = torch.cat([labels, torch.full_like(labels, empty)])
        features = more[0].clone().requires_grad_()
        found = region_affinity_loss(features, more[1], every, 2, masks)
        found.backward()
        assert found.item() == near(loss)
        assert not features.grad[2:].any()
        assert features.grad.isfinite().all()
        counted = region_affinity_loss(*more, every, 2, masks, absent="count")
        assert counted.item() == near(loss / 2)  # as the authors' code does


@masks
@pytest.mark.parametrize("value", [0, 1, IGNORE])
@pytest.mark.parametrize("absent", ["skip", "count"])
def test_region_affinity_loss_of_a_single_region_is_zero(masks, value, absent):
    student, teacher, labels = case(batch=1)
    student.requires_grad_()
    alone = torch.full_like(labels, value)
    loss = region_affinity_loss(student, teacher, alone, 3, masks, absent=absent)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_ignored_pixels_do_not_belong_to_any_region():
    student, teacher, labels = case()
    labels[:, :, :4] = IGNORE
    student.requires_grad_()
    loss = region_affinity_loss(student, teacher, labels, 3)
    loss.backward()
    assert not student.grad[:, :, :, :2].any()
    cut = region_affinity_loss(student[..., 2:], teacher[..., 2:], labels[:, :, 4:], 3)
    assert loss.item() == near(cut.item())


def test_region_affinity_gradient_is_uniform_inside_a_region_and_orthogonal_to_its_vector():
    student, teacher, _ = case()
    student.requires_grad_()
    labels = torch.full((2, 4, 6), IGNORE)
    labels[:, 0], labels[:, 1:3] = 0, 1
    region_affinity_loss(student, teacher, labels, 2, "nearest").backward()
    weights = region_weights(labels, 2, (4, 6), "nearest").double()
    vectors = region_vectors(student.detach(), weights).requires_grad_()
    theirs = affinity_matrix(region_vectors(teacher, weights))
    (affinity_matrix(vectors) - theirs)[:, 0, 1].square().mean().backward()
    for label, rows in ((0, slice(0, 1)), (1, slice(1, 3))):
        inside = student.grad[:, :, rows].flatten(2)
        assert inside.any()
        torch.testing.assert_close(inside, inside[..., :1].expand_as(inside))
        torch.testing.assert_close(inside[..., 0] * inside.shape[-1], vectors.grad[:, label])
        along = (inside[..., 0] * vectors[:, label].detach()).sum(1)
        torch.testing.assert_close(along, torch.zeros(2).double())
    assert not student.grad[:, :, 3].any()


def test_dead_region_receives_no_large_gradient():
    """Its direction would be rounding noise, and its gradient a division by zero."""
    student, teacher, labels = case(batch=1, classes=2)
    student = student.relu()
    student[(labels[:, ::2, ::2] == 1)[:, None].expand_as(student)] = 0
    labels = labels[:, ::2, ::2]
    for value in (0.0, 1e-12):
        almost = (student + value).requires_grad_()
        loss = region_affinity_loss(almost, teacher, labels, 2)
        loss.backward()
        assert loss.isfinite()
        assert not almost.grad.isnan().any()
        assert almost.grad.abs().max() < 10


# Precision and range


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_emkd_losses_in_half_precision_agree_with_float64(dtype):
    student, teacher, labels = (x.to(dtype) if x.is_floating_point() else x for x in case())
    logits = random(2, 3, 8, 12, seed=4).to(dtype)
    student, logits = (100 * student).requires_grad_(), (10 * logits).requires_grad_()
    teacher = 100 * teacher

    def losses(a, b, z):
        return (
            importance_maps_loss(a, b),
            region_affinity_loss(a, b, labels, 3),
            prediction_maps_loss(z, z.detach().flip(1)),
        )

    with torch.autocast("cpu", dtype=dtype):
        found = losses(student, teacher, logits)
    many = torch.zeros(2, 2, 512, 512, dtype=dtype)  # their sum overflows float16
    ones = torch.ones(2, 512, 512, dtype=torch.int64)
    assert focal_dice_loss(many, ones).item() == pytest.approx(
        focal_dice_loss(many.double(), ones).item(), rel=1e-4
    )
    assert all(loss.dtype == torch.float32 for loss in found)
    exact = losses(student.detach().double(), teacher.double(), logits.detach().double())
    for loss, value in zip(found, exact, strict=True):
        assert loss.item() == pytest.approx(value.item(), rel=1e-4)
    torch.stack(found).sum().backward()
    assert student.grad.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_emkd_losses_are_invariant_to_extreme_feature_scales(size):
    student, teacher, labels = (x.float() if x.is_floating_point() else x for x in case())
    for loss in (
        importance_maps_loss,
        lambda a, b: region_affinity_loss(a, b, labels, 3),
    ):
        expected = loss(student, teacher).item()
        assert loss(size * student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_emkd_losses_pass_no_gradient_to_the_teacher():
    student, teacher, labels = case()
    student.requires_grad_(), teacher.requires_grad_()
    loss = importance_maps_loss(student, teacher)
    (loss + region_affinity_loss(student, teacher, labels, 3)).backward()
    assert student.grad.any()
    assert teacher.grad is None
