"""Layers that replace those of torch compute the same."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_graphflow.networks import build
from napari_graphflow.networks.layers import PooledNorm, norms_without_copies, pointwise


def test_pooled_norm_is_batch_norm_except_for_one_value_per_channel():
    pooled, plain = PooledNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(pooled(x), plain(x))
    assert torch.equal(pooled.running_var, plain.running_var)
    before = pooled.running_mean.clone()
    assert torch.equal(pooled(x[:1]), pooled.eval()(x[:1]))
    assert torch.equal(pooled.running_mean, before)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["unet", "unetpp"])
def test_norms_without_copies_compute_the_same_with_the_same_weights(name, dims):
    torch.manual_seed(0)
    network = build(name, 1, 3, dims, 4).eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.5)
    x, before = torch.randn(2, 1, *[24] * dims), copy.deepcopy(network.state_dict())
    with torch.no_grad():
        expected = network(x)
        found = norms_without_copies(network)(x)
    assert not any("InstanceNorm" in type(layer).__name__ for layer in network.modules())
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    for key, tap in {**found.taps, "": found.logits}.items():
        wanted = {**expected.taps, "": expected.logits}[key]
        assert torch.allclose(tap, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())), key


def test_norms_with_running_statistics_are_not_replaced():
    plain = nn.Sequential(nn.InstanceNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True))
    norms_without_copies(plain)
    assert [type(layer) for layer in plain] == [nn.GroupNorm, nn.InstanceNorm2d]


@pytest.mark.parametrize("size", [(7, 8), (3, 6, 5)])
def test_strided_pointwise_convolution_agrees_with_torch(size):
    torch.manual_seed(0)
    dims, inputs = len(size), 16  # with fewer channels torch's gradient may be wrong
    layer = pointwise(dims, inputs, 3, 2)
    weight = next(layer.parameters())
    x = torch.randn(2, inputs, *size)
    direct = {2: functional.conv2d, 3: functional.conv3d}[dims]
    results = [layer(x), direct(x, weight, stride=2)]
    gradients = [torch.autograd.grad(y.square().sum(), weight)[0] for y in results]
    assert torch.allclose(*results, atol=1e-5)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-3)
    assert isinstance(pointwise(dims, inputs, 3, 1), (nn.Conv2d, nn.Conv3d))
