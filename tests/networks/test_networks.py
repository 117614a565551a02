"""The contract of all networks, the tap adapter, and refusals."""

import copy
import gc
import json
import math
import subprocess
import sys
import weakref

import pytest
import torch
from monai.networks import nets
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import NETWORKS, PARAMETERS, TAP_NAMES
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.models.saved import import_state, load_model, read_state
from napari_graphflow.models.size import count_parameters
from napari_graphflow.networks import build
from napari_graphflow.networks.enet import pool, pool_with_map, unpool
from napari_graphflow.networks.taps import TapAdapter

SMALL = {"swin_unetr": 12}
STRIDES = {"": 4, "_2": 2, "_3": 8}
#: Feature maps of the encoder that every network has.
ENCODER_TAPS = {"lo": 2, "hi": 8}
#: Networks that enlarge the logits of their deepest map.
WITHOUT_DECODER = {"pspnet", "mobilenet_v2", "resnet18"}
ODD = {2: (37, 50), 3: (5, 19, 30)}

every_network = pytest.mark.parametrize(
    ("name", "dims"), [(name, dims) for name in NETWORKS for dims in (2, 3)]
)


def small(name: str, dims: int, in_channels: int = 1, classes: int = 3) -> TapAdapter:
    torch.manual_seed(0)
    return build(name, in_channels, classes, dims, SMALL.get(name, 4))


def image(dims: int, channels: int = 1, batch: int = 2, size: tuple[int, ...] = ()) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, *(size or ODD[dims]), generator=generator)


# The contract


@every_network
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_and_taps_have_the_expected_sizes(name, dims, channels):
    network = small(name, dims, channels).eval()
    x = image(dims, channels)
    with torch.no_grad():
        output = network(x)
    assert output.logits.shape == (2, 3, *ODD[dims])
    assert (
        {"encoder", "encoder_2", "bottleneck", "lo", "hi"} <= output.taps.keys() <= set(TAP_NAMES)
    )
    decoders = {"decoder", "decoder_2"} & output.taps.keys()
    assert len(decoders) == (0 if name in WITHOUT_DECODER else 2)
    for tap, features in output.taps.items():
        if tap == "bottleneck":
            allowed = (8, 16, 32)
        else:
            allowed = (ENCODER_TAPS[tap] if tap in ENCODER_TAPS else STRIDES[tap[7:]],)
        sizes = [tuple(math.ceil(n / stride) for n in ODD[dims]) for stride in allowed]
        assert features.shape[2:] in sizes, tap
        assert features.shape[0] == 2


@every_network
def test_evaluation_is_deterministic_and_independent_of_the_batch(name, dims):
    network = small(name, dims).eval()
    x = image(dims)
    with torch.no_grad():
        first, again, alone = network(x).logits, network.logits(x), network.logits(x[1:])
    assert torch.equal(first, again)
    torch.testing.assert_close(first[1:], alone, rtol=1e-3, atol=1e-4)


@every_network
def test_gradient_of_the_logits_reaches_every_weight(name, dims):
    network = small(name, dims)
    network(image(dims)).logits.square().sum().backward()
    weights = {key: p for key, p in network.named_parameters() if p.requires_grad}
    assert [key for key, p in weights.items() if p.grad is None] == []
    # A bias before a normalisation has no effect, and a gradient of zero.
    still = [key for key, p in weights.items() if p.ndim > 1 and not p.grad.any()]
    assert still == []
    assert all(p.grad.isfinite().all() for p in weights.values())


@every_network
def test_a_batch_of_one_tiny_image_can_be_trained(name, dims):
    network = small(name, dims).train()
    size = (3, 2, 1)[:dims]
    logits = network(image(dims, batch=1, size=size)).logits
    assert logits.shape == (1, 3, *size)
    logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert all(b.isfinite().all() for b in network.buffers())


@every_network
def test_width_scales_the_number_of_parameters(name, dims):
    sizes = [count_parameters(build(name, 1, 3, dims, SMALL.get(name, 4) * k)) for k in (1, 2)]
    assert 2 < sizes[1] / sizes[0] < 4.5


@every_network
def test_weights_can_be_loaded_into_another_network(name, dims):
    network = small(name, dims).eval()
    other = build(name, 1, 3, dims, SMALL.get(name, 4)).eval()
    state = network.state_dict()
    assert state.keys() == network.module.state_dict().keys()
    other.load_state_dict(state)
    with torch.no_grad():
        x = image(dims)
        assert torch.equal(other(x).logits, network(x).logits)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({key: state[key] for key in list(state)[1:]})


# Pooling of ENet


