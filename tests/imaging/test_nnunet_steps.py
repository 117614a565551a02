"""The steps of nnU-Net: crop, scaling and splines, against plain loops."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from napari_graphflow.config.preprocessing import NnUNetSteps, Preprocessing
from napari_graphflow.imaging.nnunet import nonzero, resample, separate_axis
from napari_graphflow.imaging.preprocessing import prepare, prepare_labels, to_source_orientation
from napari_graphflow.imaging.volume import Volume


def volume(array: Any, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(np.asarray(array), spacing, (0.0,) * 3, tuple(np.eye(3).ravel().tolist()))


def steps(**options: Any) -> Preprocessing:
    return Preprocessing(orientation="stored", nnunet=NnUNetSteps(**options))


@pytest.mark.parametrize(
    ("before", "after", "axis"),
    [
        ((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), 2),
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
        ((0.2, 1.2, 1.2), (1.0, 1.0, 1.0), None),
    ],
)
def test_an_axis_with_far_larger_spacing_is_resampled_by_itself(before, after, axis) -> None:
    assert separate_axis(NnUNetSteps(), before, after) == axis
    assert separate_axis(NnUNetSteps(separate_z=False), before, after) is None


def test_splines_are_those_of_scikit_image_within_slices_and_nearest_between_them() -> None:
    array = np.random.default_rng(0).normal(size=(4, 9, 8)).astype(np.float32)
    slices = np.stack(
        [resize(one.astype(float), (12, 6), 3, mode="edge", anti_aliasing=False) for one in array]
    )
    rows = 4 / 7 * (np.arange(7) + 0.5) - 0.5
    expected = slices[[int(map_coordinates(np.arange(4.0), [[r]], order=0, mode="nearest")[0])
                       for r in rows]]  # fmt: skip
    found = resample(array, (7, 12, 6), 0, 3, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_crop_is_undone_and_the_mask_is_cropped_alike() -> None:
    array = np.zeros((8, 9, 10), np.float32)
    array[2:6, 3:8, 1:9] = np.random.default_rng(1).normal(10, 2, (4, 5, 8))
    array[3, 4, 4] = 0  # a hole
    image = volume(array)
    assert nonzero(array[None]).sum() == 4 * 5 * 8
    prepared = prepare(image, steps())
    assert prepared.array.shape == (1, 4, 5, 8)
    assert prepared.oriented.origin == (1.0, 3.0, 2.0)
    mask = (array > 10).astype(np.uint8)
    cropped = prepare_labels(image.with_array(mask), steps(), prepared.box)
    np.testing.assert_array_equal(to_source_orientation(cropped, prepared).array, mask)
    values = array[2:6, 3:8, 1:9]
    np.testing.assert_allclose(
        prepared.array[0], (values - values.mean()) / values.std(), rtol=1e-4, atol=1e-5
    )


def test_scaling_within_the_mask_leaves_zeros_outside() -> None:
    array = np.random.default_rng(2).normal(5, 1, (6, 6, 6)).astype(np.float32)
    array[:, :2, :2] = 0
    found = prepare(volume(array), steps(masked=(True,))).array[0]
    inside = array != 0
    assert (found[~inside] == 0).all()
    assert found[inside].mean() == pytest.approx(0, abs=1e-5)
    assert found[inside].std() == pytest.approx(1, abs=1e-5)
