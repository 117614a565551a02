"""Graphs and cross distillation of the generalisable method: worked examples, identities."""

import math

import pytest
import torch
from torch import Tensor

from napari_graphflow.distillation.generalisable.losses import (
    cross_distillation_loss,
    dual_contrastive_graph_loss,
    inter_edges,
    inter_graph_loss,
    intra_edges,
    intra_graph_loss,
)
from napari_graphflow.errors import UserError

#: Worked example: anchor and three views of one image.
TEACHER = torch.tensor([[[1.0, 0], [1, 0], [0, 1], [-1, 0]]])
STUDENT = torch.tensor([[[1.0, 0]] * 4])


def codes(views: int = 4, length: int = 6, images: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(
        images, views + 1, length, generator=torch.Generator().manual_seed(seed)
    ).double()


def test_the_worked_example_of_three_views_has_the_values_computed_by_hand() -> None:
    intra, inter = dual_contrastive_graph_loss(STUDENT, TEACHER, temperature=1)
    assert intra.item() == pytest.approx(0.26622, abs=5e-6)
    assert inter.item() == pytest.approx(0.07396, abs=5e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, math.tanh(0.5)), (0.1, 10 * math.tanh(5))]
)
def test_two_opposite_edges_give_a_hyperbolic_tangent(temperature: float, expected: float) -> None:
    teacher = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])
    student = torch.tensor([[[1.0, 0], [0, 1], [1, 0]]])
    assert intra_graph_loss(student, teacher, temperature).item() == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize("edge_loss", ["kl", "mse"])
def test_the_order_of_the_views_does_not_matter(edge_loss: str) -> None:
    student, teacher, order = codes(), codes(seed=1), [0, 3, 1, 4, 2]
    expected = dual_contrastive_graph_loss(student, teacher, edge_loss=edge_loss)  # type: ignore[arg-type]
    permuted = dual_contrastive_graph_loss(
        student[:, order],
        teacher[:, order],
        edge_loss=edge_loss,  # type: ignore[arg-type]
    )
    torch.testing.assert_close(permuted, expected)


def test_codes_that_differ_by_length_direction_or_width_only_have_no_loss() -> None:
    teacher = codes(length=6)
    rotation = torch.linalg.qr(codes(length=9, images=1, views=8)[0]).Q[:6]  # (6, 9), orthonormal
    scaled = teacher * (0.1 + torch.rand(3, 5, 1))
    for student in (teacher, scaled, teacher @ rotation):
        for edge_loss in ("kl", "mse"):
            losses = dual_contrastive_graph_loss(student, teacher, edge_loss=edge_loss)  # type: ignore[arg-type]
            torch.testing.assert_close(torch.stack(losses), torch.zeros(2).double())


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_the_losses_lie_between_zero_and_four_by_the_temperature(temperature: float) -> None:
    for seed in range(10):
        losses = dual_contrastive_graph_loss(
            codes(seed=seed), codes(seed=seed + 99, length=2), temperature
        )
        assert all(0 <= loss.item() <= 4 / temperature for loss in losses)
    # The bound is nearly reached by edges of 1 and -1.
    intra = intra_graph_loss(
        torch.tensor([[[1.0, 0], [-1, 0], [1, 0]]]), TEACHER[:, [0, 1, 3]], temperature
    )
    assert intra.item() <= 2 / temperature + 1e-4


def test_the_gradient_of_the_edges_is_the_difference_of_the_probabilities() -> None:
    # With an anchor along one axis and unit views, the edge of a view is its first coordinate.
    student, tau = codes(images=1), 0.1
    student = torch.nn.functional.normalize(student, dim=-1).requires_grad_()
    teacher = codes(images=1, seed=1)
    edges = intra_edges(student)
    edges.retain_grad()
    own, target = (torch.softmax(e / tau, -1) for e in (edges, intra_edges(teacher)))
    (target * (target.log() - own.log())).sum().backward()  # type: ignore[no-untyped-call]
    expected = (own - target) / tau
    torch.testing.assert_close(edges.grad, expected.detach())
    assert edges.grad is not None
    assert edges.grad.sum().item() == pytest.approx(0, abs=1e-9)
    loss = intra_graph_loss(student, teacher, tau)
    gradient = torch.autograd.grad(loss, student)[0]
    by_hand = torch.autograd.grad(intra_edges(student), student, expected.detach())[0]
    torch.testing.assert_close(gradient, by_hand)


