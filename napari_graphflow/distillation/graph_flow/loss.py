"""Graph Flow: salience graphs, the variation graph, and the loss between two of them.

Zou, Qi, Zhou, Sun, Sun, Shan, "Graph Flow: Cross-layer Graph Flow Distillation for Dual
Efficient Medical Image Segmentation", IEEE TMI 2022, DOI 10.1109/TMI.2022.3224459.

The authors never published the file with this loss. What follows is a **reconstruction** from
the abstract, the framework figure, the calling code and the published weights; docstrings write
*reconstruction* where a step is inferred and *design choice* where nothing is published.

Notation: batch B, channels C, n = 2 or 3 spatial axes, patch side p, patch length m = p^n.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from napari_graphflow.distillation.graph_flow.salience import (
    Salience,
    check_choice,
    map_peaks,
    patch_sides,
    salience,
)
from napari_graphflow.errors import UserError

Edge = Literal["inner", "gram_of_variation", "pearson", "cosine"]
Vertex = Literal["vector", "scalar"]
Reduction = Literal["dimensionless", "paper_sum"]
Normalise = Literal["teacher", "each", "channel"]

#: Lower bound of the student's energy relative to the teacher's where each network is divided by
#: its own, and of a channel's energy relative to the mean over channels.
SMALLEST_ENERGY_RATIO = 1e-6
#: Edges that grow with the square of the features.
QUADRATIC = ("inner", "gram_of_variation")


class VariationGraph(NamedTuple):
    """How the salient patches of a network's channels change from encoder to decoder.

    Parameters
    ----------
    vertices
        Change of each channel's salient patch, (B, C, m); (B, C) for scalar vertices.
    edges
        Change of the correlations between channels, (B, C, C).
    encoder_patches, decoder_patches
        Salient patches of the two taps, (B, C, m).
    encoder_index, decoder_index
        Their peaks as flat indices into the spatial axes of the taps, (B, C).
    encoder_size, decoder_size
        Spatial sizes of the two taps.
    patch
        Patch side along each spatial axis, in feature pixels.
    edge, vertex
        Kinds of edges and vertices, which decide how they scale with the features.
    """

    vertices: Tensor
    edges: Tensor
    encoder_patches: Tensor
    decoder_patches: Tensor
    encoder_index: Tensor
    decoder_index: Tensor
    encoder_size: tuple[int, ...]
    decoder_size: tuple[int, ...]
    patch: tuple[int, ...]
    edge: Edge
    vertex: Vertex


def edges(patches: Tensor, edge: Edge = "inner") -> Tensor:
    """Correlate the salient patches of all pairs of channels: ``A = P P^T``.

    Un-normalised inner products are a reconstruction: with cosine edges the published weights
    of 1e-9 could have no effect.

    Parameters
    ----------
    patches
        (B, C, m).
    edge
        ``inner`` and ``gram_of_variation`` use the patches unchanged, ``pearson`` and ``cosine``
        (design choices) centre and scale, or only scale, each patch to length 1.

    Returns
    -------
    Tensor
        (B, C, C), symmetric.
    """
    check_choice("edge", edge, get_args(Edge))
    with torch.autocast(patches.device.type, enabled=False):
        scaled = _scaled(patches, edge)
        return scaled @ scaled.mT


def _scaled(patches: Tensor, edge: Edge) -> Tensor:
    if edge in QUADRATIC:
        return patches
    squared = patches.square().sum(-1, keepdim=True)
    if edge == "pearson":
        patches = patches - patches.mean(-1, keepdim=True)
    length = patches.square().sum(-1, keepdim=True)
    # A dead or flat patch has no direction: after centring only rounding noise remains.
    alive = length > squared * (10 * torch.finfo(patches.dtype).eps) ** 2
    return patches * torch.where(alive, length, 1).rsqrt()


def variation_graph(
    encoder_features: Tensor,
    decoder_features: Tensor,
    patch: int | Sequence[int],
    mode: Salience = "max",
    edge: Edge = "inner",
    vertex: Vertex = "vector",
    peaks_of: VariationGraph | None = None,
) -> VariationGraph:
    """Build the graph of changes from an encoder tap to a decoder tap (reconstruction).

    ``dP = P_d - P_e`` and ``dA = A_d - A_e``, with patches P of :func:`salience` and edges A of
    :func:`edges`. Computed in float32 inside autocast; float64 stays float64.

    Parameters
    ----------
    encoder_features, decoder_features
        Taps of one network, (B, C, H, W) or (B, C, D, H, W), with equal B and C; their spatial
        sizes may differ.
    patch
        Side p in feature pixels, odd; one number, or one per spatial axis.
    mode
        Kind of peak, see :func:`salience`.
    edge
        ``inner``: ``dA`` of inner products (reconstruction). ``gram_of_variation``: ``dP dP^T``
        instead, a less likely reading of the paper. ``pearson`` and ``cosine``: ``dA`` of
        normalised patches (design choices).
    vertex
        ``vector``: ``dP`` (reconstruction). ``scalar``: ``|dP_c|^2``, a less likely reading.
    peaks_of
        Another network's graph of the same images, at whose peaks the patches are cut (design
        choice); None cuts at this network's own peaks.

    Raises
    ------
    UserError
        If batch, channels or axes of the two taps differ, or the patch does not fit them, or an
        option is not one of its choices.
    """
    check_choice("edge", edge, get_args(Edge))
    check_choice("vertex", vertex, get_args(Vertex))
    _check_taps(encoder_features, decoder_features)
    peaks = _mapped_peaks(encoder_features, decoder_features, peaks_of)
    encoder, encoder_index = salience(encoder_features, patch, mode, peaks[0])
    decoder, decoder_index = salience(decoder_features, patch, mode, peaks[1])
    variation = decoder - encoder
    with torch.autocast(variation.device.type, enabled=False):
        if edge == "gram_of_variation":
            change = variation @ variation.mT
        else:
            start, end = _scaled(encoder, edge), _scaled(decoder, edge)
            # A_d - A_e as a symmetrised product: one matmul, and no difference of two large
            # Gram matrices, which would vanish in the rounding of low-precision matmul modes.
            change = (end + start) @ (end - start).mT
            change = (change + change.mT) / 2
    return VariationGraph(
        vertices=variation if vertex == "vector" else variation.square().sum(-1),
        edges=change,
        encoder_patches=encoder,
        decoder_patches=decoder,
        encoder_index=encoder_index,
        decoder_index=decoder_index,
        encoder_size=tuple(encoder_features.shape[2:]),
        decoder_size=tuple(decoder_features.shape[2:]),
        patch=patch_sides(patch, encoder_features.ndim - 2),
        edge=edge,
        vertex=vertex,
    )


def patch_energy(graph: VariationGraph) -> Tensor:
    """Return the mean square s^2 of the patch entries of both taps, a scalar.

    Averaged over the training set for the frozen teacher, it makes the loss dimensionless.
    """
    return channel_energy(graph).mean()


def channel_energy(graph: VariationGraph) -> Tensor:
    """Return the mean square s_c^2 of the patch entries of both taps per channel, (C,)."""
    taps = graph.encoder_patches, graph.decoder_patches
    return torch.stack([patches.square().mean((0, 2)) for patches in taps]).mean(0)


def graph_flow_loss(
    student_graph: VariationGraph,
    teacher_graph: VariationGraph,
    reduction: Reduction = "dimensionless",
    energy: float | Tensor | None = None,
    normalise: Normalise = "teacher",
) -> tuple[Tensor, Tensor]:
    """Compare the variation graphs of student and teacher.

    ``paper_sum`` (reconstruction): ``L_V = sum (dP_T - dP_S)^2`` and ``L_E = sum (dA_T - dA_S)^2``
    over batch, channels and entries, meant for the published weights 1e-5 and 1e-9.

    ``dimensionless`` (design choice): ``L_V = mean (dP_T - dP_S)^2 / s^2`` and
    ``L_E = mean (dA_T - dA_S)^2 / (m s^2)^2``, which does not depend on batch, channels, patch or
    feature scale. It is the same loss: weights mu of this form equal weights lambda of the paper
    at ``mu_V = lambda_V B C m s^2`` and ``mu_E = lambda_E B C^2 (m s^2)^2``.

    Parameters
    ----------
    student_graph, teacher_graph
        Graphs of the same kind, patch and number of channels. Gradients reach the student only.
    reduction
        See above.
    energy
        The teacher's s^2 or, for ``channel``, s_c^2 over its training set, see
        :func:`patch_energy` and :func:`channel_energy`; None uses that of this batch. Where the
        teacher's energy is 0, nothing is divided.
    normalise
        ``teacher`` applies no scaling besides that of `reduction`. ``each`` (design choice) first
        divides each network's patches by the root of its own energy, so that only their pattern
        counts. The student's energy is that of the batch and carries its gradient: the
        loss is then invariant to the scale of the student's features, and its gradient does not
        change that scale, whereas a detached energy would shrink imperfectly matching features
        at every step. ``channel`` (design choice) does the same channel by channel: otherwise a
        channel is weighted by its energy in the vertex loss and by its square in the edge loss.

    Returns
    -------
    vertex_loss, edge_loss
        Two scalars, to be weighted by the caller and summed over tap pairs.

    Raises
    ------
    UserError
        If the two graphs cannot be compared, or an option is not one of its choices.
    """
    graphs = student_graph, teacher_graph
    per_vertex, per_edge = graph_flow_attributions(*graphs, reduction, energy, normalise)
    return per_vertex.sum(), per_edge.sum()


def graph_flow_attributions(
    student_graph: VariationGraph,
    teacher_graph: VariationGraph,
    reduction: Reduction = "dimensionless",
    energy: float | Tensor | None = None,
    normalise: Normalise = "teacher",
) -> tuple[Tensor, Tensor]:
    """Return the contribution of every vertex and every edge to :func:`graph_flow_loss`.

    Returns
    -------
    per_vertex
        ``e_c``, (B, C), whose sum is the vertex loss.
    per_edge
        ``epsilon_ij``, (B, C, C), whose sum is the edge loss.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    check_choice("normalise", normalise, get_args(Normalise))
    _check_graphs(student_graph, teacher_graph)
    energies = _energies(student_graph, teacher_graph, reduction, energy, normalise)
    of_student, of_teacher = map(_normalised, (student_graph, teacher_graph), energies)

    def squared(student: Tensor, teacher: Tensor, second_degree: bool) -> Tensor:
        difference = (teacher.detach() - student).square()
        if reduction == "dimensionless":
            length = student_graph.encoder_patches.shape[-1]
            # A quantity of the second degree is a sum over the m entries of a patch.
            difference = difference / (difference.numel() * (length if second_degree else 1) ** 2)
        return difference

    per_vertex = squared(of_student[0], of_teacher[0], teacher_graph.vertex == "scalar")
    per_edge = squared(of_student[1], of_teacher[1], teacher_graph.edge in QUADRATIC)
    return per_vertex.flatten(2).sum(-1) if per_vertex.ndim == 3 else per_vertex, per_edge


