"""Maps of the variation graph in a scan's own grid, from the very tensors of the loss.

They show where a network's internal features change between encoder and decoder. They are no
property of the tissue, and none of them is a picture of the paper (design choice).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.graph_flow.loss import (
    VariationGraph,
    patch_energy,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.maps import to_input_grid, variation_map
from napari_graphflow.distillation.graph_flow.method import GraphFlow
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import preprocess, restore_maps
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.predict import Cancelled, Progress, over_windows
from napari_graphflow.models.compatibility import check_fits
from napari_graphflow.models.methods import load_method
from napari_graphflow.models.saved import Model, weights_hash
from napari_graphflow.networks.taps import Output, strides_of

#: The pair of taps that is drawn.
TAPS = ("encoder", "decoder")


#: The variation graphs of one or two networks for a batch of windows.
Graphs = Callable[[Tensor], list[VariationGraph]]


@dataclass(frozen=True)
class VariationMaps:
    """Variation maps in the grid of the image, in units of the salient activation.

    Attributes
    ----------
    student, teacher
        Maps, not negative, on one scale; the teacher's only if a teacher was given.
    difference
        Teacher minus student.
    notes
        Sentences that belong beside the pictures.
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
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> VariationMaps:
    """Draw the variation map ``V(u)`` of a student and, beside it, that of its teacher.

    The graphs are formed window by window with the patch of the student's distillation (3 where
    there was none). A teacher that this student was distilled from is drawn through the
    paraphrasers of that distillation, and where the distillation cut the student's patches at its
    teacher's peaks, so does its map: both then stem from the tensors of the loss.

    Raises
    ------
    UserError
        If the image does not fit a model, or a network has no pair of taps.
    """
    options = _options(student)
    about = "Internal features of the network, not tissue properties."
    report = progress, cancelled
    if teacher is None:
        (own,) = _maps(student, volume, _alone(student, options), *report)
        return VariationMaps(_scaled(*own), None, None, (about,))
    graphs, note = compared_graphs(student, teacher)
    if graphs is not None:
        own, other = _maps(student, volume, graphs, *report)
    else:
        (own,) = _maps(student, volume, _alone(student, options), *report)
        (other,) = _maps(teacher, volume, _alone(teacher, options), *report)
    mine = _scaled(own[0], other[1] if options.normalise == "teacher" else own[1])
    theirs = _scaled(*other)
    difference = theirs.with_array(theirs.array - mine.array)
    return VariationMaps(mine, theirs, difference, (about, note) if note else (about,))


def compared_graphs(student: Model, teacher: Model) -> tuple[Graphs | None, str]:
    """Variation graphs of the first pair of taps, as the student's distillation compared them.

    Returns
    -------
    graphs
        Gives the student's and the teacher's graph for a batch of windows, (B, C, *spatial); None
        where the student was not distilled from this teacher by Graph Flow.
    note
        What is to be known about them.
    """
    method = load_method(student)
    if not isinstance(method, GraphFlow) or not method.pairs or not _is_teacher(teacher, student):
        return None, (
            "This student was not distilled from this teacher by Graph Flow, so the channels of "
            "the two maps are not matched."
        )

    def graphs(windows: Tensor) -> list[VariationGraph]:
        outputs = student.module(windows), teacher.module.to(windows.device)(windows)
        return list(method.graphs(*outputs, method.pairs[0]))

    notes = []
    if method.paraphrasers:
        notes.append("The teacher's channels are those of the paraphraser, an autoencoder's code.")
    if method.options.peaks == "teacher":
        notes.append("The student is drawn at the places where its teacher's channels peak.")
    return graphs, " ".join(notes)


def _alone(model: Model, options: GraphFlowOptions) -> Graphs:
    """The graph of one network, at its own peaks."""
    method = load_method(model)

    def graphs(windows: Tensor) -> list[VariationGraph]:
        output: Output = model.module(windows)
        if not set(TAPS) <= set(output.taps):
            raise UserError(
                "The network has no tap called encoder or decoder, so no variation map can be "
                "drawn.",
                "Name its taps when it is imported.",
            )
        encoder, decoder = (output.taps[tap] for tap in TAPS)
        if isinstance(method, GraphFlow):
            encoder, decoder = method.student_taps(output, TAPS)
        return [variation_graph(encoder, decoder, options.patch, mode=options.salience)]

    return graphs


def _maps(
    model: Model,
    volume: Volume,
    graphs: Graphs,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> list[tuple[Volume, float]]:
    """The unscaled map of each graph and the mean energy of its salient patches."""
    check_fits(volume, model.card)
    prepared = preprocess(volume, model.card.preprocessing)
    energies: list[list[float]] = []

    def compute(windows: Tensor) -> Tensor:
        size = tuple(windows.shape[2:])
        found = graphs(windows)
        energies.append([float(patch_energy(graph)) for graph in found])
        drawn = [
            to_input_grid(variation_map(graph), strides_of(graph.encoder_size, size), size)
            for graph in found
        ]
        return torch.stack(drawn, 1)

    maps = over_windows(
        compute,
        prepared.array,
        model.card.dims,
        model.card.patch_size,
        device=model.device,
        overlap=0.0,
        progress=progress,
        cancelled=cancelled,
    )
    restored = restore_maps(maps.numpy(), prepared, smooth=False)
    return [
        (restored.with_array(restored.array[..., index]), sum(energy) / len(energy))
        for index, energy in enumerate(zip(*energies, strict=True))
    ]


def _scaled(volume: Volume, energy: float) -> Volume:
    return volume.with_array(volume.array / math.sqrt(energy)) if energy > 0 else volume


def _is_teacher(teacher: Model, student: Model) -> bool:
    made = student.card.provenance
    if made is None or made.teacher is None:
        return False
    return made.teacher.sha256 == weights_hash(teacher.folder)


def _options(student: Model) -> GraphFlowOptions:
    run = student.card.provenance.run if student.card.provenance else None
    if isinstance(run, DistillationConfig) and isinstance(run.method, GraphFlowOptions):
        return run.method
    return GraphFlowOptions(normalise="each")
