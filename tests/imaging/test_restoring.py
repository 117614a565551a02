"""A label map from slabs of probabilities, compared with SimpleITK on whole volumes."""

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.imaging.restoring import LabelMap

SHAPES = {
    "enlarged": ((10, 12, 14), (25, 17, 30)),
    "reduced": ((20, 22, 24), (7, 11, 40)),
    "2D": ((8, 9), (30, 20)),
    "the same": ((5, 6, 7), (5, 6, 7)),
    "one slice": ((1, 9, 9), (3, 20, 8)),
}


def interpolated(one: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Interpolate a whole array; the outer edges of both grids coincide."""
    ratio = np.array(one.shape[::-1]) / np.array(target[::-1])
    return sitk.GetArrayFromImage(
        sitk.Resample(
            sitk.GetImageFromArray(one),
            target[::-1],
            sitk.Transform(),
            sitk.sitkLinear,
            (0.5 * (ratio - 1)).tolist(),
            ratio.tolist(),
            np.eye(one.ndim).ravel().tolist(),
            0.0,
            sitk.sitkFloat32,
            True,
        )
    )


@pytest.mark.parametrize("classes", [2, 3, 14])
@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("case", SHAPES)
def test_slabs_give_the_labels_and_probabilities_of_the_whole(
    case: str, rows: int, classes: int
) -> None:
    shape, target = SHAPES[case]
    logits = 3 * np.random.default_rng(0).normal(size=(classes, *shape)).astype(np.float32)
    soft = np.exp(logits) / np.exp(logits).sum(0)
    expected = np.stack([interpolated(one, target) for one in soft])
    for axis in range(len(shape)):
        probabilities = np.zeros((classes, *target), np.float32)
        both = LabelMap(shape, target, classes, axis, probabilities)
        labels = LabelMap(shape, target, classes, axis)
        for start in range(0, shape[axis], rows):
            slab = np.moveaxis(soft, axis + 1, 0)[start : start + rows]
            for label_map in (both, labels):
                label_map.add(start, np.moveaxis(slab, 0, axis + 1))
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        assert (labels.labels == both.labels).all()
        assert (labels.labels != expected.argmax(0)).mean() < 1e-3  # ties by rounding


def test_a_class_in_one_corner_is_found() -> None:
    soft = np.zeros((3, 12, 12, 12), np.float32)
    soft[0] = 1
    soft[:, 11, 11, 11] = 0.1, 0.2, 0.7
    label_map = LabelMap((12,) * 3, (24,) * 3, 3, 0)
    for start in range(0, 12, 4):
        label_map.add(start, soft[:, start : start + 4])
    expected = np.stack([interpolated(one, (24,) * 3) for one in soft]).argmax(0)
    assert expected[23, 23, 23] == 2
    np.testing.assert_array_equal(label_map.labels, expected)
