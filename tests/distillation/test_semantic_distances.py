"""Distances of codes between sites: worked examples and identities."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from napari_graphflow.distillation.generalisable.losses import (
    frechet_semantic_distance,
    site_gap,
)
from napari_graphflow.errors import UserError

Codes = NDArray[np.float64]


def gaussian(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Codes:
    random = np.random.default_rng(seed)
    mix = np.random.default_rng(7).normal(size=(d, d))
    return random.normal(size=(n, d)) @ mix + shift


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([(0, 0), (2, 0), (0, 2), (2, 2)], [(3, 4), (7, 4), (3, 4), (7, 4)], 25 + 8 / 3),
        ([(0, 0), (2, 0)], [(0, 0), (0, 2)], 6),
        ([(0, 0), (2, 1), (1, 5)], [(3, 4), (5, 5), (4, 9)], 25),  # shifted by (3, 4)
        ([(0, 0), (2, 1), (1, 5)], [(0, 0), (2, 1), (1, 5)], 0),
    ],
)
def test_worked_examples_have_the_values_computed_by_hand(
    first: list[tuple[int, int]], second: list[tuple[int, int]], expected: float
) -> None:
    assert frechet_semantic_distance(first, second) == pytest.approx(expected, abs=1e-9)


def test_scaling_about_the_mean_costs_the_variance() -> None:
    x = gaussian(20, 4)
    scaled = x.mean(0) + 0.3 * (x - x.mean(0))
    expected = 0.7**2 * np.cov(x.T).trace()
    assert frechet_semantic_distance(x, scaled) == pytest.approx(expected)


def test_the_distance_is_symmetric_never_negative_and_invariant_to_rotation() -> None:
    x, y = gaussian(30, 5), gaussian(12, 5, seed=1, shift=1)
    rotation = np.linalg.qr(gaussian(5, 5, seed=2))[0]
    d = frechet_semantic_distance(x, y)
    assert d >= 0
    assert frechet_semantic_distance(y, x) == pytest.approx(d, abs=1e-9)
    assert frechet_semantic_distance(x @ rotation, y @ rotation) == pytest.approx(d, abs=1e-8)
    assert frechet_semantic_distance(3 * x, 3 * y) == pytest.approx(9 * d)
    assert frechet_semantic_distance(x, x) >= -1e-9


def test_without_a_matrix_root_the_distance_is_that_with_one() -> None:
    x, y = gaussian(40, 6), gaussian(25, 6, seed=1, shift=0.5)
    a, b = np.cov(x.T), np.cov(y.T)
    root = sqrtm(sqrtm(a) @ b @ sqrtm(a)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet_semantic_distance(x, y) == pytest.approx(expected, abs=1e-8)


def test_in_one_dimension_it_compares_means_and_deviations() -> None:
    x, y = gaussian(9, 1), gaussian(15, 1, seed=3, shift=2)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_semantic_distance(x, y) == pytest.approx(expected)


def test_with_diagonal_covariances_it_is_the_sum_over_the_axes() -> None:
    square = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)], float)
    x, y = square * [1, 2], square * [3, 0.5] + [1, 2]
    parts = [frechet_semantic_distance(x[:, [i]], y[:, [i]]) for i in range(2)]
    assert frechet_semantic_distance(x, y) == pytest.approx(sum(parts))


def test_fewer_codes_than_dimensions_give_a_finite_distance() -> None:
    assert np.isfinite(frechet_semantic_distance(gaussian(4, 50), gaussian(3, 50, seed=1)))


def test_a_single_code_codes_of_unequal_length_and_nan_are_refused() -> None:
    with pytest.raises(UserError, match="Too few images: 1 on one side"):
        frechet_semantic_distance(gaussian(1, 3), gaussian(5, 3))
    with pytest.raises(UserError, match=r"shapes \(5, 3\) and \(5, 4\)"):
        frechet_semantic_distance(gaussian(5, 3), gaussian(5, 4))
    with pytest.raises(UserError, match="infinite or NaN"):
        frechet_semantic_distance(gaussian(5, 3), np.full((5, 3), np.nan))


def test_two_halves_of_one_site_have_no_gap() -> None:
    x = gaussian(80, 6)
    found = site_gap(x[::2], x[1::2])
    assert abs(found.gap) < 0.1
    assert found.p_value > 0.05
    assert (found.n, found.m) == (40, 40)


def test_a_shifted_site_has_a_gap_that_a_control_lacks() -> None:
    x, y = gaussian(40, 6), gaussian(30, 6, seed=1, shift=4)
    found = site_gap(x, y)
    assert found.gap > 0.5
    assert found.p_value == pytest.approx(1 / 201)
    assert abs(found.control) < 0.2
    assert found.distance == pytest.approx(frechet_semantic_distance(x, y))
    assert found.trace == pytest.approx((np.cov(x.T).trace() + np.cov(y.T).trace()) / 2)
    assert 1 < found.effective_rank <= 6


def test_the_gap_does_not_depend_on_the_scale_of_the_codes() -> None:
    x, y = gaussian(20, 6), gaussian(20, 6, seed=1, shift=1)
    assert site_gap(x * 50, y * 50).gap == pytest.approx(site_gap(x, y).gap)
    assert site_gap(x, y) == site_gap(x, y)


def test_most_of_the_bias_of_few_images_cancels() -> None:
    # The plain distance of 10 images of one site in 200 dimensions is several total variances.
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 200)), random.normal(size=(10, 200))
    found = site_gap(x, y)
    assert found.distance > found.trace
    assert abs(found.gap) < 0.1


def test_the_effective_rank_counts_the_directions_in_which_codes_vary() -> None:
    corners = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)] * 2, float)
    flat = np.hstack([corners, np.zeros((8, 3))])
    assert site_gap(flat, flat, resamples=5).effective_rank == pytest.approx(2)


def test_a_gap_of_fewer_than_eight_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"Too few images: 7 on one side.*at least 8"):
        site_gap(gaussian(20, 3), gaussian(7, 3))


def test_codes_that_do_not_vary_are_refused() -> None:
    with pytest.raises(UserError, match="codes of all images are equal"):
        site_gap(np.ones((9, 3)), np.ones((9, 3)))
