"""Infinite values and fill values leave the contrast of the rest."""

import numpy as np
import pytest

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.intensities import intensities, intensity_limits
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.imaging.windows import contrast_limits, is_ct

IDENTITY = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)
INSIDE = (slice(None), slice(4, 12), slice(8, 24), slice(8, 24))


def scan(dtype=np.float32):
    values = np.random.default_rng(0).normal(100, 30, (16, 32, 32))
    return np.clip(values, 1, 300).astype(dtype)


def volume(array, channels=False):
    return Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY, channels)


@pytest.mark.parametrize("kind", ["zscore", "percentile", "range"])
@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.nan, 1e30, -1e30, -32768.0, -2000.0, 1e300, 3e38, 1e6]
)
def test_a_tenth_without_data_leaves_the_contrast_of_the_rest(value: float, kind: str) -> None:
    array = scan(np.float64)
    array[:2, :, :26] = value
    found = prepare(volume(array), Preprocessing(intensity=kind))
    clean = prepare(volume(scan()), Preprocessing(intensity=kind)).array
    assert np.isfinite(found.array).all()
    assert found.array[INSIDE].std() > 0.5 * clean[INSIDE].std()
    (warning,) = found.warnings
    assert warning.startswith("10.16% of the voxels are not finite or far outside all intensities")


@pytest.mark.parametrize("kind", ["ct_window", "none"])
def test_infinite_values_become_the_extremes_and_nan_the_smallest_value(kind: str) -> None:
    array = scan()
    array[0, 0, :3] = np.inf, -np.inf, np.nan
    settings = Preprocessing(intensity=kind, window=(0, 1000))
    found = prepare(volume(array), settings).array * (1000 if kind == "ct_window" else 1)
    rest = array[np.isfinite(array)]
    np.testing.assert_allclose(found[0, 0, 0, :3], (rest.max(), rest.min(), rest.min()), rtol=1e-6)


def test_an_integer_image_with_a_fill_value_keeps_its_contrast() -> None:
    array = scan(np.int16)
    array[:4] = -32768
    found = prepare(volume(array), Preprocessing(intensity="zscore"))
    assert found.array[INSIDE].std() > 0.5
    assert found.array[0, 0, 0, 0] == found.array.min()


def test_fill_values_of_one_channel_do_not_change_the_other() -> None:
    both = np.stack([scan(), scan()], axis=-1)
    both[:4, ..., 1] = -np.inf
    found = prepare(volume(both, channels=True), Preprocessing(intensity="percentile"))
    alone = prepare(volume(scan()), Preprocessing(intensity="percentile"))
    np.testing.assert_array_equal(found.array[0], alone.array[0])
    assert "of channel 1" in found.warnings[0]
    assert len(found.warnings) == 1


@pytest.mark.parametrize(
    "values",
    [
        np.where(np.arange(1000) % 4, 40.0 + np.arange(1000) % 5, -1000.0),  # air in a CT
        np.where(np.arange(1000) % 4, 1000.0 + np.arange(1000) % 5, 0.0),  # an exact background
        np.linspace(0, 65535, 1000),  # a photograph or a PET
        np.linspace(-4096, 4095, 1000),  # a velocity
        np.full(100, -32768.0),
    ],
)
def test_intensities_are_not_taken_for_fill_values(values: np.ndarray) -> None:
    assert intensity_limits(values) == (values.min(), values.max())
    assert intensities(values).size == values.size


@pytest.mark.parametrize("kind", ["zscore", "percentile"])
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e6])
def test_the_unit_of_the_voxels_does_not_change_their_contrast(factor: float, kind: str) -> None:
    small = prepare(volume(scan() * np.float32(factor)), Preprocessing(intensity=kind)).array
    expected = prepare(volume(scan()), Preprocessing(intensity=kind)).array
    np.testing.assert_allclose(small, expected, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1000.1, -1e-7, 1e20])
@pytest.mark.parametrize("kind", ["zscore", "percentile"])
def test_a_constant_image_becomes_zero(value: float, kind: str) -> None:
    array = np.full((4, 5, 6), value, np.float32)
    assert not prepare(volume(array), Preprocessing(intensity=kind)).array.any()


def test_an_image_without_any_finite_value_is_refused() -> None:
    with pytest.raises(UserError, match="no finite values"):
        prepare(volume(np.full((4, 5, 6), np.nan, np.float32)), Preprocessing())


def test_the_display_window_ignores_fill_values() -> None:
    array = scan()
    expected = contrast_limits(array)
    array[:4], array[4, 0] = -32768, np.inf
    assert contrast_limits(array) == pytest.approx(expected, rel=0.05)
    ct = np.where(scan() > 100, 40 + scan() / 10, -1000).astype(np.float32)
    ct[:4] = 1e30
    assert is_ct(ct)


def round_field(array: np.ndarray, value: float) -> np.ndarray:
    """Fill what lies outside the circle around each slice."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    return np.where(y**2 + x**2 > 1, value, array)


@pytest.mark.parametrize(
    "settings",
    [
        Preprocessing(intensity="ct_window"),
        Preprocessing(intensity="mean_std", mean=(0,), std=(100,)),
        Preprocessing(intensity="none"),
        Preprocessing(intensity="zscore", percentiles=(0, 100)),
    ],
)
@pytest.mark.parametrize("value", [32767, np.inf, -32768, np.nan, 1e30])
def test_filling_outside_a_round_field_of_view_counts_as_air(
    settings: Preprocessing, value: float
) -> None:
    ct = (scan() * 4 - 1000).astype(np.float64)
    found = prepare(volume(round_field(ct, value)), settings)
    lowest = round_field(ct, np.nan)
    lowest[np.isnan(lowest)] = np.nanmin(lowest)
    expected = prepare(volume(lowest), settings)
    np.testing.assert_allclose(found.array, expected.array, rtol=1e-4, atol=1e-4)
    assert found.warnings and not expected.warnings


def test_metal_in_a_ct_with_fixed_numbers_is_not_changed() -> None:
    ct = (scan() * 4 - 1000).astype(np.int16)
    ct[12:, 10:14, 10:14] = 32767
    settings = Preprocessing(intensity="mean_std", mean=(0,), std=(100,))
    found = prepare(volume(ct), settings)
    np.testing.assert_allclose(found.array[0], ct / np.float32(100), rtol=1e-6)
    assert not found.warnings
