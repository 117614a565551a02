"""Invariances of the variation graph and of the Graph Flow loss."""

from itertools import product

import pytest
import torch
from graph_flow_cases import (
    EDGES,
    NORMALISE,
    REDUCTIONS,
    SHAPES,
    VERTICES,
    taps,
    with_interior_peaks,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_graphflow.distillation.graph_flow.loss import (
    channel_energy,
    edges,
    graph_flow_attributions,
    graph_flow_loss,
    patch_energy,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.salience import salience
from napari_graphflow.errors import UserError


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("normalise", NORMALISE)
def test_equal_features_have_zero_loss_and_zero_gradient(shape, patch, edge, reduction, normalise):
    features = taps(shape, 3, grad=True)
    student = variation_graph(*features, patch, edge=edge)
    teacher = variation_graph(*[tap.detach().clone() for tap in features], patch, edge=edge)
    losses = graph_flow_loss(student, teacher, reduction, normalise=normalise)
    assert [loss.item() for loss in losses] == [0, 0]
    for gradient in torch.autograd.grad(sum(losses), features):
        assert not gradient.any()


@pytest.mark.parametrize(("dims", "rank"), [(2, 9), (3, 24)])
def test_edges_are_a_gram_matrix_and_their_change_is_symmetric(dims, rank):
    features = taps((2, 24, *[12] * dims), 5)
    graph = variation_graph(*features, 3)
    length = 3**dims
    for patches in (graph.encoder_patches, graph.decoder_patches):
        matrix = edges(patches)
        size = torch.linalg.matrix_norm(matrix)
        assert torch.equal(matrix, matrix.mT)
        assert (torch.linalg.eigvalsh(matrix).amin(-1) >= -1e-5 * size).all()
        trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
        assert torch.allclose(trace, patches.square().sum((1, 2)), rtol=1e-12)
        assert torch.linalg.matrix_rank(matrix).tolist() == [rank, rank]
        assert rank == min(24, length)
    change = edges(graph.decoder_patches) - edges(graph.encoder_patches)
    assert torch.allclose(graph.edges, change, rtol=1e-12, atol=1e-9)
    assert torch.equal(graph.edges, graph.edges.mT)
    assert torch.linalg.matrix_rank(graph.edges).tolist() == [min(24, 2 * length)] * 2
    values = torch.linalg.eigvalsh(graph.edges)
    assert (values[:, 0] < 0).all()
    assert (values[:, -1] > 0).all()


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_losses_scale_with_the_square_and_fourth_power_of_the_features(shape, patch):
    student, teacher = taps(shape, 6), taps(shape, 7)

    def losses(scale, reduction="paper_sum", energy=None):
        graphs = [
            variation_graph(*[scale * tap for tap in pair], patch) for pair in (student, teacher)
        ]
        return [float(loss) for loss in graph_flow_loss(*graphs, reduction, energy)]

    vertex_loss, edge_loss = losses(1)
    assert losses(2) == [4 * vertex_loss, 16 * edge_loss]
    once = losses(1, reduction="dimensionless", energy=1.7)
    assert losses(3, reduction="dimensionless", energy=9 * 1.7) == pytest.approx(once, rel=1e-12)
    measured = losses(1, reduction="dimensionless")
    assert losses(3, reduction="dimensionless") == pytest.approx(measured, rel=1e-12)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("edge", EDGES)
def test_loss_is_invariant_to_swapping_encoder_and_decoder(shape, patch, edge):
    student, teacher = taps(shape, 8), taps(shape, 9)
    there = [variation_graph(*pair, patch, edge=edge) for pair in (student, teacher)]
    back = [variation_graph(*pair[::-1], patch, edge=edge) for pair in (student, teacher)]
    assert torch.equal(back[0].vertices, -there[0].vertices)
    sign = 1 if edge == "gram_of_variation" else -1
    assert torch.allclose(back[0].edges, sign * there[0].edges, rtol=0, atol=1e-12)
    for one, other in zip(
        graph_flow_loss(*there, "paper_sum"), graph_flow_loss(*back, "paper_sum"), strict=True
    ):
        assert one.item() == pytest.approx(other.item(), rel=1e-12)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_permuting_channels_permutes_the_graph_and_keeps_the_loss(shape, patch):
    student, teacher = taps(shape, 10), taps(shape, 11)
    order = torch.randperm(shape[1], generator=torch.Generator().manual_seed(1))
    assert (order != torch.arange(shape[1])).any()

    def graphs(permute_student, permute_teacher):
        return [
            variation_graph(*[tap[:, order] if permute else tap for tap in pair], patch)
            for pair, permute in ((student, permute_student), (teacher, permute_teacher))
        ]

    plain, both, one = graphs(False, False), graphs(True, True), graphs(True, False)
    assert torch.allclose(both[0].edges, plain[0].edges[:, order][:, :, order], atol=1e-12)
    for before, after, changed in zip(
        graph_flow_loss(*plain, "paper_sum"),
        graph_flow_loss(*both, "paper_sum"),
        graph_flow_loss(*one, "paper_sum"),
        strict=True,
    ):
        assert after.item() == pytest.approx(before.item(), rel=1e-12)
        assert abs(changed - before) > 1e-3 * before


@pytest.mark.parametrize(
    "turn",
    [lambda x: x.flip(-1), lambda x: x.flip(2), lambda x: x.rot90(1, (-2, -1)), lambda x: x.mT],
    ids=["flip-last", "flip-first", "rot90", "transpose"],
)
@pytest.mark.parametrize("shape", [(2, 5, 9, 11), (2, 4, 6, 8, 7)], ids=["2d", "3d"])
def test_loss_is_invariant_to_flips_and_rotations(shape, turn):
    student, teacher = taps(shape, 12), taps(shape, 13)
    plain = [variation_graph(*pair, 3) for pair in (student, teacher)]
    turned = [variation_graph(*map(turn, pair), 3) for pair in (student, teacher)]
    assert not torch.equal(plain[0].vertices, turned[0].vertices)
    for one, other in zip(
        graph_flow_loss(*plain, "paper_sum"), graph_flow_loss(*turned, "paper_sum"), strict=True
    ):
        assert one.item() == pytest.approx(other.item(), rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 5, 9, 11), (2, 4, 6, 8, 7)], ids=["2d", "3d"])
