"""Taps of two networks, the variation graph by slow loops, and an example worked by hand."""

from itertools import product

import pytest
import torch

from napari_graphflow.distillation.graph_flow.loss import variation_graph

EDGES = ["inner", "gram_of_variation", "pearson", "cosine"]
VERTICES = ["vector", "scalar"]
REDUCTIONS = ["paper_sum", "dimensionless"]
NORMALISE = ["teacher", "each", "channel"]
SHAPES = [
    pytest.param((2, 5, 9, 11), 3, id="2d"),
    pytest.param((2, 5, 9, 11), (1, 5), id="2d-anisotropic"),
    pytest.param((2, 4, 5, 8, 7), 3, id="3d"),
    pytest.param((2, 4, 5, 8, 7), (1, 3, 5), id="3d-anisotropic"),
]


def taps(shape, seed, grad=False):
    """Two random taps of one network."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [tap.requires_grad_() for tap in made] if grad else made


def with_interior_peaks(shape, seed):
    """Two taps whose largest value of every channel does not touch the border."""
    generator = torch.Generator().manual_seed(seed)
    made = taps(shape, seed)
    for tap, b, c in product(made, *map(range, shape[:2])):
        at = [int(torch.randint(1, size - 1, (), generator=generator)) for size in shape[2:]]
        tap[(b, c, *at)] = 6.0 + c
    return made


def slow_patch(channel, patch, mode):
    """Patch of one channel map, by a loop over all pixels."""
    size = tuple(channel.shape)
    sides = patch if isinstance(patch, tuple) else (patch,) * len(size)
    best, peak = None, None
    for at in product(*map(range, size)):
        value = abs(float(channel[at])) if mode == "abs" else float(channel[at])
        if best is None or value > best:
            best, peak = value, at
    values = []
    for offset in product(*(range(-(side // 2), side // 2 + 1) for side in sides)):
        at = tuple(p + o for p, o in zip(peak, offset, strict=True))
        inside = all(0 <= a < s for a, s in zip(at, size, strict=True))
        values.append(float(channel[at]) if inside else 0.0)
    return values, peak


def slow_edge(p, q, edge):
    if edge == "pearson":
        p = [x - sum(p) / len(p) for x in p]
        q = [x - sum(q) / len(q) for x in q]
    inner = sum(x * y for x, y in zip(p, q, strict=True))
    if edge in ("pearson", "cosine"):
        norm = (sum(x * x for x in p) * sum(y * y for y in q)) ** 0.5
        return inner / norm if norm else 0.0
    return inner


def slow_losses(student, teacher, patch, mode, edge, vertex):
    """L_V and L_E of the paper by loops over samples, channels and patch entries."""
    vertex_loss = edge_loss = 0.0
    batch, channels = student[0].shape[:2]
    for b in range(batch):
        variations, changes = [], []
        for encoder, decoder in (student, teacher):
            start, end = (
                [slow_patch(tap[b, c], patch, mode)[0] for c in range(channels)]
                for tap in (encoder, decoder)
            )
            change = [
                [y - x for x, y in zip(p, q, strict=True)] for p, q in zip(start, end, strict=True)
            ]
            if edge == "gram_of_variation":
                changes.append([[slow_edge(p, q, edge) for q in change] for p in change])
            else:
                changes.append(
                    [
                        [
                            slow_edge(end[i], end[j], edge) - slow_edge(start[i], start[j], edge)
                            for j in range(channels)
                        ]
                        for i in range(channels)
                    ]
                )
            if vertex == "scalar":
                change = [[sum(x * x for x in p)] for p in change]
            variations.append(change)
        for c, i in product(range(channels), range(len(variations[0][0]))):
            vertex_loss += (variations[1][c][i] - variations[0][c][i]) ** 2
        for i, j in product(range(channels), repeat=2):
            edge_loss += (changes[1][i][j] - changes[0][i][j]) ** 2
    return vertex_loss, edge_loss


def example(first, second):
    """A tap of two channels on 5 x 5: value v at (row, column) and w to its right."""
    tap = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    for channel, (v, w, row, column) in enumerate((first, second)):
        tap[0, channel, row, column], tap[0, channel, row, column + 1] = v, w
    return tap


def worked_example(edge="inner", vertex="vector", grad=False):
    teacher = example((2, 1, 1, 1), (3, 0, 3, 3)), example((4, 1, 2, 2), (1, 0, 1, 3))
    student = example((1, 0, 2, 1), (2, 1, 1, 2)), example((3, 1, 3, 2), (2, 0, 2, 2))
    for tap in student:
        tap.requires_grad_(grad)
    graphs = [variation_graph(*pair, 3, edge=edge, vertex=vertex) for pair in (student, teacher)]
    return student, *graphs
