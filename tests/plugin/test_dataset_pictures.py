"""The small pictures of cases in the list."""

import numpy as np
import pytest

from napari_graphflow.plugin.dataset.pictures import SIZE, picture

RED = {1: (200, 0, 0)}


def test_the_slice_with_most_of_the_mask_is_shown_in_its_colour() -> None:
    image = np.zeros((4, 50, 50), np.int16)
    image[2] = 100
    image[2, :, 25:] = 300
    labels = np.zeros(image.shape, np.uint8)
    labels[1, :2, :2] = 1
    labels[2, :25] = 1
    found = picture(image, labels, (5.0, 1.0, 1.0), RED)
    assert found.shape == (SIZE, SIZE, 3)
    assert found[0, 0].tolist() == [100, 0, 0]
    assert found[0, -1].tolist() == [227, 127, 127]
    assert found[-1, 0].tolist() == [0, 0, 0]
    assert found[-1, -1].tolist() == [255, 255, 255]


def test_voxels_that_are_not_square_are_shown_in_their_shape() -> None:
    image = np.full((3, 10, 40), 7.0)
    image[:, :, ::2] = 9
    found = picture(image, None, (1.0, 2.0, 1.0), {})
    filled = np.flatnonzero(found.any(axis=(1, 2)))
    assert (filled[0], filled[-1]) == (6, 18)  # 20 mm of 40 mm


@pytest.mark.parametrize("shape", [(9, 7), (1, 5), (30, 20, 3)])
def test_2d_images_have_pictures(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    assert picture(image, np.ones(shape[:2], np.uint8), (1.0, 1.0), RED).shape == (SIZE, SIZE, 3)
