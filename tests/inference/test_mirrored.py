"""Mirroring: the mean over all flips, for every kind of output."""

from itertools import combinations

import numpy as np
import pytest
import torch

from napari_graphflow.inference.mirrored import Mirrored
from napari_graphflow.inference.torch_engine import TorchEngine
from napari_graphflow.networks import build


@pytest.mark.parametrize(("dims", "axes"), [(2, (0, 1)), (3, (0, 2))])
def test_the_logits_of_all_flips_are_averaged(dims: int, axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build("plain_conv_unet", 1, 3, dims, 4).eval()
    engine = TorchEngine(network, dims)
    batch = np.random.default_rng(0).normal(size=(2, 1, 16, 32, 16)).astype(np.float32)
    if dims == 2:  # slices of a volume
        batch = batch[:, :, :1]
    offset = 5 - dims
    flips = [tuple(a + offset for a in c) for n in range(3) for c in combinations(axes, n)]
    with torch.no_grad():
        expected = sum(
            np.flip(next(engine.compute([np.flip(batch, f).copy()], "logits")), f) for f in flips
        ) / len(flips)
    mirrored = Mirrored(engine, axes)
    (logits,) = mirrored.compute([batch], "logits")
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    (labels,) = mirrored.compute([batch], "labels")
    np.testing.assert_array_equal(labels[:, 0], expected.argmax(1))
    (soft,) = mirrored.compute([batch], "probabilities")
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
