"""Encoding up to the bottleneck and decoding another one, for every network."""

import copy

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from napari_graphflow.config.networks import NETWORKS
from napari_graphflow.errors import UserError
from napari_graphflow.networks import build
from napari_graphflow.networks.bottleneck import (
    adapter_of,
    encode,
    frozen_statistics,
    recording,
)
from napari_graphflow.networks.taps import TapAdapter

every_network = pytest.mark.parametrize(
    ("name", "dims"),
    [(name, dims) for name in NETWORKS for dims in (2, 3) if (name, dims) != ("swin_unetr", 3)],
)
SIZES = {2: (37, 50), 3: (5, 19, 30)}


def network(name: str, dims: int = 2) -> TapAdapter:
    torch.manual_seed(0)
    return build(name, 1, 3, dims, {"swin_unetr": 12}.get(name, 4))


def image(dims: int = 2) -> Tensor:
    return torch.randn(2, 1, *SIZES[dims], generator=torch.Generator().manual_seed(1))


@every_network
def test_the_networks_own_bottleneck_decodes_to_its_own_logits(name: str, dims: int) -> None:
    net, x = network(name, dims).eval(), image(dims)
    with torch.no_grad():
        expected = net(x)
        encoded = encode(net, x)
        again = encoded.decode(encoded.bottleneck)
    torch.testing.assert_close(again, expected.logits, rtol=0, atol=0)
    torch.testing.assert_close(net(x).logits.detach(), expected.logits)  # nothing stays patched


@pytest.mark.parametrize("tap", ["encoder", "decoder", "decoder_2", "decoder_3"])
@pytest.mark.parametrize("name", ["enet", "fanet", "unet", "unetpp"])
def test_any_tap_can_take_the_place_of_the_bottleneck(name: str, tap: str) -> None:
    net, x = network(name).eval(), image()
    with torch.no_grad():
        expected = net(x).logits
        encoded = encode(net, x, tap=tap)
        again = encoded.decode(encoded.bottleneck)
        other = encoded.decode(encoded.bottleneck.flip(0) + 1)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    assert not torch.equal(other, expected)


@pytest.mark.parametrize("name", ["enet", "mobile_unet", "unet"])
def test_another_bottleneck_decodes_to_other_logits(name: str) -> None:
    net, x = network(name).eval(), image()
    encoded = encode(net, x)
    other = encoded.decode(encoded.bottleneck.flip(0) + 1)
    assert not torch.equal(other, net(x).logits)


@pytest.mark.parametrize("name", ["enet", "mobile_unet", "unet"])
def test_a_recorded_training_pass_decodes_with_the_same_dropout_and_statistics(name: str) -> None:
    net, x = network(name).train(), image()
    torch.manual_seed(3)
    with recording(net) as recorded:
        output = net(x)
    before = copy.deepcopy(net.state_dict())
    encoded = recorded(x)
    encoded.decode(encoded.bottleneck)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert output.taps["bottleneck"].shape[1] == encoded.bottleneck.shape[1]


def test_batch_norm_in_training_decodes_to_the_logits_of_the_recorded_pass() -> None:
    net, x = network("mobile_unet").train(), image()
    with recording(net) as recorded:
        output = net(x)
    encoded = recorded(x)
    assert torch.equal(encoded.decode(encoded.bottleneck), output.logits)


def gradients(net: nn.Module) -> dict[str, bool]:
    """Return which parts received a gradient: ``encoder`` and ``decoder``."""
    found = {"encoder": False, "decoder": False}
    encoder = ("module.stem", "module.encoder")
    for name, parameter in net.named_parameters():
        part = "encoder" if name.startswith(encoder) else "decoder"
        if parameter.grad is not None and bool(parameter.grad.any()):
            found[part] = True
    return found


@pytest.mark.parametrize("detach", [False, True])
def test_a_replaced_bottleneck_trains_the_decoder_and_by_skips_the_encoder(detach: bool) -> None:
    net, x = network("mobile_unet").train(), image()
    encoded = encode(net, x)
    replacement = torch.randn_like(encoded.bottleneck)
    encoded.decode(replacement, detach_skips=detach).square().mean().backward()  # type: ignore[no-untyped-call]
    assert gradients(net) == {"encoder": not detach, "decoder": True}


def test_a_gradient_passes_through_a_frozen_decoder_to_the_replacement() -> None:
    net, x = network("unet").eval().requires_grad_(False), image()
    with torch.no_grad():
        encoded = encode(net, x)
    replacement = torch.randn_like(encoded.bottleneck).requires_grad_()
    encoded.decode(replacement).square().mean().backward()  # type: ignore[no-untyped-call]
    assert replacement.grad is not None
    assert replacement.grad.abs().sum() > 0


def test_encoding_runs_no_layer_after_the_bottleneck() -> None:
    net, calls = network("unet"), []
    net.module.upcat_4.register_forward_hook(lambda *_: calls.append(1))
    encode(net, image())
    assert not calls


def test_encoding_leaves_the_running_statistics_unless_asked() -> None:
    net, x = network("mobile_unet").train(), image()
    before = copy.deepcopy(net.state_dict())
    encode(net, x)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    encode(net, x, update_statistics=True)
    assert not torch.equal(before["stem.1.running_mean"], net.state_dict()["stem.1.running_mean"])


def test_frozen_statistics_are_restored_after_an_error() -> None:
    net = network("enet").train()
    with pytest.raises(RuntimeError), frozen_statistics(net):
        raise RuntimeError
    assert all(
        layer.track_running_stats for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)
    )


def test_a_monai_network_is_split_too() -> None:
    torch.manual_seed(0)
    module = nets.UNet(2, 1, 2, (4, 8, 16), (2, 2))
    path = "model.1.submodule.1.submodule"
    net = TapAdapter(module, {"bottleneck": path}, multiple=4).eval()
    x = image()
    encoded = encode(net, x)
    assert torch.equal(encoded.decode(encoded.bottleneck), net(x).logits)


def test_a_network_without_a_bottleneck_tap_is_refused() -> None:
    net = TapAdapter(nn.Conv2d(1, 2, 1), {})
    with pytest.raises(UserError, match="has no tap bottleneck"):
        encode(net, image())


def test_a_replacement_of_another_shape_is_refused() -> None:
    encoded = encode(network("unet"), image())
    with pytest.raises(UserError, match="its replacement"):
        encoded.decode(encoded.bottleneck[:1])


def test_a_network_without_the_tap_bottleneck_is_split_at_another() -> None:
    net, x = network("unet").eval(), image()
    net.use_taps({"decoder": net.taps["decoder"]})
    assert adapter_of(net) is net
    encoded = encode(net, x, tap="decoder")
    assert torch.equal(encoded.decode(encoded.bottleneck), net(x).logits)
    with pytest.raises(UserError, match="has no tap bottleneck"):
        encode(net, x)