@pytest.mark.parametrize("dims", [2, 3])
def test_unpooling_agrees_with_torch(dims):
    x = image(dims, 3, size=(6, 4, 8)[:dims])
    maxima, index = getattr(functional, f"max_pool{dims}d")(x, 2, return_indices=True)
    ours, peaks = pool(x)
    assert torch.equal(ours, maxima)
    expected = getattr(functional, f"max_unpool{dims}d")(maxima, index, 2)
    assert torch.equal(unpool(ours, peaks), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_pooling_of_other_runtimes_finds_the_same_maxima_also_among_equal_values(dims):
    x = torch.randint(0, 3, (2, 3, *(6, 4, 8)[:dims])).float()
    (maxima, peaks), (traced, marked) = pool(x), pool_with_map(x)
    assert torch.equal(traced, maxima)
    values = torch.rand_like(maxima) + 1
    assert torch.equal(unpool(values, marked), unpool(values, peaks))


def test_pooling_equal_values_marks_one_maximum():
    maxima, peaks = pool(torch.ones(1, 1, 4, 4))
    assert torch.equal(peaks.sum(-1), torch.ones(1, 1, 2, 2))
    assert unpool(maxima, peaks).sum() == 4


# Foreign modules in the tap adapter

SEGRESNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "init_filters": 8}
SEGRESNET_TAPS = {"encoder": "down_layers.2", "decoder": "up_layers.0"}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_foreign_network_is_rebuilt_from_checkpoint_and_model_card(tmp_path, suffix):
    torch.manual_seed(0)
    plain = nets.SegResNet(**SEGRESNET).eval()
    weights = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": plain.state_dict()}, weights)
    else:
        save_file(plain.state_dict(), weights)
    card = ModelCard(
        name="foreign",
        role="teacher",
        network="monai:SegResNet",
        dims=3,
        in_channels=1,
        classes={"background": 0, "organ": 1},
        arguments={"init_filters": 8, "multiple": 8},
        taps=SEGRESNET_TAPS,
        patch_size=(16, 16, 16),
        preprocessing=Preprocessing(),
    )
    import_state(read_state(weights), card, tmp_path / "model")
    network = load_model(tmp_path / "model").module
    x = image(3, size=(16, 24, 16))
    with torch.no_grad():
        output = network(x)
        torch.testing.assert_close(output.logits, plain(x), rtol=1e-4, atol=1e-4)
    assert output.taps["encoder"].shape == (2, 32, 4, 6, 4)
    assert output.taps["decoder"].shape == (2, 32, 4, 6, 4)
    with torch.no_grad():
        assert network(x[..., :13]).logits.shape == (2, 2, 16, 24, 13)


def test_plain_module_loads_the_weights_of_its_adapter():
    network = build("monai:SegResNet", 1, 2, 3, init_filters=8)
    nets.SegResNet(**SEGRESNET).load_state_dict(network.state_dict())
    holder = nn.ModuleDict({"teacher": network})
    assert "teacher.convInit.conv.weight" in holder.state_dict()
    holder.load_state_dict(holder.state_dict())


def test_deep_supervision_and_anisotropic_strides_of_a_thin_volume():
    strides = [1, [1, 2, 2], [1, 2, 2], 2]
    network = build(
        "monai:DynUNet",
        in_channels=2,
        classes=3,
        dims=3,
        taps={"encoder": "downsamples.1", "decoder": "upsamples.1"},
        multiple=[2, 8, 8],
        kernel_size=[[1, 3, 3], 3, 3, 3],
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[4, 8, 12, 16],
        deep_supervision=True,
        deep_supr_num=1,
    )
    x = image(3, 2, size=(5, 37, 50))
    output = network.train()(x)
    assert output.logits.shape == (2, 3, 5, 37, 50)
    assert output.taps["encoder"].shape == (2, 12, 5, 10, 13)
    assert output.taps["decoder"].shape == (2, 8, 5, 19, 25)
    assert network.eval()(x).logits.shape == (2, 3, 5, 37, 50)


class Toy(nn.Module):
    """A small network with in-place, flattening and unused layers."""

    def __init__(self, answer=lambda logits: logits):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.ReLU(inplace=True))
        self.tokens = nn.Flatten(2)
        self.unused = nn.Conv2d(1, 1, 1)
        self.up = nn.ConvTranspose2d(4, 2, 2, 2)
        self.answer = answer

    def forward(self, x):
        features = self.down(x)
        self.tokens(features)
        return self.answer(self.up(features))


@pytest.mark.parametrize(
    "answer",
    [
        lambda z: (z, z + 1),
        lambda z: [z, z[..., ::2, ::2]],
        lambda z: {"logits": z, "other": 0},
        lambda z: torch.stack([z, z + 1], dim=1),
    ],
)
def test_first_of_several_outputs_is_used_as_logits(answer):
    torch.manual_seed(0)
    network, plain = TapAdapter(Toy(answer), {}, multiple=2), Toy()
    plain.load_state_dict(network.state_dict())
    x = image(2, size=(6, 8))
    # Another memory layout: some processors then round differently.
    assert torch.allclose(network(x).logits, plain(x), atol=1e-5)


