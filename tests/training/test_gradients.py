"""Gradient norms of the loss terms, compared with a manual backward pass."""

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn

from napari_graphflow.networks import build
from napari_graphflow.training.gradients import gradient_norms


def manual_norm(network, loss):
    network.zero_grad()
    loss.backward()
    found = sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None)
    network.zero_grad()
    return found**0.5


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_gradient_norms_equal_manual_ones_in_every_precision(precision):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = torch.randn(2, 1, 8, 8)
    losses = {
        "all": lambda maps: maps.square().mean(),
        "tiny": lambda maps: 1e-7 * maps.square().mean(),
        "last bias": lambda maps: maps.sum() - (maps - network[2].bias[:, None, None]).sum(),
        "none": lambda maps: 0 * maps.sum(),
    }
    expected = {name: manual_norm(network, loss(network(images))) for name, loss in losses.items()}
    assert expected["tiny"] > 0
    # Selected by name, Fabric supports 16-mixed on GPUs only.
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    one = precision == "16-mixed"
    plugins = [LightningEnvironment(), *([half] if one else [])]
    fabric = Fabric(
        accelerator="cpu", devices=1, plugins=plugins, precision=None if one else precision
    )
    student, _ = fabric.setup(network, torch.optim.SGD(network.parameters(), 0.1))
    maps = student(images)
    norms = gradient_norms({name: loss(maps) for name, loss in losses.items()}, student, fabric)
    exact = precision == "32-true"
    for name, value in expected.items():
        close = pytest.approx(value, rel=1e-5 if exact else 3e-2, abs=1e-4 if name != "tiny" else 0)
        assert norms[f"gradient/{name}"] == close, name
    assert all(parameter.grad is None for parameter in network.parameters())
    fabric.backward(losses["all"](maps))
    assert network[0].weight.grad is not None


def test_gradient_norms_leave_out_frozen_weights():
    network = build("unetpp", 1, 2, 2, 4)
    frozen = [weight for weight in network.parameters() if not weight.requires_grad]
    assert frozen
    fabric = Fabric(accelerator="cpu", devices=1, plugins=LightningEnvironment())
    student, _ = fabric.setup(network, torch.optim.SGD(network.parameters(), 0.1))
    loss = student(torch.randn(2, 1, 16, 16)).logits.square().mean()
    expected = torch.autograd.grad(
        loss, [w for w in network.parameters() if w.requires_grad], retain_graph=True
    )
    norm = torch.stack([one.square().sum() for one in expected]).sum().sqrt()
    assert gradient_norms({"it": loss}, student, fabric)["gradient/it"] == pytest.approx(
        float(norm), rel=1e-4
    )
