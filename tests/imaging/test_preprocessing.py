import numpy as np
import pytest

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import (
    prepare,
    prepare_labels,
    restore_labels,
    restore_maps,
)
from napari_graphflow.imaging.volume import Volume

IDENTITY = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)
#: Index x grows to the right, y to the front, z down; then axes permuted; then oblique.
FLIPPED = (-1.0, 0, 0, 0, -1, 0, 0, 0, -1)
PERMUTED = (0.0, 0, 1, 1, 0, 0, 0, 1, 0)
OBLIQUE = (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1.0)


def volume(shape=(6, 8, 10), spacing=(5.0, 1.5, 1.0), direction=IDENTITY, dtype=np.int16):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return Volume(array, spacing, (10.0, -20.0, 30.0), direction)


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, PERMUTED, OBLIQUE])
def test_a_mask_is_restored_on_its_source_grid(direction):
    source = volume(direction=direction)
    mask = source.with_array((source.array % 3).astype(np.uint8))
    preprocessed = prepare(source, Preprocessing(intensity="range"))
    indices = prepare_labels(mask, Preprocessing())
    probabilities = np.stack([indices == k for k in range(3)]).astype(np.float32)
    restored = restore_labels(probabilities, preprocessed)
    np.testing.assert_array_equal(restored.array, mask.array)
    assert restored.direction == source.direction
    assert restored.origin == source.origin
    assert restored.spacing == source.spacing


@pytest.mark.parametrize("direction", [FLIPPED, PERMUTED])
def test_preprocessing_does_not_depend_on_the_stored_orientation(direction):
    reference = volume()
    code = volume(direction=direction).orientation
    reoriented = reference.oriented(code)
    assert reoriented.orientation == code
    settings = Preprocessing(spacing=(5.0, 1.0, 1.0))
    np.testing.assert_allclose(
        prepare(reoriented, settings).array,
        prepare(reference, settings).array,
        atol=1e-6,
    )


def test_resampling_keeps_physical_positions():
    """A ramp along x keeps its slope per mm and its value at each physical position."""
    source = volume(shape=(4, 4, 8), spacing=(1.0, 1.0, 2.0))
    ramp = source.with_array(np.broadcast_to(np.arange(8) * 2.0 + 1.0, (4, 4, 8)).copy())
    preprocessed = prepare(
        ramp, Preprocessing(spacing=(1.0, 1.0, 1.0), intensity="ct_window", window=(0, 1))
    )
    assert preprocessed.array.shape == (1, 4, 4, 16)
    unclipped = prepare(
        ramp, Preprocessing(spacing=(0, 0, 1.0), intensity="ct_window", window=(0, 100))
    )
    # Voxel i of the fine grid is centred i + 0.5 mm from the left edge, the value of the ramp.
    np.testing.assert_allclose(
        unclipped.array[0, 0, 0, 1:-1] * 100, np.arange(1, 15) + 0.5, rtol=1e-5
    )


def test_resampled_probabilities_are_restored_to_the_source_shape():
    source = volume(shape=(5, 9, 11), spacing=(4.0, 1.0, 1.0))
    preprocessed = prepare(source, Preprocessing(spacing=(2.0, 2.0, 2.0)))
    assert preprocessed.array.shape == (1, 10, 4, 6)
    soft = np.zeros((3, 10, 4, 6), np.float32)
    soft[2, :, :, :3], soft[1, :, :, 3:] = 1, 1
    labels = restore_labels(soft, preprocessed).array
    assert labels.shape == (5, 9, 11)
    assert (labels[:, :, :5] == 2).all()
    assert (labels[:, :, 7:] == 1).all()
    maps = restore_maps(soft, preprocessed)
    assert maps.array.shape == (5, 9, 11, 3)
    assert maps.channels


def test_every_intensity_scaling_has_its_range():
    array = np.linspace(-1000, 1000, 240).reshape(6, 5, 8).astype(np.int16)
    source = Volume(array, (1, 1, 1), (0, 0, 0), IDENTITY)
    window = prepare(source, Preprocessing(intensity="ct_window", window=(-100, 300))).array
    assert window.min() == 0
    assert window.max() == 1
    np.testing.assert_allclose(window[0].ravel()[132], (array.ravel()[132] + 100) / 400, rtol=1e-5)
    zscore = prepare(source, Preprocessing(intensity="zscore")).array
    assert abs(zscore.mean()) < 1e-5
    assert abs(zscore.std() - 1) < 1e-4
    percentile = prepare(source, Preprocessing(intensity="percentile")).array
    assert percentile.min() == 0
    assert percentile.max() == pytest.approx(1)
    image_2d = Volume(np.full((4, 4, 3), 51, np.uint8), (1, 1), (0, 0), (1, 0, 0, 1), channels=True)
    np.testing.assert_allclose(prepare(image_2d, Preprocessing(intensity="range")).array, 0.2)


@pytest.mark.parametrize("intensity", ["zscore", "percentile", "range", "ct_window"])
def test_constant_images_and_nan_are_scaled_to_finite_values(intensity):
    array = np.full((3, 4, 5), np.nan, np.float32)
    array[0] = 7
    for case in (array, np.zeros((3, 4, 5), np.float32)):
        preprocessed = prepare(
            Volume(case, (1, 1, 1), (0, 0, 0), IDENTITY), Preprocessing(intensity=intensity)
        )
        assert np.isfinite(preprocessed.array).all()


def test_a_model_for_other_dims_or_channels_is_refused():
    card = ModelCard(
        name="vessels", role="student", network="enet", dims=2, in_channels=3,
        classes={"background": 0, "vessel": 1}, patch_size=(32, 32), preprocessing=Preprocessing(),
    )  # fmt: skip
    with pytest.raises(UserError, match="needs 3 channels, and this image has 1"):
        check_fits(volume(), card)
    flat = Volume(np.zeros((4, 4)), (1, 1), (0, 0), (1, 0, 0, 1))
    with pytest.raises(UserError, match="needs 3D volumes"):
        check_fits(flat, card.model_copy(update={"dims": 3, "in_channels": 1}))
    with pytest.raises(UserError, match="2 axes"):
        prepare(flat, Preprocessing(spacing=(1, 1, 1)))


def test_settings_that_nothing_uses_make_no_difference():
    one = Preprocessing()
    assert one.differences(Preprocessing(window=(0, 80))) == []
    assert one.differences(Preprocessing(percentiles=(1, 99))) == ["percentiles"]
    assert one.differences(Preprocessing(orientation="RAS")) == ["orientation"]
    clipped = Preprocessing(intensity="ct_window")
    assert clipped.differences(Preprocessing(intensity="ct_window", window=(0, 80))) == ["window"]
    assert one.differences(clipped) == ["intensity"]
    mixed = Preprocessing(channel_intensity=("zscore", "ct_window"))
    other = Preprocessing(channel_intensity=("zscore", "ct_window"), window=(0, 80))
    assert mixed.differences(other) == ["window"]