@pytest.mark.parametrize(
    ("path", "problem", "remedy"),
    [
        ("down.7", "has no layer 'down.7'", "down.0"),
        ("unused", "not run in the forward pass", "a layer that is"),
        ("tokens", "not a feature map", "batch, channel"),
        ("down.0", "overwritten in place by the next", "activation after it"),
    ],
)
def test_invalid_tap_is_refused_with_a_remedy(path, problem, remedy):
    with pytest.raises(UserError, match=problem) as caught:
        TapAdapter(Toy(), {"encoder": path}, multiple=2)(image(2))
    assert remedy in caught.value.remedy


def test_logits_of_another_size_are_refused():
    with pytest.raises(UserError, match="size 3 x 4 for an image of size 6 x 8"):
        TapAdapter(Toy(lambda z: z[..., ::2, ::2]), {})(image(2, size=(6, 8)))


def test_padding_is_at_the_far_end_and_repeats_the_edge():
    network = TapAdapter(Toy(), {"encoder": "down"}, multiple=4).eval()
    x = image(2, size=(7, 8))
    whole = functional.pad(x, (0, 0, 0, 1), mode="replicate")
    output, expected = network(x), network(whole)
    assert torch.equal(output.logits, expected.logits[:, :, :7])
    assert torch.equal(output.taps["encoder"], expected.taps["encoder"])
    assert network(x[:, :, :2]).taps["encoder"].shape == (2, 4, 1, 4)


def test_copied_adapter_has_separate_taps_and_forward_leaves_no_hooks():
    network = TapAdapter(Toy(), {"encoder": "down"}, multiple=2)
    twin = copy.deepcopy(network)
    nn.init.zeros_(twin.module.down[0].weight)
    nn.init.ones_(twin.module.down[0].bias)
    x = image(2)
    features = network(x).taps["encoder"]
    assert torch.equal(twin(x).taps["encoder"], torch.ones_like(features))
    assert not torch.equal(features, torch.ones_like(features))
    with pytest.raises(RuntimeError):
        network(image(2, channels=3))
    assert not any(layer._forward_hooks for layer in network.modules())
    assert not network.eval().module.down.training
    alive = weakref.ref(features)
    del features
    gc.collect()
    assert alive() is None


# Refusals


@pytest.mark.parametrize(
    ("request_", "problem", "remedy"),
    [
        (("enett", 1, 2, 2), "'enett' is not a valid network", "enet"),
        (("enet", 1, 2, 4), "not 4", "2 or 3"),
        (("enet", 0, 2, 2), "0 input channels", "at least 1"),
        (("enet", 1, 2, 2, 1), "width 1", "width of at least 4"),
        (("swin_unetr", 1, 2, 2, 16), "not 16", "24"),
        (("monai:SegResnet", 1, 2, 2), "no segmentation network 'SegResnet'", "SegResNet"),
        (("monai:SegResNet", 1, 2, 2, 8), "option width does not apply", "init_filters"),
        (("monai:ViT", 1, 2, 2), "no segmentation network", "SwinUNETR"),
        (("monai:Critic", 1, 2, 2), "no segmentation network", "SwinUNETR"),
    ],
)
def test_invalid_network_arguments_are_refused_with_a_remedy(request_, problem, remedy):
    with pytest.raises(UserError, match=problem) as caught:
        build(*request_)
    assert remedy in caught.value.remedy


def test_unknown_arguments_and_downloads_are_refused():
    with pytest.raises(UserError, match="no argument 'dropuot'") as caught:
        build("enet", 1, 2, 2, dropuot=0.2)
    assert "dropout" in caught.value.remedy
    with pytest.raises(UserError, match="download"):
        build("monai:FlexibleUNet", 3, 2, 2, backbone="efficientnet-b0", pretrained=True)


def test_listing_networks_imports_neither_torch_nor_monai():
    code = (
        "import json, sys; from napari_graphflow.config.networks import NETWORKS; "
        "print(json.dumps([list(NETWORKS), [m for m in ('torch', 'monai') if m in sys.modules]]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [list(NETWORKS), []]


def test_enet_receives_a_gradient_where_all_last_features_are_zero():
    """Without a bias every class has the same probability there, and no gradient."""
    network = build("enet", 1, 2, 2, 8)
    head = network.module.head
    head.register_forward_pre_hook(lambda _, given: (torch.zeros_like(given[0]), *given[1:]))
    logits = network(torch.rand(2, 1, 32, 32)).logits
    nn.functional.cross_entropy(logits, torch.ones(2, 32, 32, dtype=torch.int64)).backward()
    assert head.bias.grad[1] < 0 < head.bias.grad[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dims", [2, 3])
def test_listed_parameter_counts_match_the_networks(name: str, dims: int) -> None:
    counted = sum(parameter.numel() for parameter in build(name, 1, 2, dims).parameters())
    assert PARAMETERS[name][dims] == counted
