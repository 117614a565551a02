"""The Graph Flow loss against loops over the formula, a worked example, and its gradients."""

from itertools import product

import numpy as np
import pytest
import torch
from graph_flow_cases import (
    EDGES,
    NORMALISE,
    REDUCTIONS,
    SHAPES,
    VERTICES,
    slow_losses,
    slow_patch,
    taps,
    with_interior_peaks,
    worked_example,
)
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.distillation.graph_flow.loss import (
    edges,
    graph_flow_attributions,
    graph_flow_loss,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.paraphraser import Paraphraser
from napari_graphflow.distillation.graph_flow.salience import patch_positions, salience
from napari_graphflow.errors import UserError

# --- the formula, entry by entry -----------------------------------------------------------


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("vertex", VERTICES)
@pytest.mark.parametrize("mode", ["max", "abs"])
@pytest.mark.parametrize(
    ("shape", "patch"), [((2, 3, 4, 6), 3), ((1, 3, 3, 4, 5), (1, 3, 5))], ids=["2d", "3d"]
)
def test_losses_agree_with_the_slow_loop(shape, patch, mode, edge, vertex):
    student, teacher = taps(shape, 1), taps(shape, 2)
    expected = slow_losses(student, teacher, patch, mode, edge, vertex)
    graphs = [variation_graph(*pair, patch, mode, edge, vertex) for pair in (student, teacher)]
    losses = graph_flow_loss(*graphs, "paper_sum")
    assert [float(loss) for loss in losses] == pytest.approx(expected, rel=1e-10)


@given(
    size=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    sides=st.lists(st.sampled_from([1, 3, 5, 7]), min_size=3, max_size=3),
    mode=st.sampled_from(["max", "abs"]),
    seed=st.integers(0, 1000),
)
def test_salience_agrees_with_the_slow_loop_even_on_ties_and_small_maps(size, sides, mode, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few distinct values: most maps have several equal peaks, of which the first is taken.
    features = torch.randint(-2, 3, (2, 2, *size), generator=generator).double()
    patch = tuple(sides[: len(size)])
    patches, index = salience(features, patch, mode)
    for b, c in product(range(2), repeat=2):
        values, peak = slow_patch(features[b, c], patch, mode)
        assert tuple(int(i) for i in torch.unravel_index(index[b, c], tuple(size))) == peak
        assert patches[b, c].tolist() == values


# --- the worked example --------------------------------------------------------------------


def test_worked_example_patches_and_graphs():
    _, student, teacher = worked_example()
    centre, right = 4, 5
    assert edges(teacher.encoder_patches)[0].tolist() == [[5, 6], [6, 9]]
    assert edges(teacher.decoder_patches)[0].tolist() == [[17, 4], [4, 1]]
    assert edges(student.encoder_patches)[0].tolist() == [[1, 2], [2, 5]]
    assert edges(student.decoder_patches)[0].tolist() == [[10, 6], [6, 4]]
    assert teacher.edges[0].tolist() == [[12, -2], [-2, -8]]
    assert student.edges[0].tolist() == [[9, 4], [4, -1]]
    assert teacher.vertices[0][:, [centre, right]].tolist() == [[2, 0], [-2, 0]]
    assert student.vertices[0][:, [centre, right]].tolist() == [[2, 1], [0, -1]]
    others = [i for i in range(9) if i not in (centre, right)]
    assert not teacher.vertices[..., others].any()
    assert teacher.encoder_index.tolist() == [[1 * 5 + 1, 3 * 5 + 3]]
    assert student.decoder_index.tolist() == [[3 * 5 + 2, 2 * 5 + 2]]


def test_worked_example_losses_and_attributions():
    _, student, teacher = worked_example()
    vertex_loss, edge_loss = graph_flow_loss(student, teacher, "paper_sum")
    assert (vertex_loss.item(), edge_loss.item()) == (6, 130)
    assert (1e-5 * vertex_loss + 1e-9 * edge_loss).item() == pytest.approx(6.013e-5, rel=1e-12)
    per_vertex, per_edge = graph_flow_attributions(student, teacher, "paper_sum")
    assert per_vertex.tolist() == [[1, 5]]
    assert per_edge.tolist() == [[[9, 36], [36, 49]]]
    # The means of the dimensionless form, with an energy of 1.
    vertex_loss, edge_loss = graph_flow_loss(student, teacher, "dimensionless", energy=1.0)
    assert vertex_loss.item() == pytest.approx(1 / 3)
    assert edge_loss.item() == pytest.approx(32.5 / 9**2)


def test_worked_example_variants():
    _, student, teacher = worked_example(edge="gram_of_variation")
    assert teacher.edges[0].tolist() == [[4, -4], [-4, 4]]
    assert student.edges[0].tolist() == [[5, -1], [-1, 1]]
    assert graph_flow_loss(student, teacher, "paper_sum")[1].item() == 28
    _, student, teacher = worked_example(vertex="scalar")
    assert (teacher.vertices.tolist(), student.vertices.tolist()) == ([[4, 4]], [[5, 1]])
    assert graph_flow_loss(student, teacher, "paper_sum")[0].item() == 10
    _, student, teacher = worked_example(edge="cosine")
    assert teacher.edges[0, 0, 1].item() == pytest.approx(0.075715, abs=5e-7)
    assert student.edges[0, 0, 1].item() == pytest.approx(0.054256, abs=5e-7)
    assert graph_flow_loss(student, teacher, "paper_sum")[1].item() == pytest.approx(
        9.21e-4, abs=5e-7
    )


def test_worked_example_gradients():
    (encoder, decoder), student, teacher = worked_example(grad=True)
    vertex_loss, _ = graph_flow_loss(student, teacher, "paper_sum")
    to_encoder, to_decoder = torch.autograd.grad(
        vertex_loss, [student.encoder_patches, student.decoder_patches], retain_graph=True
    )
    assert to_decoder[0][:, [4, 5]].tolist() == [[0, 2], [4, -2]]
    assert torch.equal(to_encoder, -to_decoder)
    vertex_loss.backward()
    assert decoder.grad[0, 0, 3, 2:4].tolist() == [0, 2]
    assert decoder.grad[0, 1, 2, 2:4].tolist() == [4, -2]
    assert encoder.grad[0, 0, 2, 1:3].tolist() == [0, -2]
    assert int(encoder.grad.count_nonzero()) == int(decoder.grad.count_nonzero()) == 3


# --- gradients, precision ------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_gradients_reach_only_the_salient_values_of_the_student(shape, patch):
    student = taps(shape, 16, grad=True)
    wide = (shape[0], 7, *shape[2:])
    paraphraser = Paraphraser(7, shape[1], len(shape) - 2).double()
    raw = [tap.requires_grad_() for tap in taps(wide, 17)]
    teacher = variation_graph(*map(paraphraser.encode, raw), patch)
    graph = variation_graph(*student, patch)
    sum(graph_flow_loss(graph, teacher, "dimensionless", normalise="each")).backward()
    assert all(tap.grad is None for tap in raw)
    assert all(parameter.grad is None for parameter in paraphraser.parameters())
    for tap, index in zip(student, (graph.encoder_index, graph.decoder_index), strict=True):
        positions, inside = patch_positions(index, shape[2:], graph.patch)
        allowed = torch.zeros(*shape[:2], tap[0, 0].numel())
        allowed.scatter_add_(2, positions, inside.float())
        assert 0 < int(tap.grad.count_nonzero()) <= shape[0] * shape[1] * inside.shape[-1]
        assert torch.equal(tap.grad.flatten(2) != 0, allowed != 0)


def test_teacher_outputs_of_inference_mode_are_accepted():
    student, teacher = taps((2, 4, 8, 8), 18, grad=True), taps((2, 4, 8, 8), 19)
    with torch.inference_mode():
        frozen = variation_graph(*teacher, 3)
    sum(graph_flow_loss(variation_graph(*student, 3), frozen, "dimensionless")).backward()
    assert all(tap.grad.any() for tap in student)


@pytest.mark.parametrize(
    ("shape", "patch"), [((2, 4, 9, 9), 3), ((2, 3, 7, 7, 8), (1, 3, 3))], ids=["2d", "3d"]
)
def test_vertex_gradients_of_encoder_and_decoder_are_opposite(shape, patch):
    student = [tap.requires_grad_() for tap in with_interior_peaks(shape, 20)]
    graph = variation_graph(*student, patch)
    teacher = variation_graph(*taps(shape, 21), patch)
    vertex_loss, _ = graph_flow_loss(graph, teacher, "paper_sum")
    to_encoder, to_decoder = torch.autograd.grad(
        vertex_loss, [graph.encoder_patches, graph.decoder_patches], retain_graph=True
    )
    assert torch.equal(to_decoder, 2 * (graph.vertices - teacher.vertices))
    assert torch.equal(to_encoder, -to_decoder)
    vertex_loss.backward()
    in_maps = []
    for tap, index in zip(student, (graph.encoder_index, graph.decoder_index), strict=True):
        positions, inside = patch_positions(index, shape[2:], graph.patch)
        assert inside.all()
        in_maps.append(tap.grad.flatten(2).gather(2, positions))
    assert torch.equal(in_maps[0], -in_maps[1])
    assert torch.equal(in_maps[1], to_decoder)


@pytest.mark.parametrize("kinds", [*product(EDGES, VERTICES)], ids="-".join)
@pytest.mark.parametrize("normalise", NORMALISE)
@pytest.mark.parametrize(
    ("shape", "patch"), [((1, 3, 4, 5), 3), ((1, 2, 3, 4, 3), (1, 3, 3))], ids=["2d", "3d"]
)
def test_gradients_agree_with_finite_differences(shape, patch, kinds, normalise):
    edge, vertex = kinds
    teacher = variation_graph(*taps(shape, 25), patch, edge=edge, vertex=vertex)

    def losses(encoder, decoder):
        student = variation_graph(encoder, decoder, patch, edge=edge, vertex=vertex)
        return graph_flow_loss(student, teacher, "dimensionless", normalise=normalise)

    assert torch.autograd.gradcheck(losses, taps(shape, 26, grad=True), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("shape", [(2, 5, 9, 11), (2, 4, 5, 8, 7)], ids=["2d", "3d"])
def test_graph_flow_loss_is_computed_in_float32_inside_autocast(shape, edge, dtype):
    student, teacher = ([200 + tap for tap in taps(shape, seed)] for seed in (27, 28))
    student = [tap.to(dtype).requires_grad_() for tap in student]
    teacher = [tap.to(dtype) for tap in teacher]
    with torch.autocast("cpu", dtype=dtype):
        graphs = [variation_graph(*pair, 3, edge=edge) for pair in (student, teacher)]
        losses = graph_flow_loss(*graphs, "dimensionless", normalise="each")
        plain = graphs[0].encoder_patches.to(dtype)
        if dtype is torch.float16:
            assert (plain @ plain.mT).isinf().any(), "this test would not notice an overflow"
    assert graphs[0].edges.dtype == torch.float32
    exact = [
        variation_graph(*[tap.double() for tap in p], 3, edge=edge) for p in (student, teacher)
    ]
    expected = graph_flow_loss(*exact, "dimensionless", normalise="each")
    for loss, value in zip(losses, expected, strict=True):
        assert loss.isfinite()
        assert loss.item() == pytest.approx(value.item(), rel=2e-3)
    for gradient in torch.autograd.grad(sum(losses), student):
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("normalise", NORMALISE)
@pytest.mark.parametrize("edge", EDGES)
def test_losses_and_gradients_of_dead_and_flat_channels_are_finite(normalise, edge):
    student = [tap.float().detach() for tap in taps((2, 4, 8, 8), 35)]
    for tap in student:
        tap[:, 0] = 0
        tap[:, 1] = 0.1
        tap.requires_grad_()
    teacher = [tap.float() for tap in taps((2, 4, 8, 8), 36)]
    teacher[0][:, 2] = 0
    graphs = [variation_graph(*pair, 3, edge=edge) for pair in (student, teacher)]
    for reduction in REDUCTIONS:
        losses = graph_flow_loss(*graphs, reduction, normalise=normalise)
        gradients = torch.autograd.grad(sum(losses), student, retain_graph=True)
        assert all(loss.isfinite() for loss in losses)
        assert all(gradient.abs().max() < 1e5 for gradient in gradients)


def test_flat_patches_have_no_pearson_edges():
    values = torch.linspace(0.1, 0.9, 33)[None, :, None]
    flat = values.expand(1, 33, 9)
    assert (flat - flat.mean(-1, keepdim=True)).any(), "centring leaves no rounding noise here"
    patches = torch.cat([flat, torch.randn(1, 2, 9)], 1)
    matrix = edges(patches, "pearson")[0]
    assert matrix[:33].abs().max() < 1e-5
    assert matrix.diagonal()[33:].tolist() == pytest.approx([1, 1])


def test_graph_flow_loss_of_zero_features_is_zero():
    student = [torch.zeros(1, 2, 4, 4, requires_grad=True) for _ in range(2)]
    graphs = [variation_graph(*student, 3), variation_graph(*[torch.zeros(1, 2, 4, 4)] * 2, 3)]
    for reduction, normalise in product(REDUCTIONS, NORMALISE):
        losses = graph_flow_loss(*graphs, reduction, normalise=normalise)
        gradients = torch.autograd.grad(sum(losses), student, retain_graph=True)
        assert [loss.item() for loss in losses] == [0, 0]
        assert not any(gradient.any() for gradient in gradients)


def test_invalid_options_are_refused():
    features = [torch.randn(1, 2, 5, 5) for _ in range(2)]
    graph = variation_graph(*features, np.int64(3))
    assert graph.patch == (3, 3)
    for refused in (
        lambda: salience(features[0], 3, "largest"),
        lambda: variation_graph(*features, 3, edge="gram"),
        lambda: variation_graph(*features, 3, vertex="vec"),
        lambda: edges(graph.encoder_patches, "corr"),
        lambda: graph_flow_loss(graph, graph, "sum"),
        lambda: graph_flow_loss(graph, graph, normalise="own"),
    ):
        with pytest.raises(UserError, match="is not a valid"):
            refused()
    assert graph_flow_loss(graph, graph, energy=torch.nan)[0].isnan()
