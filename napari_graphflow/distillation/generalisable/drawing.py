"""What the window draws of the two graphs during a run."""

import torch
from torch import Tensor

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.distillation.generalisable.losses import (
    inter_edges,
    intra_edges,
    nodes_of_batch,
)
from napari_graphflow.distillation.generalisable.views import NAMES
from napari_graphflow.system.events import MOST_NODES, CodeGraph, CodeGraphs

#: Most patches over which the edges are averaged, or which are nodes.
MOST_DRAWN = 8


def graphs_of(
    teacher: Tensor, student: Tensor, options: GeneralisableOptions, step: int
) -> CodeGraphs | None:
    """Return the edges of the graphs that are compared; None while a code is not finite.

    Parameters
    ----------
    teacher, student
        (B, K + 1, d), codes of patches and of their views.
    options
        Options of the method: a graph of weight 0 has no edges.
    step
        Steps so far.
    """
    if not (teacher.isfinite().all() and student.isfinite().all()):
        return None
    kinds = NAMES[options.view_kinds]
    views = _names(options.views, [kinds[k % len(kinds)] for k in range(options.views)])
    nodes = views
    if options.inter_nodes == "batch":
        nodes = tuple(f"patch {number}" for number in range(1, len(teacher) + 1))
    return CodeGraphs(
        step=step,
        views=views if options.intra_weight else (),
        nodes=nodes[:MOST_NODES] if options.inter_weight else (),
        teacher=_graph(teacher, options),
        student=_graph(student, options),
    )


def _graph(codes: Tensor, options: GeneralisableOptions) -> CodeGraph:
    star = intra_edges(codes).mean(0) if options.intra_weight else torch.zeros(0)
    nodes = nodes_of_batch(codes) if options.inter_nodes == "batch" else codes
    complete = torch.zeros(0, 0)
    if options.inter_weight:
        complete = _square(inter_edges(nodes).mean(0))[:MOST_NODES, :MOST_NODES]
    return CodeGraph(
        star=tuple(map(_rounded, star.tolist())),
        complete=tuple(tuple(map(_rounded, row)) for row in complete.tolist()),
    )


def _square(edges: Tensor) -> Tensor:
    """Return (N, N) of edges (N, N - 1), with 1 on the diagonal."""
    count = len(edges)
    square = torch.ones(count, count, device=edges.device)
    square[~torch.eye(count, dtype=torch.bool, device=edges.device)] = edges.flatten()
    return square


def _rounded(cosine: float) -> float:
    return round(max(-1.0, min(1.0, cosine)), 4)


def _names(count: int, kinds: list[str]) -> tuple[str, ...]:
    """Return a name per view; a kind that comes again has a number."""
    return tuple(
        f"{kind} {kinds[:place].count(kind) + 1}" if kind in kinds[:place] else kind
        for place, kind in enumerate(kinds[:count])
    )
