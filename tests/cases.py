"""Volumes of every geometry, and helpers to compare volumes."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume
from napari_graphflow.imaging.volume import Volume

VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
OBLIQUE = tuple(sitk.VersorTransform((0.6, 0.48, 0.64), 0.5).GetMatrix())
GEOMETRIES: dict[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    "identity": ((1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "flipped": ((1, 1, 1), (10, -20.5, 30), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "mirrored": ((1, 1, 1), (10, -20.5, 30), (1, 0, 0, 0, 1, 0, 0, 0, -1)),
    "permuted": ((2, 3, 4), (1, 2, 3), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
    "oblique": ((2.5, 0.81, 0.7), (-123.456, 78.9, -1234.5), OBLIQUE),
    "anisotropic": ((7.5, 0.4296875, 0.4296875), (0.1, 0.2, 0.3), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "2D": ((1, 1), (0, 0), (1, 0, 0, 1)),
    "2D oblique": ((0.5, 0.25), (-7, 3.3), (0.8, -0.6, 0.6, 0.8)),
    "2D flipped": ((0.5, 0.25), (-7, 3.3), (-1, 0, 0, 1)),
}
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def make(geometry: str = "identity", dtype: str = "int16", channels: int = 0) -> Volume:
    """Return a volume of random values whose axes all differ in length."""
    spacing, origin, direction = GEOMETRIES[geometry]
    shape = (4, 5, 6)[-len(spacing) :] + ((channels,) if channels else ())
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    return Volume(values, spacing, origin, direction, channels > 0)


def same(one: Volume, other: Volume) -> None:
    """Check that arrays are equal and geometries equal to 1e-6, relative to the origin."""
    assert one.channels == other.channels
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.spacing, other.spacing, rtol=1e-6)
    np.testing.assert_allclose(one.direction, other.direction, atol=1e-6)
    np.testing.assert_allclose(one.origin, other.origin, rtol=1e-6, atol=1e-6)


def itk(volume: Volume) -> sitk.Image:
    """Convert a volume to a SimpleITK image."""
    image = sitk.GetImageFromArray(volume.array, isVector=volume.channels)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    return image


def by_itk(path: Path) -> Volume:
    """Read a volume with SimpleITK alone."""
    image = sitk.ReadImage(str(path))
    return Volume(
        sitk.GetArrayFromImage(image),
        image.GetSpacing()[::-1],
        image.GetOrigin(),
        image.GetDirection(),
        image.GetNumberOfComponentsPerPixel() > 1,
    )


def refused(path: Path, *words: str) -> None:
    """Reading raises a `UserError` of one sentence with these words, and a remedy."""
    with pytest.raises(UserError) as caught:
        read_volume(path)
    for word in words:
        assert word in caught.value.text
    assert caught.value.text.endswith(".") and "\n" not in caught.value.text
    assert caught.value.remedy.endswith(".")
