"""The discriminator: input sizes, spectral norm, and which network each loss trains."""

import pytest
import torch
from torch import nn

from napari_graphflow.distillation.graph_flow.adversarial import (
    Discriminator,
    SelfAttention,
    adversarial_loss,
    discriminator_loss,
    gradient_penalty,
)

KINDS = ["wgan_gp", "hinge"]
SIZES = [pytest.param((20, 16), id="2d"), pytest.param((9, 16, 12), id="3d")]


def pair(size, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, classes, *size, generator=generator) for _ in range(2)]


def small(dims, seed=0, **options):
    torch.manual_seed(seed)
    return Discriminator(3, dims, width=4, **options)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("size", "scores"), [((256, 256), (13, 13)), ((224, 224), (11, 11))])
def test_score_maps_have_the_published_sizes(size, scores):
    with torch.device("meta"):
        module = Discriminator(2)
        assert module(torch.empty(1, 2, *size)).shape == (1, 1, *scores)


@pytest.mark.parametrize(("classes", "millions"), [(2, 3.17), (9, 3.18)])
def test_discriminator_parameters_are_as_published(classes, millions):
    count = sum(p.numel() for p in Discriminator(classes).parameters())
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize(
    "size", [(64, 64), (33, 17), (1, 5), (32, 48, 32), (5, 20, 7), (1, 1, 1)], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_discriminator_losses_and_gradients_are_finite_for_any_size(size, kind):
    module = small(len(size))
    student, teacher = pair(size)
    loss = discriminator_loss(module, student, teacher, kind)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    student.requires_grad_()
    adversarial_loss(module, student).backward()
    assert student.grad.isfinite().all()
    assert student.grad.any()


def test_discriminator_layout():
    module = Discriminator(3)
    shapes = [block[0].weight.shape for block in module.blocks]
    assert shapes == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]
    assert [type(a) for a in module.attentions] == [nn.Identity] * 2 + [SelfAttention] * 2
    assert all(block[1].negative_slope == 0.1 for block in module.blocks)


def test_spectral_norm_bounds_every_block():
    module = small(2)
    with torch.no_grad():
        for block in module.blocks:
            block[0].parametrizations.weight.original.mul_(50)
    for _ in range(50):
        module(module.maps(pair((16, 16))[0]))
    for block in module.blocks:
        matrix = block[0].weight.detach().flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(("size", "dims"), [((3, 4), 2), ((2, 3, 2), 3)])
def test_self_attention_agrees_with_a_slow_loop(size, dims):
    torch.manual_seed(1)
    module = SelfAttention(8, dims)
    features = torch.randn(1, 8, *size)
    assert torch.equal(module(features), features), "the gate starts at 0"
    with torch.no_grad():
        module.gate.fill_(0.7)
    q, k, v = (
        layer(features)[0].detach().flatten(1) for layer in (module.query, module.key, module.value)
    )
    expected = features[0].flatten(1).clone()
    for i in range(expected.shape[1]):
        weights = torch.tensor([float(q[:, i] @ k[:, j]) for j in range(expected.shape[1])])
        weights = (weights - weights.max()).exp()
        weights = weights / weights.sum()
        expected[:, i] += 0.7 * sum(w * v[:, j] for j, w in enumerate(weights))
    assert torch.allclose(module(features)[0].flatten(1), expected, atol=1e-5)


def test_softmax_scores_are_invariant_to_a_constant_per_pixel_and_tanh_scores_are_not():
    logits = pair((16, 16))[0]
    shifted = logits + torch.randn(2, 1, 16, 16)
    for squash, same in (("softmax", True), ("tanh", False)):
        module = small(2, squash=squash).eval()
        scores = [module(module.maps(x)) for x in (logits, shifted)]
        assert torch.allclose(*scores, atol=1e-6) == same


# --- losses --------------------------------------------------------------------------------


