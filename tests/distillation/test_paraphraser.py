"""The paraphraser: published layout, loss, reconstruction in 2D and 3D."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from napari_graphflow.distillation.graph_flow.paraphraser import Paraphraser, RSquared


def r_squared(module, *batches):
    share = RSquared()
    for batch in batches:
        share.add(batch, module(batch))
    return share.value()


@pytest.mark.parametrize(("out_channels", "millions"), [(24, 1.301), (64, 1.549)])
def test_paraphraser_parameters_are_as_published(out_channels, millions):
    count = sum(p.numel() for p in Paraphraser(256, out_channels).parameters())
    assert round(count / 1e6, 3) == millions


@pytest.mark.parametrize("dims", [2, 3])
def test_paraphraser_layout(dims):
    module = Paraphraser(10, 4, dims)
    layers = [*module.encoder, *module.decoder]
    convolutions, activations = layers[::2], layers[1::2]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        *[(10, 10), (10, 4), (4, 4)],
        *[(4, 4), (4, 10), (10, 10)],
    ]
    down, up = (nn.Conv2d, nn.ConvTranspose2d) if dims == 2 else (nn.Conv3d, nn.ConvTranspose3d)
    assert [type(c) for c in convolutions] == [down] * 3 + [up] * 3
    for convolution, activation in zip(convolutions, activations, strict=True):
        assert convolution.kernel_size == (3,) * dims
        assert convolution.stride == (1,) * dims
        assert convolution.bias is not None
        assert isinstance(activation, nn.LeakyReLU)
        assert activation.negative_slope == 0.1


@pytest.mark.parametrize("size", [(7, 10), (3, 6, 5)], ids=["2d", "3d"])
def test_paraphraser_shapes_and_loss(size):
    module = Paraphraser(6, 2, len(size))
    features = torch.randn(3, 6, *size, requires_grad=True)
    assert module.encode(features).shape == (3, 2, *size)
    reconstruction = module(features)
    assert reconstruction.shape == features.shape
    loss = module.loss(features)
    assert loss.item() == pytest.approx((reconstruction - features).square().mean().item())
    loss.backward()
    assert features.grad is None
    assert all(p.grad is not None for p in module.parameters())


class Known(Paraphraser):
    """A paraphraser with a given reconstruction."""

    def forward(self, features):
        return self.reconstruct(features)


def test_r_squared_of_known_reconstructions():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 5.0, 0.2]).view(1, 3, 1, 1)
    features = 3 + scale * torch.randn(4, 3, 5, 6, generator=generator)
    module = Known(3, 2)
    module.reconstruct = lambda x: x
    assert r_squared(module, features) == 1
    means = features.mean((0, 2, 3), keepdim=True)
    module.reconstruct = means.expand_as
    assert r_squared(module, features) == pytest.approx(0, abs=1e-6)
    module.reconstruct = lambda x: 0.5 * (x + means)
    assert r_squared(module, features) == pytest.approx(0.75, abs=1e-6)
    assert r_squared(module, *features.split([1, 3])) == pytest.approx(0.75, abs=1e-6)
    assert r_squared(module, *features.split(2)) == pytest.approx(0.75, abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_trained_paraphraser_reconstructs_low_rank_features(dims):
    torch.manual_seed(0)
    mixing = torch.rand(8, 2)

    def batch(count):
        codes = interpolate(2 * torch.rand(count, 2, *[2] * dims), scale_factor=3)
        return torch.einsum("oc,bc...->bo...", mixing, codes)

    module = Paraphraser(8, 2, dims)
    held_out = batch(4)
    before = r_squared(module, held_out)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(200):
        loss = module.loss(batch(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0
    assert r_squared(module, held_out) > 0.6


def test_encoding_under_no_grad_does_not_change_the_paraphraser():
    module = Paraphraser(5, 3).requires_grad_(False).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    features = torch.randn(2, 5, 8, 8)
    assert not module.encode(features).requires_grad
    r_squared(module, features)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_paraphraser_loss_stays_in_float32_inside_autocast():
    module = Paraphraser(4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module.loss(torch.randn(1, 4, 8, 8))
        assert isinstance(r_squared(module, torch.randn(1, 4, 8, 8)), float)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())
