"""Graph Flow with the student's patches cut at its teacher's peaks, and the logged metrics."""

from itertools import product
from pathlib import Path

import pytest
import torch
from graph_flow_cases import slow_losses, slow_patch, taps, worked_example
from training_cases import shapes

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.graph_flow.loss import (
    channel_energy,
    graph_flow_loss,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.method import GraphFlow
from napari_graphflow.distillation.graph_flow.salience import map_peaks, salience
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Metric, Progress, Warned


def test_worked_example_at_the_peaks_of_the_teacher():
    """By hand: the student's values around the teacher's peaks.

    Encoder: channel 1 has its 1 below the peak (entry 7), channel 2 nothing. Decoder: channel 1
    has 3 below and 1 right below it (entries 7 and 8), channel 2 its 2 left below (entry 6).
    """
    student, _, teacher = worked_example()
    graph = variation_graph(*student, 3, peaks_of=teacher)
    wanted = torch.zeros(2, 9, dtype=torch.float64)
    wanted[0, 7], wanted[0, 8], wanted[1, 6] = 2, 1, 2
    assert torch.equal(graph.vertices[0], wanted)
    assert graph.edges[0].tolist() == [[9, 0], [0, 4]]
    assert torch.equal(graph.encoder_index, teacher.encoder_index)
    assert torch.equal(graph.decoder_index, teacher.decoder_index)
    losses = graph_flow_loss(graph, teacher, "paper_sum")
    assert [loss.item() for loss in losses] == [4 + 4 + 1 + 4 + 4, 9 + 4 + 4 + 144]


def test_loss_at_teacher_peaks_equals_loss_at_own_peaks_if_they_coincide():
    student, teacher = taps((2, 4, 6, 7), 1), taps((2, 4, 6, 7), 2)
    for pair in zip(student, teacher, strict=True):
        for tap, (b, c) in product(pair, product(range(2), range(4))):
            tap[b, c, 1 + c, 2 + b] = 9.0 + c
    graph = variation_graph(*teacher, 3)
    losses = graph_flow_loss(variation_graph(*student, 3, peaks_of=graph), graph, "paper_sum")
    assert [float(loss) for loss in losses] == pytest.approx(
        slow_losses(student, teacher, 3, "max", "inner", "vector")
    )


def test_constant_features_have_zero_loss_at_own_peaks_and_not_at_teacher_peaks():
    """The reason for the option: a constant pattern in a corner has no loss at its own peaks."""
    pattern = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=torch.float64)

    def tap(places):
        made = torch.zeros(len(places), 1, 9, 9, dtype=torch.float64)
        for image, (row, column) in enumerate(places):
            made[image, 0, row - 1 : row + 2, column - 1 : column + 2] = pattern
        return made

    there = torch.randint(1, 8, (2, 5, 2), generator=torch.Generator().manual_seed(0)).tolist()
    corner = [(1, 1)] * 5
    teacher = variation_graph(tap(there[0]), 2 * tap(there[1]), 3)
    lazy = tap(corner), 2 * tap(corner)
    vertices, edges = graph_flow_loss(variation_graph(*lazy, 3), teacher)
    assert (vertices, edges) == (0, 0)
    vertices, edges = graph_flow_loss(variation_graph(*lazy, 3, peaks_of=teacher), teacher)
    assert vertices > 0.1
    assert edges > 0.1


@pytest.mark.parametrize(
    ("place", "size", "target", "wanted"),
    [
        ((1, 2), (4, 4), (8, 8), (3, 5)),
        ((3, 5), (8, 8), (4, 4), (1, 2)),
        ((3, 5), (8, 8), (8, 8), (3, 5)),
        ((2, 0), (3, 5), (9, 5), (7, 0)),
        ((1, 7, 4), (2, 8, 5), (4, 2, 5), (3, 1, 4)),
        ((0, 6), (1, 7), (3, 2), (1, 1)),
    ],
)
def test_peaks_are_mapped_to_a_grid_of_another_size(place, size, target, wanted):
    def flat(at, shape):
        index = 0
        for one, length in zip(at, shape, strict=True):
            index = index * length + one
        return index

    moved = map_peaks(torch.tensor([[flat(place, size)]]), size, target)
    assert moved.tolist() == [[flat(wanted, target)]]


def test_teacher_peaks_are_mapped_between_different_strides():
    """The student's map has twice the resolution; its patch is cut at the teacher's peak."""
    teacher = variation_graph(*taps((1, 3, 5, 6), 5), 3)
    encoder, decoder = taps((1, 3, 10, 12), 6)
    graph = variation_graph(encoder, decoder, 1, peaks_of=teacher)
    for c in range(3):
        row, column = divmod(int(teacher.encoder_index[0, c]), 6)
        assert graph.encoder_patches[0, c, 0] == encoder[0, c, 2 * row + 1, 2 * column + 1]


