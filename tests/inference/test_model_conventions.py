"""Networks from elsewhere: orientation, order of the axes, scaling, padding and windows."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.imaging.preprocessing import (
    prepare,
    prepare_labels,
    restore_labels,
    restore_maps,
)
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.inference.windows import gaussian_weights, plan_windows, slabs
from napari_graphflow.models.saved import Model, build_network
from napari_graphflow.networks.taps import Output

OBLIQUE = (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, -1.0)
HALF = float(np.sqrt(0.5))
EVERY_CODE = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*order)
]


class BrighterThanTheNextVoxel(nn.Module):
    """Class 1 where the image is brighter than at the next index of an axis of the array."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> Output:
        axis = self.axis + 2
        last = x.narrow(axis, x.shape[axis] - 1, 1)
        following = torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), last], axis)
        difference = (x - following) * self.gain
        return Output(torch.cat([torch.zeros_like(x), difference], 1), {})


def card(**changes: object) -> ModelCard:
    settings = {
        "name": "m", "role": "teacher", "network": "enet", "dims": 3, "in_channels": 1,
        "classes": {"background": 0, "organ": 1}, "patch_size": (64, 64, 64),
        "preprocessing": Preprocessing(intensity="none"),
    }  # fmt: skip
    return ModelCard(**(settings | changes))


def scan(direction=OBLIQUE, shape=(5, 6, 7)) -> Volume:
    array = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    return Volume(array.astype(np.float32), (2.5, 0.7, 0.8), (-30.0, 12.0, 100.0), direction)


def brighter(array: np.ndarray, axis: int, towards: int) -> np.ndarray:
    """Whether each voxel is brighter than its neighbour; False at the end."""
    found = np.zeros(array.shape, bool)
    inner = [slice(None)] * 3
    inner[axis] = slice(None, -1) if towards > 0 else slice(1, None)
    found[tuple(inner)] = (
        np.diff(array, axis=axis) < 0 if towards > 0 else np.diff(array, axis=axis) > 0
    )
    return found


#: Orientation and axes of a network, the axis of its array, and the same axis and direction in an
#: array in LPS.
CONVENTIONS = [
    ("LPS", ("z", "y", "x"), 2, (2, 1)),
    ("RAS", ("z", "y", "x"), 2, (2, -1)),
    ("RAS", ("z", "y", "x"), 1, (1, -1)),
    ("RAS", ("z", "y", "x"), 0, (0, 1)),
    ("RAS", ("x", "z", "y"), 0, (2, -1)),
    ("LPI", (0, 1, 2), 0, (0, -1)),
    ("LPI", (2, 0, 1), 1, (0, -1)),
    ("SAR", ("z", "y", "x"), 2, (0, 1)),
    ("SAR", ("y", "x", "z"), 2, (2, -1)),
]