def test_a_common_offset_of_the_edges_counts_only_for_mse() -> None:
    def at(cosines: list[float]) -> Tensor:
        views = [[c, math.sqrt(1 - c * c)] for c in cosines]
        return torch.tensor([[[1.0, 0.0], *views]]).double()

    near, far = at([0.9, 0.8, 0.7]), at([0.5, 0.4, 0.3])
    assert intra_graph_loss(near, far).item() == pytest.approx(0, abs=1e-12)
    assert intra_graph_loss(near, far, edge_loss="mse").item() == pytest.approx(0.16)


def test_graphs_with_too_few_views_are_refused() -> None:
    with pytest.raises(UserError, match="1 views has nothing to compare; it needs at least 2"):
        intra_graph_loss(codes(views=1), codes(views=1))
    intra_graph_loss(codes(views=2), codes(views=2))
    with pytest.raises(UserError, match="2 views has nothing to compare; it needs at least 3"):
        inter_graph_loss(codes(views=2), codes(views=2))
    with pytest.raises(UserError, match="2 views"):
        dual_contrastive_graph_loss(codes(views=2), codes(views=2))


def test_codes_of_different_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"student's codes have shape \(3, 5, 6\)"):
        dual_contrastive_graph_loss(codes(), codes(images=2))


def test_a_code_of_zeros_gives_a_finite_loss_and_gradient() -> None:
    student = codes().mul(0).requires_grad_()
    torch.stack(dual_contrastive_graph_loss(student, codes(seed=1))).sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_only_the_student_receives_a_gradient() -> None:
    student, teacher = codes().requires_grad_(), codes(seed=1).requires_grad_()
    torch.stack(dual_contrastive_graph_loss(student, teacher)).sum().backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_edges_are_cosines_of_pairs_of_different_views() -> None:
    z = codes(views=3, images=2)
    expected = torch.nn.functional.cosine_similarity(z[:, :1], z[:, 1:], dim=-1)
    torch.testing.assert_close(intra_edges(z), expected)
    rows = inter_edges(z)
    for j in range(3):
        others = [k for k in range(3) if k != j]
        for place, k in enumerate(others):
            cosine = torch.nn.functional.cosine_similarity(z[:, 1 + j], z[:, 1 + k], dim=-1)
            torch.testing.assert_close(rows[:, j, place], cosine)


def test_cross_distillation_is_the_mean_of_two_divergences_computed_by_a_loop() -> None:
    p, q1, q2 = (
        torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(i)) for i in range(3)
    )

    def divergence(q: Tensor, t: float) -> float:
        total = 0.0
        for b in range(2):
            for y in range(4):
                for x in range(5):
                    a, c = (torch.softmax(z[b, :, y, x] / t, 0) for z in (p, q))
                    total += float((a * (a / c).log()).sum())
        return t * t * total / (2 * 4 * 5)

    for t in (1.0, 3.0):
        expected = (divergence(q1, t) + divergence(q2, t)) / 2
        assert cross_distillation_loss(p, q1, q2, t).item() == pytest.approx(expected, rel=1e-4)


def test_cross_distillation_is_zero_only_if_both_predict_as_the_teacher() -> None:
    p = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    other = p.flip(-1)
    # An offset of all classes does not change probabilities.
    assert cross_distillation_loss(p, p + 3, p).item() == pytest.approx(0, abs=1e-6)
    assert cross_distillation_loss(p, p, other).item() > 0.01
    assert cross_distillation_loss(p, other, p).item() > 0.01
