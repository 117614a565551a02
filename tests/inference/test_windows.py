"""Windows merged slab by slab, compared with MONAI's sliding window inference."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from monai.inferers.utils import sliding_window_inference

from napari_graphflow.inference.windows import gaussian_weights, plan_windows, slabs

CASES = {
    "several windows": ((20, 31, 17), (8, 8, 8)),
    "shorter than the window": ((9, 40, 12), (16, 16, 16)),
    "a 2D image": ((20, 17), (8, 8)),
    "smaller than the window": ((5, 5, 5), (8, 8, 8)),
    "slices": ((40, 9, 9), (1, 9, 9)),
    "windows of slices": ((12, 20, 20), (1, 8, 8)),
}


def network(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.flip(-1), x**2], 1)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("case", CASES)
def test_slabs_equal_the_output_of_monai(case: str, axis: int | None, overlap: float) -> None:
    shape, size = CASES[case]
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    image[:, : shape[0] // 2] = 0
    tensor = torch.from_numpy(image)[None]
    expected = sliding_window_inference(tensor, size, 2, network, overlap=overlap, mode="gaussian")[
        0
    ].numpy()
    windows = plan_windows(shape, size, overlap, axis and len(shape) + axis)
    weights = gaussian_weights(size) if windows.overlapping else None

    def compute(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for batch in batches:
            output = network(torch.from_numpy(batch)).numpy()
            yield output if weights is None else output * weights

    found = np.full(expected.shape, np.nan, np.float32)
    starts = []
    for slab in slabs(image, windows, compute, batch=3, weights=weights):
        starts.append(slab.start)
        rows = np.moveaxis(slab.array, windows.axis + 1, 0)
        np.moveaxis(found, windows.axis + 1, 0)[slab.start : slab.start + len(rows)] = rows
    assert starts == sorted(starts)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_windows_of_one_constant_value_are_computed_once() -> None:
    image = np.zeros((1, 32, 8, 8), np.float32)
    image[:, 28:] = np.random.default_rng(0).normal(size=(4, 8, 8))
    image[:, 8:16] = 2
    computed = []

    def compute(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for batch in batches:
            computed.extend(batch.copy())
            yield batch + 1

    windows = plan_windows((32, 8, 8), (4, 8, 8), 0, axis=0)
    done: list[int] = []
    merged = slabs(image, windows, compute, batch=2, reuse=True, done=done.append)
    result = np.concatenate([slab.array.copy() for slab in merged], 1)
    np.testing.assert_array_equal(result, image + 1)
    assert len(computed) == 3  # 0, 2 and the noise
    assert done == list(range(1, 9))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(110, (0, 23, 46)), (64, (0,)), (50, (0,)), (96, (0, 32)), (129, (0, 22, 43, 65))],
)
def test_even_windows_lie_where_those_of_nnunet_lie(size: int, expected: tuple[int, ...]) -> None:
    """The first example is in the source of nnU-Net's `compute_steps_for_sliding_window`."""
    assert plan_windows((size,), (64,), 0.5, even=True).starts == (expected,)
