"""Published networks have the published numbers of parameters and multiply-adds."""

import copy
import json
from importlib import import_module

import pytest
import torch
from torch import nn

from napari_graphflow.config.networks import NETWORKS
from napari_graphflow.models.size import count_macs, count_parameters
from napari_graphflow.networks import build


@pytest.mark.parametrize(
    ("name", "millions", "without_norms", "giga_macs"),
    [
        ("enet", 0.349, None, 0.461),
        ("erfnet", 2.063, None, 3.304),
        ("mobile_unet", 4.682, 4.640, 0.963),
        ("fanet", 38.292, 38.250, None),
        ("trans_unet", 105.3, None, None),
    ],
)
def test_networks_have_the_published_size(name, millions, without_norms, giga_macs):
    network = build(name, 1, 2, dims=2)
    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=6e-4 * max(1, millions))
    if without_norms:
        count = count_parameters(network, batch_norm=False)
        assert count / 1e6 == pytest.approx(without_norms, abs=6e-4)
    if giga_macs:
        assert count_macs(network, (1, 1, 256, 256)) / 1e9 == pytest.approx(giga_macs, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "millions", "giga_macs"),
    [
        ("raunet", 22.143, 13.23),
        ("pspnet", 46.707, 103.59),
        ("mobilenet_v2", 2.229, 9.57),
        ("resnet18", 11.178, 5.33),
        ("enet", 0.354, 1.02),
        ("unetpp", 36.629, 309.95),
    ],
)
def test_emkd_networks_have_the_size_of_the_published_code(name, millions, giga_macs):
    """Counts of EMKD's code for 3 channels (UNet++: 1), 2 classes, one 384 x 384 slice.

    A multiply-add of a convolution or a transposed convolution counts once. MobileNetV2 has
    1280 x 2 + 2 more weights there, those of an unused classifier. ENet is a variant there, with a
    block that is never run; our UNet++ is MONAI's.
    """
    channels = 1 if name == "unetpp" else 3
    network = build(name, channels, 2, dims=2)
    found = count_parameters(network) + (1280 * 2 + 2 if name == "mobilenet_v2" else 0)
    macs = count_macs(network, (1, channels, 384, 384)) / 1e9
    variant = name in {"enet", "unetpp"}
    assert found / 1e6 == pytest.approx(millions, rel=0.015 if variant else 2e-4)
    assert macs == pytest.approx(giga_macs, rel=0.06 if variant else 6e-4)


def test_fanet_macs_differ_from_the_published_by_one_strip_convolution_per_level():
    """On the whole map it needs 3 C^2 multiply-adds per pixel; C^2 H W is equal at all levels."""
    macs = count_macs(build("fanet", 1, 2, dims=2), (1, 1, 256, 256)) / 1e9
    assert macs == pytest.approx(164.17, abs=0.01)
    assert macs + 3 * 3 * 256**2 * 64**2 / 1e9 == pytest.approx(166.6, abs=0.02)


def test_counting_macs_does_not_change_the_network():
    network = build("enet", 1, 3, 2, 4).train()
    network.module.stage2.eval()
    before = copy.deepcopy(network.state_dict())
    one = count_macs(network, (1, 1, 32, 32))
    assert count_macs(network, (3, 1, 32, 32)) == 3 * one
    assert network.training
    assert not network.module.stage2.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    layer = nn.Conv2d(3, 5, 3, padding=1)
    assert count_macs(layer, (1, 3, 7, 7)) == 3 * 5 * 9 * 49
    assert count_macs(nn.ConvTranspose2d(3, 5, 2, 2), (1, 3, 7, 7)) == 3 * 5 * 4 * 49


@pytest.mark.parametrize(
    ("name", "channels"),
    {
        # Graph Flow's pair, at stride 4.
        "fanet": {"encoder": 256, "decoder": 256},
        "mobile_unet": {"encoder": 24, "decoder": 24},
        "erfnet": {"encoder": 64, "decoder": 64},
        # EMKD's, at strides 2 and 8.
        "raunet": {"lo": 64, "hi": 128},
        "pspnet": {"lo": 64, "hi": 2048},
        "mobilenet_v2": {"lo": 32, "hi": 1280},
        "resnet18": {"lo": 64, "hi": 128},
        # Both.
        "unetpp": {"encoder": 256, "decoder": 256, "lo": 128, "hi": 512},
        "enet": {"encoder": 64, "decoder": 64, "lo": 16, "hi": 128},
    }.items(),
)
def test_taps_have_the_published_channels(name, channels):
    network = build(name, 1, 2, 2).eval()
    with torch.no_grad():
        taps = network(torch.zeros(1, 1, 32, 32)).taps
    assert {tap: taps[tap].shape[1] for tap in channels} == channels


def test_the_list_of_networks_shows_parameters_and_multiply_adds(monkeypatch, capsys):
    commands = import_module("napari_graphflow.cli.models")  # the package has an App of this name
    monkeypatch.setattr(commands, "NETWORKS", {"enet": NETWORKS["enet"]})
    commands.networks(macs=True, json=True)
    row = json.loads(capsys.readouterr().out)["enet"]
    assert row["parameters"]["2"] == count_parameters(build("enet", 1, 2, dims=2))
    assert row["macs"] == count_macs(build("enet", 1, 2, dims=2), (1, 1, 256, 256))