def _normalised(graph: VariationGraph, energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return vertices and edges in units of the root of an energy, (1,) or (C,)."""
    scale = energy.sqrt()
    vertices = graph.vertices / (scale[:, None] if graph.vertex == "vector" else energy)
    return vertices, graph.edges / (scale[:, None] * scale if graph.edge in QUADRATIC else 1)


def _energies(
    student: VariationGraph,
    teacher: VariationGraph,
    reduction: Reduction,
    energy: float | Tensor | None,
    normalise: Normalise,
) -> tuple[Tensor, Tensor]:
    """Return the energies that the student's and the teacher's squared patches are divided by."""
    patches = teacher.encoder_patches
    if reduction == "paper_sum" and normalise == "teacher":
        return patches.new_ones(1), patches.new_ones(1)
    measure = channel_energy if normalise == "channel" else patch_energy
    if energy is None:
        energy = measure(teacher).detach()
    of_teacher = torch.as_tensor(energy, dtype=patches.dtype, device=patches.device).reshape(-1)
    if normalise != "channel":
        of_teacher = of_teacher.mean(0, keepdim=True)
    of_teacher = of_teacher.clamp_min(SMALLEST_ENERGY_RATIO * of_teacher.mean())
    # NaN is kept, so that it shows in the loss.
    of_teacher = torch.where(of_teacher <= torch.finfo(patches.dtype).tiny, 1, of_teacher)
    if normalise == "teacher":
        return of_teacher, of_teacher
    return measure(student).reshape(-1).clamp_min(SMALLEST_ENERGY_RATIO * of_teacher), of_teacher


def _mapped_peaks(
    encoder: Tensor, decoder: Tensor, other: VariationGraph | None
) -> tuple[Tensor | None, Tensor | None]:
    """Map the peaks of another network's graph to the grids of these taps."""
    if other is None:
        return None, None
    values = [(encoder.ndim - 2, *encoder.shape[:2]), (len(other.patch), *other.edges.shape[:2])]
    remedies = dict(islice(_remedies(encoder.shape[1]).items(), len(values[0])))
    _require_equal("The student's and the teacher's graph", values, remedies)
    return (
        map_peaks(other.encoder_index, other.encoder_size, encoder.shape[2:]),
        map_peaks(other.decoder_index, other.decoder_size, decoder.shape[2:]),
    )


def _check_taps(encoder: Tensor, decoder: Tensor) -> None:
    remedies = {
        "spatial axes": "Choose two taps of the same network.",
        "images": "Take both taps from the same forward pass.",
        "channels": "Choose two taps with the same number of channels, or map both to the same "
        "number: with paraphrasers for a teacher, with 1x1 adapters for a student.",
    }
    values = [(features.ndim - 2, *features.shape[:2]) for features in (encoder, decoder)]
    _require_equal("The encoder and the decoder tap", values, remedies)


def _check_graphs(student: VariationGraph, teacher: VariationGraph) -> None:
    values = [
        (len(graph.patch), *graph.edges.shape[:2], graph.patch, graph.edge, graph.vertex)
        for graph in (student, teacher)
    ]
    remedies = _remedies(student.edges.shape[1])
    _require_equal("The student's and the teacher's graph", values, remedies)


def _remedies(channels: int) -> dict[str, str]:
    """Return a remedy for each property in which a student's graph may differ."""
    return {
        "spatial axes": "Choose two 2D networks or two 3D networks.",
        "images": "Pass the same batch to both networks.",
        "channels": f"Compress the teacher's taps to {channels} channels with paraphrasers, or "
        "add 1x1 adapters to the student.",
        "patch sides": "Choose the same patch for both.",
        "edges": "Choose the same kind of edges for both.",
        "vertices": "Choose the same kind of vertices for both.",
    }


def _require_equal(pair: str, values: Sequence[Sequence[object]], remedies: dict[str, str]) -> None:
    for (name, remedy), first, second in zip(remedies.items(), *values, strict=True):
        if first != second:
            raise UserError(f"{pair} differ in {name}: {first} and {second}.", remedy)