def test_loss_is_invariant_to_translation(shape):
    def embedded(tap, offset):
        canvas = torch.zeros(*shape[:2], *[24] * (len(shape) - 2), dtype=torch.float64)
        canvas[(..., *(slice(offset, offset + n) for n in shape[2:]))] = tap
        return canvas

    student, teacher = taps(shape, 14), taps(shape, 15)
    for salient in (3, 5):
        near, far = (
            graph_flow_loss(
                *(
                    variation_graph(*(embedded(tap, offset) for tap in pair), salient)
                    for pair in (student, teacher)
                )
            )
            for offset in (4, 10)
        )
        assert [loss.item() for loss in near] == [loss.item() for loss in far]


@pytest.mark.parametrize("shape", [(2, 4, 9, 9), (2, 3, 7, 7, 8)], ids=["2d", "3d"])
def test_an_offset_in_both_taps_changes_edges_but_not_vertices(shape):
    encoder, decoder = with_interior_peaks(shape, 24)
    plain = variation_graph(encoder, decoder, 3)
    for tap in (encoder, decoder):
        tap[:, 1] += 0.75
    shifted = variation_graph(encoder, decoder, 3)
    assert torch.equal(plain.encoder_index, shifted.encoder_index)
    assert torch.allclose(plain.vertices, shifted.vertices, rtol=0, atol=1e-12)
    assert (plain.edges - shifted.edges)[:, 1].abs().amin(-1).gt(1e-3).all()


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("kinds", [*product(EDGES, VERTICES)], ids="-".join)
@pytest.mark.parametrize("options", [*product(REDUCTIONS, NORMALISE)], ids="-".join)
def test_attributions_sum_to_the_losses(shape, patch, kinds, options):
    edge, vertex = kinds
    reduction, normalise = options
    graphs = [
        variation_graph(*taps(shape, seed), patch, edge=edge, vertex=vertex) for seed in (22, 23)
    ]
    parts = graph_flow_attributions(*graphs, reduction, normalise=normalise)
    losses = graph_flow_loss(*graphs, reduction, normalise=normalise)
    assert parts[0].shape == shape[:2]
    assert parts[1].shape == (shape[0], shape[1], shape[1])
    for part, loss in zip(parts, losses, strict=True):
        assert (part >= 0).all()
        assert loss > 0
        assert part.sum().item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_weights_of_the_two_reductions_convert(shape, patch):
    student, teacher = (variation_graph(*taps(shape, seed), patch) for seed in (29, 30))
    batch, channels, length = student.vertices.shape
    energy = 2.3
    paper = graph_flow_loss(student, teacher, "paper_sum")
    ours = graph_flow_loss(student, teacher, "dimensionless", energy=energy)
    vertex_weight, edge_weight = 1e-5, 1e-9
    converted = (
        vertex_weight * batch * channels * length * energy,
        edge_weight * batch * channels**2 * (length * energy) ** 2,
    )
    assert (converted[0] * ours[0]).item() == pytest.approx((vertex_weight * paper[0]).item(), 1e-6)
    assert (converted[1] * ours[1]).item() == pytest.approx((edge_weight * paper[1]).item(), 1e-6)