@pytest.mark.parametrize(("orientation", "axes", "axis", "in_lps"), CONVENTIONS)
def test_a_network_sees_the_axes_of_its_card_whatever_the_file_has(
    orientation: str, axes: tuple[str, ...], axis: int, in_lps: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(orientation=orientation, axes=axes, intensity="none")
    model = Model(card(preprocessing=preprocessing), BrighterThanTheNextVoxel(axis), Path())
    reference = scan().oriented("LPS")
    expected = brighter(reference.array, *in_lps)
    for code in EVERY_CODE:
        stored = reference.oriented(code)
        found = segment(in_torch(model), stored).labels
        assert found.same_grid(stored, 1e-9)
        np.testing.assert_array_equal(found.oriented("LPS").array > 0, expected, err_msg=code)


def test_a_network_without_an_orientation_sees_the_array_of_the_file() -> None:
    preprocessing = Preprocessing(orientation="stored", axes=(2, 0, 1), intensity="none")
    model = Model(card(preprocessing=preprocessing), BrighterThanTheNextVoxel(0), Path())
    for code in EVERY_CODE:
        stored = scan().oriented(code)
        found = segment(in_torch(model), stored).labels
        np.testing.assert_array_equal(found.array > 0, brighter(stored.array, 2, 1))


@pytest.mark.parametrize("axes", list(itertools.permutations("zyx")))
@pytest.mark.parametrize("code", ["LPS", "RAI", "SPL", "stored"])
@pytest.mark.parametrize("direction", [OBLIQUE, (HALF, -HALF, 0, HALF, HALF, 0, 0, 0, 1)])
def test_a_mask_is_restored_exactly_from_every_convention(axes, code, direction) -> None:
    """Including volumes turned by 45 degrees, of which two orientation codes are equally right."""
    source = scan(direction)
    mask = source.with_array((source.array % 3).astype(np.uint8))
    settings = Preprocessing(orientation=code, axes=axes)
    indices = prepare_labels(mask, settings)
    soft = np.stack([indices == k for k in range(3)]).astype(np.float32)
    preprocessed = prepare(source, settings)
    np.testing.assert_array_equal(restore_labels(soft, preprocessed).array, mask.array)
    np.testing.assert_array_equal(restore_maps(soft, preprocessed).array.argmax(-1), mask.array)


def test_2d_images_are_transposed_and_restored_and_keep_their_channels() -> None:
    array = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    image = Volume(array, (1.0, 2.0), (0.0, 0.0), (1.0, 0, 0, 1), channels=True)
    settings = Preprocessing(axes=("x", "z", "y"), intensity="none", spacing=(0, 0.5))
    preprocessed = prepare(image, settings)
    assert preprocessed.array.shape == (3, 6, 8)
    soft = np.stack([np.ones((6, 8)), np.zeros((6, 8))]).astype(np.float32)
    soft[1, 5] = 2
    np.testing.assert_array_equal(
        restore_labels(soft, preprocessed).array, np.arange(6)[None].repeat(4, 0) == 5
    )


def test_the_spacing_is_along_the_axes_of_the_network() -> None:
    settings = Preprocessing(axes=("x", "z", "y"), spacing=(0.4, 1.25, 0.7))
    assert prepare(scan().oriented("LPS"), settings).array.shape == (1, 14, 10, 6)


def test_clip_bounds_mean_and_standard_deviation_are_exact_for_each_channel() -> None:
    values = np.array([-500.0, -100, 20, 80, 900], np.float32).reshape(1, 1, 5)
    both = np.stack([values, values], axis=-1)
    image = Volume(both, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1), channels=True)
    one = Preprocessing(intensity="mean_std", clip=(-100, 200), mean=20, std=40)
    expected = np.array([-3, -3, 0, 1.5, 4.5])
    np.testing.assert_allclose(prepare(image, one).array[:, 0, 0], [expected] * 2)
    two = Preprocessing.model_validate(
        {"intensity": "mean_std", "clip": [[-100, 200], [0, 80]], "mean": [20, 0], "std": [40, 2]}
    )
    np.testing.assert_allclose(prepare(image, two).array[:, 0, 0], [expected, [0, 0, 10, 40, 40]])
    mixed = Preprocessing(channel_intensity=("none", "zscore"), percentiles=(0, 100))
    found = prepare(image, mixed).array[:, 0, 0]
    np.testing.assert_array_equal(found[0], values.ravel())
    np.testing.assert_allclose(found[1], (values.ravel() - 80) / values.std(), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"orientation": "RAX"}, "not an orientation"),
        ({"orientation": "LRS"}, "not an orientation"),
        ({"axes": ("z", "z", "x")}, "once each"),
        ({"intensity": "mean_std", "mean": (1,)}, "needs mean and std"),
        ({"intensity": "mean_std", "mean": (1,), "std": (0,)}, "positive"),
        ({"clip": (1, 2, 3)}, "lower and a larger upper"),
        ({"clip": (2, 1)}, "lower and a larger upper"),
        ({"percentiles": (50, 50)}, "lower and a larger upper"),
        ({"intensity": "mean_std", "mean": (1, 2), "std": (1, 2, 3)}, "another number of channels"),
    ],
)
def test_a_preprocessing_that_contradicts_itself_is_refused(changes, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        Preprocessing(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"preprocessing": {"clip": [[0, 1], [2, 3]]}}, "2 channels, but in_channels is 1"),
        ({"divisor": (16, 16)}, "divisor has 2 numbers, but dims is 3"),
        ({"patch_size": (16, 16)}, "patch_size has 2 numbers, but dims is 3"),
        ({"classes": {"background": 0, "liver": 2}}, "numbers 0, 1, 2"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        card(**changes)


def test_sides_are_padded_to_the_divisor_of_the_card() -> None:
    arguments = {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
    seen: list[tuple[int, ...]] = []
    for divisor in (None, 2, (2, 4, 8)):
        network = build_network(
            card(network="monai:SegResNet", arguments=arguments, divisor=divisor)
        )
        network.module.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[2:])))
        assert network(torch.zeros(1, 1, 10, 34, 34)).logits.shape[2:] == (10, 34, 34)
    assert seen == [(32, 64, 64), (10, 34, 34), (10, 36, 40)]


def test_windows_of_a_patch_are_padded_with_zeros() -> None:
    size = (8, 16, 16)
    weights, seen = gaussian_weights(size), []

    def compute(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for batch in batches:
            seen.extend(batch)
            yield batch * weights

    array = np.ones((1, 6, 20, 20), np.float32)
    windows = plan_windows((6, 20, 20), size, 0.5, axis=0)
    merged = slabs(array, windows, compute, batch=2, weights=weights)
    (found,) = [slab.array.copy() for slab in merged]
    np.testing.assert_allclose(found, array, rtol=1e-5)
    assert {one.shape[1:] for one in seen} == {size}
    assert all(one[:, [0, -1]].max() == 0 for one in seen)
