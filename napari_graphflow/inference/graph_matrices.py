"""Vertices and edges of the variation graphs of an image, as matrices for display."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.distillation.graph_flow.loss import VariationGraph
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.graph_flow_maps import (
    Graphs,
    compared_graphs,
    graphs_alone,
    options_of,
)
from napari_graphflow.inference.torch_windows import over_windows
from napari_graphflow.inference.whole_volume import Cancelled, Progress
from napari_graphflow.models.saved import Model

NOTE = (
    "Internal features of the network, not tissue properties. First row: change of each channel "
    "from encoder to decoder (vertices). Below: change of the correlations of two channels "
    "(edges). Means over the image; the largest of both networks is 1, of vertices and edges each."
)


@dataclass(frozen=True)
class GraphMatrices:
    """Vertices and edges on one range for both networks.

    Attributes
    ----------
    student, teacher
        (C + 1, C), -1 to 1: the vertices in the first row, the edges below it; the teacher's only
        if a teacher was given.
    difference
        Teacher minus student; None if their numbers of channels differ.
    notes
        Sentences to show with the matrices.
    """

    student: NDArray[np.float64]
    teacher: NDArray[np.float64] | None
    difference: NDArray[np.float64] | None
    notes: tuple[str, ...]


def graph_matrices(
    student: Model,
    volume: Volume,
    teacher: Model | None = None,
    *,
    pair: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> GraphMatrices:
    """Compute the mean vertices (length of each) and edges of a pair of taps over an image.

    Parameters
    ----------
    student, volume, teacher, pair, progress, cancelled
        As in :func:`napari_graphflow.inference.graph_flow_maps.variation_maps`.

    Raises
    ------
    UserError
        If the image does not fit a model, or a network has no such pair of taps.
    """
    options = options_of(student)

    def means(model: Model, graphs: Graphs) -> list[NDArray[np.float64]]:
        return _means(model, volume, graphs, progress, cancelled)

    if teacher is None:
        (own,) = _on_one_range(means(student, graphs_alone(student, options, pair)))
        return GraphMatrices(own, None, None, (NOTE,))
    graphs, note = compared_graphs(student, teacher, pair)
    if graphs is not None:
        found = means(student, graphs)
    else:
        found = [
            *means(student, graphs_alone(student, options, pair)),
            *means(teacher, graphs_alone(teacher, options, pair)),
        ]
    own, other = _on_one_range(found)
    difference = other - own if other.shape == own.shape else None
    return GraphMatrices(own, other, difference, (NOTE, note) if note else (NOTE,))


def _means(
    model: Model,
    volume: Volume,
    graphs: Graphs,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> list[NDArray[np.float64]]:
    check_fits(volume, model.card)
    prepared = prepare(volume, model.card.preprocessing)
    sums: list[Tensor] = []
    count = 0

    def compute(windows: Tensor) -> Tensor:
        nonlocal count, sums
        found = [_matrix(graph) for graph in graphs(windows)]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        count += len(windows)
        return torch.zeros_like(windows[:, :1])

    over_windows(
        compute,
        prepared.array,
        model.card.patch_size,
        device=model.device,
        progress=progress,
        cancelled=cancelled,
    )
    return [(one / count).numpy() for one in sums]


def _matrix(graph: VariationGraph) -> Tensor:
    """Return vertices and edges, summed over the windows, (C + 1, C)."""
    vertices = graph.vertices.detach().double()
    lengths = vertices.flatten(2).norm(dim=-1) if vertices.ndim > 2 else vertices.abs()
    edges = graph.edges.detach().double()
    return torch.cat([lengths[:, None], edges], 1).sum(0).cpu()


def _on_one_range(found: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    for rows in (slice(0, 1), slice(1, None)):
        largest = max(float(np.abs(one[rows]).max()) for one in found)
        for one in found:
            one[rows] /= largest if largest > 0 and math.isfinite(largest) else 1.0
    return found
