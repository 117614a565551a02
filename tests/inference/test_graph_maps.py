"""Maps of the variation graph: sums, positions and alignment with the input."""

from itertools import product

import numpy as np
import pytest
import torch

from napari_graphflow.distillation.graph_flow.loss import variation_graph
from napari_graphflow.distillation.graph_flow.maps import to_input_grid, variation_map
from napari_graphflow.errors import UserError
from napari_graphflow.inference.graph_flow_maps import _only
from napari_graphflow.inference.graph_matrices import _matrix, _on_one_range
from napari_graphflow.inference.map_words import resolution

SHAPES = [
    pytest.param((2, 4, 9, 11), (3, 3), id="2d"),
    pytest.param((2, 3, 6, 8, 9), (1, 3, 5), id="3d"),
]


def tap(shape, seed, margin):
    """Random features whose peak in every channel is at least `margin` from the border."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    for b, c in product(*map(range, shape[:2])):
        at = [int(torch.randint(margin, n - margin, (), generator=generator)) for n in shape[2:]]
        features[(b, c, *at)] = 7.0
    return features


def boxes(index, size, patch):
    """Yield, by a loop over channels, the pixels of each patch inside the map, in patch order."""
    for c, flat in enumerate(index.tolist()):
        peak = [int(i) for i in torch.unravel_index(torch.tensor(flat), tuple(size))]
        reach = [
            range(p - side // 2, p + side // 2 + 1) for p, side in zip(peak, patch, strict=True)
        ]
        for i, at in enumerate(product(*reach)):
            if all(0 <= a < n for a, n in zip(at, size, strict=True)):
                yield c, i, at


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("margin", [0, 2])
def test_variation_map_agrees_with_a_slow_loop(shape, patch, margin):
    graph = variation_graph(tap(shape, 1, margin), tap(shape, 2, margin), patch)
    size = shape[2:]
    change = graph.decoder_patches - graph.encoder_patches
    for b in range(shape[0]):
        varied = torch.zeros(size, dtype=torch.float64)
        for index in (graph.encoder_index[b], graph.decoder_index[b]):
            for c, i, at in boxes(index, size, patch):
                varied[at] += change[b, c, i].abs() / 2
        assert torch.allclose(variation_map(graph)[b], varied, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("vertex", ["vector", "scalar"])
def test_variation_map_sums_to_the_changes_of_all_channels(shape, patch, vertex):
    graph = variation_graph(tap(shape, 5, 2), tap(shape, 6, 2), patch, vertex=vertex)
    axes = tuple(range(1, len(shape) - 1))
    change = graph.decoder_patches - graph.encoder_patches
    assert torch.allclose(variation_map(graph).sum(axes), change.abs().sum((1, 2)), rtol=1e-12)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_variation_map_of_equal_taps_is_zero(shape, patch):
    features = tap(shape, 10, 2)
    assert not variation_map(variation_graph(features, features, patch)).any()


def test_variation_map_is_located_at_the_peaks():
    encoder, decoder = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    encoder[0, 0, 2, 1], decoder[0, 0, 5, 6] = 3.0, 5.0
    drawn = variation_map(variation_graph(encoder, decoder, 3))[0]
    assert drawn.nonzero().tolist() == [[2, 1], [5, 6]]
    assert drawn[2, 1] == drawn[5, 6] == 1.0


def test_variation_map_has_no_gradient():
    features = [tap((1, 2, 6, 6), seed, 2).requires_grad_() for seed in (11, 12)]
    assert not variation_map(variation_graph(*features, 3)).requires_grad


def test_variation_map_of_taps_of_different_sizes_is_refused():
    graph = variation_graph(torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4), 3)
    with pytest.raises(UserError, match="no common grid") as caught:
        variation_map(graph)
    assert "same size" in caught.value.remedy


@pytest.mark.parametrize(
    ("size", "stride"), [((3, 5), 4), ((3, 5), (2, 4)), ((2, 3, 4), (1, 4, 2)), ((2, 2, 3), 3)]
)
def test_each_feature_pixel_covers_its_input_pixels(size, stride):
    strides = stride if isinstance(stride, tuple) else (stride,) * len(size)
    maps = torch.arange(2 * torch.Size(size).numel()).view(2, *size) + 1.0
    shown = to_input_grid(maps, stride)
    assert shown.shape == (2, *(n * s for n, s in zip(size, strides, strict=True)))
    for at in product(*map(range, size)):
        block = tuple(slice(i * s, (i + 1) * s) for i, s in zip(at, strides, strict=True))
        for b in range(2):
            assert (shown[(b, *block)] == maps[(b, *at)]).all()


def test_maps_are_cropped_to_the_input_and_zero_where_uncovered():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert to_input_grid(maps, 2, (3, 3))[0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]
    larger = to_input_grid(maps, 2, (4, 5))
    assert larger[0, :, :4].equal(to_input_grid(maps, 2)[0])
    assert not larger[0, :, 4].any()
    # With a fractional stride the centre of the input pixel decides.
    assert to_input_grid(maps, 1.5)[0].tolist() == [[1, 2, 2], [3, 4, 4], [3, 4, 4]]


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_the_maps_of_single_channels_add_up_to_the_map_of_all(shape, patch):
    graph = variation_graph(tap(shape, 5, 0), tap(shape, 6, 0), patch)
    single = [variation_map(_only(graph, channel)) for channel in range(shape[1])]
    assert torch.allclose(torch.stack(single).sum(0), variation_map(graph), rtol=1e-12, atol=1e-12)
    with pytest.raises(UserError, match=f"no channel {shape[1] + 1}: the graph has {shape[1]}"):
        _only(graph, shape[1])


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_a_matrix_has_the_lengths_of_the_vertices_above_the_edges(shape, patch):
    graph = variation_graph(tap(shape, 5, 0), tap(shape, 6, 0), patch)
    matrix = _matrix(graph)
    change = graph.decoder_patches - graph.encoder_patches
    expected = change.flatten(2).square().sum(-1).sqrt().sum(0)
    assert torch.allclose(matrix[0], expected)
    assert torch.allclose(matrix[1:], graph.edges.sum(0))


def test_both_networks_share_the_range_of_vertices_and_that_of_edges():
    student = np.array([[2.0, 1.0], [0.0, -4.0], [-4.0, 8.0]])
    teacher = np.array([[0.0, 4.0], [2.0, 16.0], [16.0, 0.0]])
    own, other = _on_one_range([student, teacher])
    assert own.tolist() == [[0.5, 0.25], [0.0, -0.25], [-0.25, 0.5]]
    assert other.tolist() == [[0.0, 1.0], [0.125, 1.0], [1.0, 0.0]]


def test_a_caption_states_what_the_tap_resolves():
    assert "One value for 2 × 4 × 4 voxels" in resolution({(2, 4, 4)})
    assert "2 × 4 × 4 or 8 × 8 × 8 voxels" in resolution({(8, 8, 8), (2, 4, 4)})
    assert resolution({(1, 1, 1)}) == ""
