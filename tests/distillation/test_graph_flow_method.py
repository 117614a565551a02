"""The method of Graph Flow hands its settings on to the mathematics, whole runs included."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import DynUNet
from safetensors.torch import save_file
from torch import Tensor
from training_cases import PATCH, distillation, metrics, shapes

from napari_graphflow.config.methods import AdversarialOptions, GraphFlowOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.graph_flow.loss import graph_flow_loss, variation_graph
from napari_graphflow.distillation.graph_flow.method import GraphFlow
from napari_graphflow.errors import UserError
from napari_graphflow.models.saved import import_state, read_state
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Warned
from napari_graphflow.training.loop import distill

PAIRS = [("encoder", "decoder"), ("encoder_2", "decoder_2")]
KINDS = {
    "salience": ["max", "abs"],
    "edge": ["inner", "gram_of_variation", "pearson", "cosine"],
    "vertex": ["vector", "scalar"],
    "normalise": ["teacher", "each", "channel"],
    "peaks": ["own", "teacher"],
}


def output(seed: int, cells: int = 8, channels: int = 3, spread: float = 1.0) -> Output:
    random = torch.Generator().manual_seed(seed)
    # Channels and pairs of different energy, so that an energy of the wrong tap is detected.
    scales = spread ** torch.arange(channels).reshape(1, -1, 1, 1)
    taps = {
        name: (number + 1) * scales * torch.randn(2, channels, cells, cells, generator=random)
        for number, pair in enumerate(PAIRS)
        for name in pair
    }
    return Output(torch.randn(2, 2, 32, 32, generator=random), taps)


def method(student: Output, teacher: Output, **options: object) -> GraphFlow:
    chosen = GraphFlowOptions(**({"paraphraser_steps": 0, "tap_pairs": 2} | options))
    config = DistillationConfig(dataset=Path(), teacher=Path(), dims=2, method=chosen)
    made = GraphFlow(config, shapes(student, teacher))
    list(made.prepare(lambda _: teacher, [teacher], [teacher]))
    return made


@pytest.mark.parametrize("kinds", list(product(*KINDS.values())), ids="-".join)
def test_graph_flow_terms_are_the_configured_loss_summed_over_tap_pairs(kinds):
    options = dict(zip(KINDS, kinds, strict=True))
    student, teacher = output(0, spread=3.0), output(1, spread=2.0)
    found = method(student, teacher, **options).terms(student, teacher, torch.ones(2, 32, 32))
    wanted = [0.0, 0.0]
    for encoder, decoder in PAIRS:
        names = options["salience"], options["edge"], options["vertex"]
        of_teacher = variation_graph(teacher.taps[encoder], teacher.taps[decoder], 3, *names)
        peaks = of_teacher if options["peaks"] == "teacher" else None
        ours = variation_graph(student.taps[encoder], student.taps[decoder], 3, *names, peaks)
        # The teacher's energy over a training set of this one batch is that of the batch.
        losses = graph_flow_loss(ours, of_teacher, normalise=options["normalise"])
        wanted = [value + float(loss) for value, loss in zip(wanted, losses, strict=True)]
    assert [float(found[name]) for name in ("vertices", "edges")] == pytest.approx(wanted, rel=1e-5)


def test_graph_flow_loss_normalised_by_own_energy_by_hand():
    def energy(*patches: Tensor) -> Tensor:
        return torch.cat([one.flatten() for one in patches]).square().mean()

    student, teacher = (
        variation_graph(*map(Tensor.double, (one.taps["encoder"], one.taps["decoder"])), 3)
        for one in (output(2), output(3))
    )
    of_teacher = 2.7  # over its training set, not of this batch
    vertex, edge = graph_flow_loss(student, teacher, energy=of_teacher, normalise="each")
    own = energy(student.encoder_patches, student.decoder_patches)
    difference = student.vertices / own.sqrt() - teacher.vertices / of_teacher**0.5
    assert float(vertex) == pytest.approx(float(difference.square().mean()), rel=1e-9)
    difference = (student.edges / own - teacher.edges / of_teacher) / 9
    assert float(edge) == pytest.approx(float(difference.square().mean()), rel=1e-9)


def test_graph_flow_refuses_a_network_without_named_taps():
    student, teacher = output(0), Output(torch.zeros(2, 2, 32, 32), {})
    with pytest.raises(UserError, match="Named taps: none"):
        method(student, teacher)


def test_nan_features_stop_the_training_of_paraphrasers():
    student, teacher = output(0), output(1)
    teacher.taps["decoder_2"][0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="decoder_2"):
        method(student, teacher, paraphraser_steps=2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nonfinite_features_stop_the_measurement_of_teacher_energy(value):
    student, teacher = output(0), output(1)
    teacher.taps["decoder_2"][0, 0, 0, 0] = value
    with pytest.raises(FloatingPointError, match="encoder_2 or decoder_2"):
        method(student, teacher)


def test_nan_logits_stop_the_training_of_the_discriminator():
    student, teacher = output(0), output(1)
    adversarial = AdversarialOptions(weight=0.1, width=4)
    options = GraphFlowOptions(paraphraser_steps=0, adversarial=adversarial)
    config = DistillationConfig(dataset=Path(), teacher=Path(), dims=2, method=options)
    made = GraphFlow(config, shapes(student, teacher))
    with pytest.raises(FloatingPointError, match="discriminator"):
        made.after_step(student, Output(teacher.logits * torch.nan, teacher.taps))


def test_graph_flow_trains_with_a_foreign_anisotropic_teacher(blobs, tmp_path):
    """The teacher's taps keep all slices and differ in size; the patch is flat."""
    arguments = {
        "kernel_size": [[1, 3, 3], 3, 3, 3], "strides": [1, [1, 2, 2], [1, 2, 2], 2],
        "upsample_kernel_size": [[1, 2, 2], [1, 2, 2], 2], "filters": [4, 8, 12, 16],
    }  # fmt: skip
    torch.manual_seed(0)
    weights = DynUNet(spatial_dims=3, in_channels=1, out_channels=3, **arguments).state_dict()
    save_file({name: value.clone() for name, value in weights.items()}, tmp_path / "w.safetensors")
    card = ModelCard(
        name="thin", role="teacher", network="monai:DynUNet", dims=3, in_channels=1,
        classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=PATCH,
        arguments=arguments | {"multiple": [2, 8, 8]}, preprocessing=Preprocessing(),
        taps={"encoder": "downsamples.1", "decoder": "upsamples.1"},
    )  # fmt: skip
    import_state(read_state(tmp_path / "w.safetensors"), card, tmp_path / "thin")
    options = GraphFlowOptions(patch=(1, 3, 3), paraphraser_steps=2)
    config = distillation(blobs, tmp_path / "thin", method=options, steps=2)
    events = list(distill(config, tmp_path / "run"))
    scores = metrics(events)
    for term in ("vertices", "edges"):
        assert (np.array(scores[f"loss/{term}"]) > 0).all()
    warnings = [event.text for event in events if isinstance(event, Warned)]
    assert any("differs between student and teacher" in text for text in warnings)