class Linear(nn.Module):
    """A discriminator with a known slope: the weighted sum of its maps, as one score."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def maps(self, logits):
        return logits

    def forward(self, maps):
        return (self.weight * maps).flatten(1).sum(1).view(-1, 1, 1, 1)


def test_losses_of_a_linear_discriminator_by_hand():
    weight = torch.zeros(2, 3, 3, dtype=torch.float64)
    weight[0, 0, 0], weight[1, 2, 2] = 3.0, 4.0
    module = Linear(weight)
    student, teacher = torch.zeros(2, 2, 2, 3, 3, dtype=torch.float64).unbind()
    student[:, 0, 0, 0] = torch.tensor([1.0, 0.1])
    teacher[:, 1, 2, 2] = torch.tensor([2.0, -0.5])
    assert gradient_penalty(module, student, teacher).item() == pytest.approx((5 - 1) ** 2)
    distance = (3.0 + 0.3) / 2 - (8.0 - 2.0) / 2
    wgan = discriminator_loss(module, student, teacher, penalty=10.0)
    assert wgan.item() == pytest.approx(distance + 160)
    hinge = discriminator_loss(module, student, teacher, "hinge")
    assert hinge.item() == pytest.approx((0 + 3.0) / 2 + (4.0 + 1.3) / 2)
    assert adversarial_loss(module, student).item() == pytest.approx(-(3.0 + 0.3) / 2)
    # Double backward: d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|.
    gradient_penalty(module, student, teacher).backward()
    assert torch.allclose(module.weight.grad, 2 * (5 - 1) * weight / 5)


def test_gradient_penalty_is_evaluated_between_student_and_teacher():
    seen = []

    class Spy(Linear):
        def forward(self, maps):
            seen.append(maps.detach().clone())
            return super().forward(maps)

    torch.manual_seed(3)
    student, teacher = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    gradient_penalty(Spy(torch.ones(1, 2, 2)), student, teacher)
    points = seen[0].flatten(1)
    assert (points == points[:, :1]).all(), "one alpha per sample"
    assert 0 <= points.min() < 0.1
    assert 0.9 < points.max() <= 1
    assert len(points[:, 0].unique()) == 64


def test_gradient_penalty_of_a_zero_slope_has_a_finite_gradient():
    module = Linear(torch.zeros(1, 2, 2))
    gradient_penalty(module, torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)).backward()
    assert module.weight.grad.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
def test_gradient_penalty_agrees_with_finite_differences(size):
    module = small(len(size)).double().eval()
    maps = [module.maps(x.double()) for x in pair(size)]
    direction = torch.randn(2, 3, *size, dtype=torch.float64)

    def mean_scores(step):
        return module(maps[0] + step * direction).flatten(1).mean(1)

    point = maps[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(point).flatten(1).mean(1).sum(), point)
    along = (slope * direction).flatten(1).sum(1)
    assert torch.allclose(along, (mean_scores(1e-6) - mean_scores(-1e-6)) / 2e-6, rtol=1e-5)
    # Both ends are equal, so every point between them is the same and the penalty is known.
    expected = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    assert gradient_penalty(module, maps[0], maps[0]).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_adversarial_loss_trains_one_network_only(size, kind):
    module = small(len(size))
    student, teacher = (x.requires_grad_() for x in pair(size))
    discriminator_loss(module, student, teacher, kind).backward()
    assert student.grad is None
    assert teacher.grad is None
    assert any(p.grad.any() for p in module.parameters())

    module.zero_grad(set_to_none=True)
    before = state(module)
    adversarial_loss(module, student).backward()
    assert student.grad.any()
    assert all(p.grad is None for p in module.parameters())
    assert unchanged(module, before)
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_spectral_norm_vectors_are_never_trainable():
    module = small(2)
    vectors = {name for name, _ in module.named_buffers() if name.endswith(("_u", "_v"))}
    assert len(vectors) == 8
    module.requires_grad_(False).requires_grad_(True)
    student, teacher = pair((20, 16))
    adversarial_loss(module, student.requires_grad_())
    assert not any(buffer.requires_grad for buffer in module.buffers())
    assert not vectors & {name for name, _ in module.named_parameters()}
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    discriminator_loss(module, student, teacher).backward()
    before = state(module)
    optimiser.step()
    assert all(torch.equal(before[name], module.state_dict()[name]) for name in vectors)
    assert not unchanged(module, before)


def test_frozen_discriminator_parameters_stay_frozen():
    module = small(2).eval()
    module.last.requires_grad_(False)
    adversarial_loss(module, pair((20, 16))[0].requires_grad_()).backward()
    assert not any(p.requires_grad for p in module.last.parameters())
    assert all(p.requires_grad for p in module.blocks.parameters())
    assert not module.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_and_half_precision_logits_are_computed_in_float32(dtype, kind):
    module = small(2).eval()
    student, teacher = (100 * x.to(dtype) for x in pair((20, 16)))
    torch.manual_seed(4)
    with torch.autocast("cpu", dtype=dtype):
        loss = discriminator_loss(module, student, teacher, kind)
        student_loss = adversarial_loss(module, student.requires_grad_())
    torch.manual_seed(4)
    plain = discriminator_loss(module, student.float(), teacher.float(), kind)
    assert loss.dtype == student_loss.dtype == torch.float32
    assert loss.item() == plain.item()
    loss.backward()
    student_loss.backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_trained_discriminator_separates_teacher_from_student(kind):
    module = small(2)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(5)

    def batch():
        noise = torch.randn(2, 4, 3, 16, 16, generator=generator)
        noise[1, :, 0] += 3
        return noise.unbind()

    for _ in range(40):
        loss = discriminator_loss(module, *batch(), kind)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    student, teacher = batch()
    of_student, of_teacher = (module(module.maps(x)).flatten(1).mean(1) for x in (student, teacher))
    assert of_student.max() < of_teacher.min()
    student.requires_grad_()
    adversarial_loss(module, student).backward()
    with torch.no_grad():
        moved = student - 1.0 * student.grad / student.grad.abs().mean()
    assert adversarial_loss(module, moved) < adversarial_loss(module, student)
