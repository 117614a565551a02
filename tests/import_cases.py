"""Volumes and 2D images for the tests of importing, and helpers to inspect the result."""

import numpy as np
from PIL import Image

from napari_graphflow.imaging.files import write_volume
from napari_graphflow.imaging.volume import Volume

OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
SPACING = (5.0, 0.8, 1.2)


def scan(seed, shape=(6, 9, 11), low=-1000):
    array = np.random.default_rng(seed).integers(low, 400, shape).astype(np.int16)
    return Volume(array, SPACING, (10.0, -20.0, 300.0), OBLIQUE)


def mask_of(volume, *values):
    """Return a mask with a small box of each value."""
    array = np.zeros(volume.shape, np.uint8)
    for row, value in enumerate(values):
        array[2:4, row * 2 : row * 2 + 2, 3:7] = value
    return volume.with_array(array)


def write_image_2d(path, seed, colour=True):
    shape = (20, 30, 3) if colour else (20, 30)
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(array).save(path)
    return array


def write_mask_2d(path, *values):
    array = np.zeros((20, 30), np.uint8)
    for row, value in enumerate(values):
        array[4 * row : 4 * row + 3, 5:20] = value
    Image.fromarray(array).save(path)
    return array


def write_scans(folders, count, labelled, values=(1, 2), ending=".nii.gz"):
    images, masks = folders
    for number in range(count):
        volume = scan(number)
        write_volume(images / f"case_{number}{ending}", volume)
        if number < labelled:
            write_volume(masks / f"case_{number}{ending}", mask_of(volume, *values))


def names(cases):
    return [case.name for case in cases]


def texts(findings, severity=None):
    return [one.text for one in findings if severity in (None, one.severity)]


def assert_no_files_left(out):
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
