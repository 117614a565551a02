"""Maps of the variation graph in the grid of a volume, from the tensors of the loss.

They show where a network's internal features change between encoder and decoder, not properties of
the tissue. They are not in the paper (design choice).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.model_card import weights_hash
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.distillation.graph_flow.loss import (
    VariationGraph,
    patch_energy,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.maps import to_input_grid, variation_map
from napari_graphflow.distillation.graph_flow.method import GraphFlow
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import prepare, restore_maps
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.map_words import resolution
from napari_graphflow.inference.torch_windows import over_windows
from napari_graphflow.inference.whole_volume import Cancelled, Progress
from napari_graphflow.models.methods import load_method
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.taps import Output, strides_of

#: The taps of each pair, by its number from 0.
PAIRS = tuple((f"encoder{suffix}", f"decoder{suffix}") for suffix in ("", "_2", "_3"))
#: The variation graphs of one or two networks for a batch of windows.
Graphs = Callable[[Tensor], list[VariationGraph]]


@dataclass(frozen=True)
class VariationMaps:
    """Variation maps in the grid of the image, in units of the salient activation.

    Attributes
    ----------
    student, teacher
        Non-negative maps on one scale; the teacher's only if a teacher was given.
    difference
        Teacher minus student.
    notes
        Sentences to show with the maps.
    """

    student: Volume
    teacher: Volume | None
    difference: Volume | None
    notes: tuple[str, ...]


def variation_maps(
    student: Model,
    volume: Volume,
    teacher: Model | None = None,
    *,
    pair: int = 0,
    channel: int | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> VariationMaps:
    """Compute the variation map ``V(u)`` of a student and, if given, of a teacher.

    The graphs are computed window by window with the patch of the student's distillation (3 if
    there was none). If the student was distilled from this teacher, the maps are computed from the
    tensors of the loss: through the paraphrasers of that distillation, with the student's patches
    cut at its teacher's peaks if the distillation did so.

    Parameters
    ----------
    student, volume, teacher
        Loaded models, and an image in its stored grid.
    pair
        Number of the pair of taps, from 0.
    channel
        Number of the only channel to draw, from 0; None adds all up.
    progress, cancelled
        As in :func:`napari_graphflow.inference.predict.segment`.

    Raises
    ------
    UserError
        If the image does not fit a model, or a network has no such pair of taps or channel.
    """
    options = options_of(student)
    about = "Internal features of the network, not tissue properties."
    strides: set[tuple[int, ...]] = set()

    def maps(model: Model, graphs: Graphs) -> list[tuple[Volume, float]]:
        return _maps(model, volume, graphs, channel, strides, progress, cancelled)

    def notes(*more: str) -> tuple[str, ...]:
        return tuple(one for one in (about, *more, resolution(strides)) if one)

    if teacher is None:
        (own,) = maps(student, graphs_alone(student, options, pair))
        return VariationMaps(_scaled(*own), None, None, notes())
    graphs, note = compared_graphs(student, teacher, pair)
    if graphs is not None:
        own, other = maps(student, graphs)
    else:
        (own,) = maps(student, graphs_alone(student, options, pair))
        (other,) = maps(teacher, graphs_alone(teacher, options, pair))
    of_student = _scaled(own[0], other[1] if options.normalise == "teacher" else own[1])
    of_teacher = _scaled(*other)
    difference = of_teacher.with_array(of_teacher.array - of_student.array)
    return VariationMaps(of_student, of_teacher, difference, notes(note))


def compared_graphs(student: Model, teacher: Model, pair: int = 0) -> tuple[Graphs | None, str]:
    """Return the variation graphs of a pair of taps as compared in the distillation.

    Returns
    -------
    graphs
        Function that returns the student's and the teacher's graph for a batch of windows,
        (B, C, *spatial); None if the student was not distilled from this teacher with Graph Flow.
    note
        Sentences to show with the maps.
    """
    method = load_method(student)
    if not isinstance(method, GraphFlow) or not method.pairs or not _is_teacher(teacher, student):
        return None, (
            "This student was not distilled from this teacher with Graph Flow, so the channels of "
            "the two maps are not matched."
        )

    if pair >= len(method.pairs):
        return None, "The distillation did not compare this pair of layers."

    def graphs(windows: Tensor) -> list[VariationGraph]:
        outputs = student.module(windows), teacher.module.to(windows.device)(windows)
        return list(method.graphs(*outputs, method.pairs[pair]))

    notes = []
    if method.paraphrasers:
        notes.append("The teacher's features are compressed as in the training of the student.")
    if method.options.peaks == "teacher":
        notes.append("The student's map is drawn where the teacher responds most.")
    return graphs, " ".join(notes)


def graphs_alone(model: Model, options: GraphFlowOptions, pair: int = 0) -> Graphs:
    """Return a function that computes the graph of one network, at its own peaks."""
    method, taps = load_method(model), PAIRS[pair]

    def graphs(windows: Tensor) -> list[VariationGraph]:
        output: Output = model.module(windows)
        if not set(taps) <= set(output.taps):
            raise UserError(
                f"The network has no tap {taps[0]} or no tap {taps[1]}, which a variation map "
                "needs.",
                "Choose another pair of layers, or name its taps when you import the model.",
            )
        encoder, decoder = (output.taps[tap] for tap in taps)
        if isinstance(method, GraphFlow):
            encoder, decoder = method.student_taps(output, taps)
        return [variation_graph(encoder, decoder, options.patch, mode=options.salience)]

    return graphs


def _maps(
    model: Model,
    volume: Volume,
    graphs: Graphs,
    channel: int | None,
    found_strides: set[tuple[int, ...]],
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> list[tuple[Volume, float]]:
    """Return the unscaled map of each graph and the mean energy of its salient patches.

    The strides of the taps are added to `found_strides`.
    """
    check_fits(volume, model.card)
    prepared = prepare(volume, model.card.preprocessing)
    energies: list[list[float]] = []

    def compute(windows: Tensor) -> Tensor:
        size = tuple(windows.shape[2:])
        found = graphs(windows)
        energies.append([float(patch_energy(graph)) for graph in found])
        strides = [strides_of(graph.encoder_size, size) for graph in found]
        found_strides.update(map(tuple, strides))
        drawn = [
            to_input_grid(variation_map(_only(graph, channel)), stride, size)
            for graph, stride in zip(found, strides, strict=True)
        ]
        return torch.stack(drawn, 1)

    maps = over_windows(
        compute,
        prepared.array,
        model.card.patch_size,
        device=model.device,
        progress=progress,
        cancelled=cancelled,
    )
    restored = restore_maps(maps.numpy(), prepared, smooth=False)
    return [
        (restored.with_array(restored.array[..., index]), sum(energy) / len(energy))
        for index, energy in enumerate(zip(*energies, strict=True))
    ]


def _only(graph: VariationGraph, channel: int | None) -> VariationGraph:
    """Return the graph with the patches of one channel; with all for None."""
    if channel is None:
        return graph
    channels = graph.encoder_patches.shape[1]
    if not 0 <= channel < channels:
        raise UserError(
            f"There is no channel {channel + 1}: the graph has {channels}.",
            f"Choose one from 1 to {channels}, or all.",
        )
    parts = ("encoder_patches", "decoder_patches", "encoder_index", "decoder_index")
    kept = {name: getattr(graph, name)[:, channel : channel + 1] for name in parts}
    return graph._replace(**kept)


def _scaled(volume: Volume, energy: float) -> Volume:
    return volume.with_array(volume.array / math.sqrt(energy)) if energy > 0 else volume


def _is_teacher(teacher: Model, student: Model) -> bool:
    provenance = student.card.provenance
    if provenance is None or provenance.teacher is None:
        return False
    return provenance.teacher.sha256 == weights_hash(teacher.folder)


def options_of(student: Model) -> GraphFlowOptions:
    """Return the options of the distillation of a student; defaults if there was none."""
    run = student.card.provenance.run if student.card.provenance else None
    if isinstance(run, DistillationConfig) and isinstance(run.method, GraphFlowOptions):
        return run.method
    return GraphFlowOptions(normalise="each")