def test_gradients_reach_only_the_patches_at_the_teacher_peaks():
    encoder, decoder = taps((1, 2, 7, 7), 3, grad=True)
    teacher = variation_graph(*taps((1, 2, 7, 7), 9), 3)
    graph = variation_graph(encoder, decoder, 3, peaks_of=teacher)
    sum(graph_flow_loss(graph, teacher)).backward()
    for tap, index in ((encoder, graph.encoder_index), (decoder, graph.decoder_index)):
        for c in range(2):
            row, column = divmod(int(index[0, c]), 7)
            near = torch.zeros(7, 7, dtype=torch.bool)
            near[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
            assert tap.grad[0, c][near].all()
            assert not tap.grad[0, c][~near].any()


def test_peaks_of_a_graph_of_another_batch_or_width_are_refused():
    teacher = variation_graph(*taps((2, 3, 6, 6), 0), 3)
    for shape, words in (((1, 3, 6, 6), "images: 1 and 2"), ((2, 4, 6, 6), "channels: 4 and 3")):
        with pytest.raises(UserError, match=words):
            variation_graph(*taps(shape, 1), 3, peaks_of=teacher)
    with pytest.raises(UserError, match="spatial axes: 3 and 2"):
        variation_graph(*taps((2, 3, 4, 4, 4), 1), 3, peaks_of=teacher)


def outputs(sizes, channels=3):
    """What a network returned for batches of some sizes."""
    made = []
    for seed, size in enumerate(sizes):
        encoder, decoder = (tap.float() for tap in taps((size, channels, 6, 5), seed))
        made.append(Output(torch.zeros(size, 2, 12, 10), {"encoder": encoder, "decoder": decoder}))
    return made


def method(student, teacher, **options):
    chosen = GraphFlowOptions(**options)
    config = DistillationConfig(dataset=Path(), teacher=Path(), dims=2, method=chosen)
    return GraphFlow(config, shapes(student, teacher))


def test_teacher_energy_is_the_mean_over_training_images_for_any_batching():
    batches = outputs((2, 2, 1))
    flow = method(batches[0], batches[0], paraphraser_steps=0)
    events = list(flow.prepare(lambda _: batches[0], batches, []))
    logged = {e.name: e.value for e in events if isinstance(e, Metric)}
    assert [e.step for e in events if isinstance(e, Progress)] == [1, 2, 3]
    squares = torch.zeros(3, dtype=torch.float64)
    for output, tap in product(batches, ("encoder", "decoder")):
        for image, c in product(output.taps[tap], range(3)):
            squares[c] += sum(v * v for v in slow_patch(image[c], 3, "max")[0])
    wanted = squares / (5 * 2 * 9)
    torch.testing.assert_close(flow.energy_encoder.double(), wanted, rtol=1e-5, atol=0)
    assert logged == {"graph/energy_encoder": pytest.approx(float(wanted.mean()), rel=1e-5)}
    _, index = salience(batches[0].taps["encoder"], 3)
    assert index.shape == (2, 3)
    assert channel_energy(variation_graph(*batches[0].taps.values(), 3)).shape == (3,)


def test_paraphraser_r2_is_logged_for_held_out_cases_only():
    torch.manual_seed(0)
    training, held_out = outputs((2, 2)), outputs((2, 1))
    flow = method(training[0], training[0], paraphraser_steps=2)
    events = flow.prepare(lambda _: training[0], training, [])
    names = [event.name for event in events if isinstance(event, Metric)]
    assert "graph/energy_encoder" in names
    assert not any("r2" in name for name in names)
    flow = method(training[0], training[0], paraphraser_steps=2)
    events = list(flow.prepare(lambda _: training[0], training, held_out))
    logged = {e.name: e for e in events if isinstance(e, Metric) and "r2" in e.name}
    assert set(logged) == {"paraphraser/r2_encoder", "paraphraser/r2_decoder"}
    assert {event.split for event in logged.values()} == {"val"}
    for tap in ("encoder", "decoder"):
        features = torch.cat([output.taps[tap] for output in held_out])
        means = features.mean((0, 2, 3), keepdim=True)
        with torch.no_grad():
            lost = (flow.paraphrasers[tap](features) - features).square().sum()
        wanted = 1 - lost / (features - means).square().sum()
        assert logged[f"paraphraser/r2_{tap}"].value == pytest.approx(float(wanted), abs=1e-5)


def test_taps_of_unequal_strides_log_a_warning():
    student, teacher = outputs((2, 2))
    flow = method(student, teacher, paraphraser_steps=0)
    assert not [e for e in flow.prepare(lambda _: teacher, [teacher], []) if isinstance(e, Warned)]
    finer = {name: tap.repeat_interleave(2, 2) for name, tap in student.taps.items()}
    flow = method(Output(student.logits, finer), teacher, paraphraser_steps=0)
    events = flow.prepare(lambda _: teacher, [teacher], [])
    (warning,) = [event for event in events if isinstance(event, Warned)]
    assert "resolution of the taps encoder and decoder differs" in warning.text


@pytest.mark.parametrize("peaks", ["own", "teacher"])
def test_constant_share_metric_detects_a_constant_student(peaks):
    one, *others = outputs((1,) * 40)
    flow = method(one, one, paraphraser_steps=0, peaks=peaks)

    def constant(*parts):
        taps = {name: torch.cat([part.taps[name] for part in parts]) for name in one.taps}
        batch = Output(torch.cat([part.logits for part in parts]), taps)
        return flow.diagnostics(batch, batch).get("graph/constant")

    assert constant(one, one, one) == pytest.approx(1)
    swapped = Output(one.logits, {"encoder": one.taps["decoder"], "decoder": one.taps["encoder"]})
    assert constant(one, swapped) == pytest.approx(-1)
    assert constant(*others) < 0.2
    assert constant(one) is None