def test_energy_is_the_mean_square_of_the_patches_of_both_taps():
    encoder, decoder = taps((2, 3, 6, 6), 31)
    graph = variation_graph(encoder, 3 * decoder, 3)
    entries = torch.cat([salience(tap, 3)[0].flatten() for tap in (encoder, 3 * decoder)])
    assert patch_energy(graph).item() == pytest.approx(entries.square().mean().item(), rel=1e-12)
    other = variation_graph(*taps((2, 3, 6, 6), 32), 3)
    for given_energy, batch_energy in zip(
        graph_flow_loss(other, graph, "dimensionless", energy=patch_energy(graph)),
        graph_flow_loss(other, graph, "dimensionless"),
        strict=True,
    ):
        assert given_energy.item() == pytest.approx(batch_energy.item(), rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kinds", [*product(EDGES, VERTICES)], ids="-".join)
def test_loss_normalised_by_own_energy_is_invariant_to_amplitude(reduction, kinds):
    shape = (2, 4, 8, 8)
    edge, vertex = kinds
    student, teacher = taps(shape, 33, grad=True), taps(shape, 34)

    def losses(student_scale, teacher_scale):
        graphs = [
            variation_graph(*[scale * tap for tap in pair], 3, edge=edge, vertex=vertex)
            for scale, pair in ((student_scale, student), (teacher_scale, teacher))
        ]
        return graph_flow_loss(*graphs, reduction, normalise="each")

    once = losses(1, 1)
    for scaled in (losses(0.1, 1), losses(1, 16)):
        assert [loss.item() for loss in scaled] == pytest.approx([loss.item() for loss in once])
    gradients = torch.autograd.grad(sum(once), student)
    along = sum((g * tap).sum() for g, tap in zip(gradients, student, strict=True))
    size = sum((g.abs() * tap.abs()).sum() for g, tap in zip(gradients, student, strict=True))
    assert size > 0
    assert abs(along) < 1e-10 * size


@given(
    dims=st.integers(2, 3),
    channels=st.integers(1, 5),
    batch=st.integers(1, 3),
    side=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 10_000),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_the_loss_is_zero_only_between_equal_graphs(dims, channels, batch, side, seed, reduction):
    shape = (batch, channels, *[6] * dims)
    one, other = (variation_graph(*taps(shape, s), side) for s in (seed, seed + 1))
    assume(not torch.equal(one.vertices, other.vertices))
    there, back = (
        graph_flow_loss(*pair, reduction, energy=1.0) for pair in ((one, other), (other, one))
    )
    assert there[0] > 0
    assert there[1] > 0
    assert [loss.item() for loss in there] == pytest.approx([loss.item() for loss in back])


@pytest.mark.parametrize(
    ("student_shape", "teacher_shape", "patch", "length"),
    [((2, 6, 7, 12), (2, 6, 16, 9), 3, 9), ((2, 6, 4, 7, 6), (2, 6, 8, 9, 5), (1, 3, 5), 15)],
)
def test_shapes_of_two_networks_with_taps_of_different_sizes(
    student_shape, teacher_shape, patch, length
):
    student, teacher = (
        variation_graph(*taps(shape, 4), patch) for shape in (student_shape, teacher_shape)
    )
    for graph in (student, teacher):
        assert graph.encoder_patches.shape == graph.decoder_patches.shape == (2, 6, length)
        assert graph.vertices.shape == (2, 6, length)
        assert graph.edges.shape == (2, 6, 6)
        assert graph.encoder_index.shape == (2, 6)
    assert student.encoder_size == student_shape[2:]
    losses = graph_flow_loss(student, teacher, "dimensionless")
    assert all(loss.ndim == 0 and loss > 0 for loss in losses)


@pytest.mark.parametrize(
    ("patch", "message"),
    [(2, "no centre"), ((3, 4), "no centre"), (0, "no centre"), ((3, 3, 3), "does not fit")],
)
def test_invalid_patches_are_refused(patch, message):
    with pytest.raises(UserError, match=message) as caught:
        salience(taps((1, 2, 8, 8), 0)[0], patch)
    assert "odd" in caught.value.remedy


def test_incompatible_graphs_are_refused_with_a_remedy():
    def graph(*shape, patch=3, **kinds):
        return variation_graph(*taps(shape, 0), patch, **kinds)

    student = graph(2, 4, 8, 8)
    cases = [
        (graph(2, 6, 8, 8), "channels: 4 and 6", "4 channels with paraphrasers"),
        (graph(3, 4, 8, 8), "images: 2 and 3", "same batch"),
        (graph(2, 4, 8, 8, 8), "spatial axes: 2 and 3", "two 3D networks"),
        (graph(2, 4, 8, 8, patch=5), "patch sides", "same patch"),
        (graph(2, 4, 8, 8, edge="cosine"), "edges: inner and cosine", "edges"),
        (graph(2, 4, 8, 8, vertex="scalar"), "vertices: vector and scalar", "vertices"),
    ]
    for teacher, message, remedy in cases:
        with pytest.raises(UserError, match=message) as caught:
            graph_flow_loss(student, teacher, "paper_sum")
        assert remedy in caught.value.remedy
    shapes = [((2, 6, 8, 8), "channels"), ((3, 4, 8, 8), "images"), ((2, 4, 8, 8, 8), "axes")]
    for shape, message in shapes:
        with pytest.raises(UserError, match=message):
            variation_graph(torch.zeros(2, 4, 8, 8), torch.zeros(shape), 3)


@pytest.mark.parametrize("normalise", NORMALISE)
def test_zero_teacher_features_are_compared_without_normalisation(normalise):
    student = taps((1, 2, 4, 4), 5, grad=True)
    dead = variation_graph(*[torch.zeros(1, 2, 4, 4, dtype=torch.float64)] * 2, 3)
    losses = graph_flow_loss(variation_graph(*student, 3), dead, normalise=normalise)
    gradients = torch.autograd.grad(sum(losses), student)
    assert all(0 < loss.item() < 1e3 for loss in losses)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_strong_channel_dominates_the_loss_unless_channels_are_normalised():
    """The teacher's third channel is a thousand times the others; the student matches it."""
    scale = torch.tensor([1.0, 1.0, 1000.0]).double()[:, None, None]
    teacher = [scale * tap for tap in taps((2, 3, 8, 8), 6)]
    other = [scale * tap for tap in taps((2, 3, 8, 8), 7)]
    student = [torch.cat([b[:, :2], a[:, 2:]], 1) for a, b in zip(teacher, other, strict=True)]
    graphs = variation_graph(*student, 3), variation_graph(*teacher, 3)
    together = graph_flow_loss(*graphs, normalise="each")
    apart = graph_flow_loss(*graphs, normalise="channel")
    assert max(loss.item() for loss in together) < 1e-4
    assert min(loss.item() for loss in apart) > 1e-2
    by_hand = channel_energy(graphs[1])
    assert by_hand.shape == (3,)
    torch.testing.assert_close(by_hand.mean(), patch_energy(graphs[1]))
    units = [
        (
            g.vertices / channel_energy(g).sqrt()[:, None],
            g.edges / channel_energy(g).sqrt().outer(channel_energy(g).sqrt()),
        )
        for g in graphs
    ]
    vertices, edges = ((a - b).square().mean() for a, b in zip(*units, strict=True))
    torch.testing.assert_close(apart, (vertices, edges / 81))
