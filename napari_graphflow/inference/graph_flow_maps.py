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
from napari_graphflow.inference.torch_windows import over_windows
from napari_graphflow.inference.whole_volume import Cancelled, Progress
from napari_graphflow.models.methods import load_method
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.taps import Output, strides_of

#: The pair of taps whose maps are computed.
TAPS = ("encoder", "decoder")
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
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> VariationMaps:
    """Compute the variation map ``V(u)`` of a student and, if given, of a teacher.

    The graphs are computed window by window with the patch of the student's distillation (3 if
    there was none). If the student was distilled from this teacher, the maps are computed from the
    tensors of the loss: through the paraphrasers of that distillation, with the student's patches
    cut at its teacher's peaks if the distillation did so.

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
    of_student = _scaled(own[0], other[1] if options.normalise == "teacher" else own[1])
    of_teacher = _scaled(*other)
    difference = of_teacher.with_array(of_teacher.array - of_student.array)
    return VariationMaps(of_student, of_teacher, difference, (about, note) if note else (about,))


def compared_graphs(student: Model, teacher: Model) -> tuple[Graphs | None, str]:
    """Return the variation graphs of the first tap pair as compared in the distillation.

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

    def graphs(windows: Tensor) -> list[VariationGraph]:
        outputs = student.module(windows), teacher.module.to(windows.device)(windows)
        return list(method.graphs(*outputs, method.pairs[0]))

    notes = []
    if method.paraphrasers:
        notes.append("The teacher's features are compressed as in the training of the student.")
    if method.options.peaks == "teacher":
        notes.append("The student's map is drawn where the teacher responds most.")
    return graphs, " ".join(notes)


def _alone(model: Model, options: GraphFlowOptions) -> Graphs:
    """Return a function that computes the graph of one network, at its own peaks."""
    method = load_method(model)

    def graphs(windows: Tensor) -> list[VariationGraph]:
        output: Output = model.module(windows)
        if not set(TAPS) <= set(output.taps):
            raise UserError(
                "The network has no tap encoder or no tap decoder, which a variation map needs.",
                "Name its taps when you import the model.",
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
    """Return the unscaled map of each graph and the mean energy of its salient patches."""
    check_fits(volume, model.card)
    prepared = prepare(volume, model.card.preprocessing)
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


def _scaled(volume: Volume, energy: float) -> Volume:
    return volume.with_array(volume.array / math.sqrt(energy)) if energy > 0 else volume


def _is_teacher(teacher: Model, student: Model) -> bool:
    provenance = student.card.provenance
    if provenance is None or provenance.teacher is None:
        return False
    return provenance.teacher.sha256 == weights_hash(teacher.folder)


def _options(student: Model) -> GraphFlowOptions:
    run = student.card.provenance.run if student.card.provenance else None
    if isinstance(run, DistillationConfig) and isinstance(run.method, GraphFlowOptions):
        return run.method
    return GraphFlowOptions(normalise="each")
