"""A mask that covers a part of its image's grid is laid onto it, exactly or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, write_volume
from napari_graphflow.imaging.volume import Volume

OBLIQUE = tuple(sitk.VersorTransform((0.6, 0.48, 0.64), 0.5).GetMatrix())
BOX = (slice(3, 9), slice(4, 11), slice(6, 14))


def image(direction: tuple[float, ...] = OBLIQUE) -> Volume:
    values = np.random.default_rng(0).integers(0, 100, (12, 14, 16)).astype(np.int16)
    return Volume(values, (2.5, 0.81, 0.7), (-123.456, 78.9, -1234.5), direction)


def cut(like: Volume, shift: float = 0.0) -> tuple[Volume, Volume]:
    """Return a mask on the whole grid, and its box, `shift` voxels beside its place."""
    whole = np.zeros(like.shape, np.uint8)
    whole[BOX] = np.random.default_rng(1).integers(0, 3, whole[BOX].shape)
    steps = like.matrix * like.spacing[::-1]
    first = np.array([side.start + shift for side in BOX[::-1]], float)
    part = replace(like, array=whole[BOX], origin=tuple(steps @ first + like.origin))
    return like.with_array(whole), part


@pytest.mark.parametrize("code", ["LPS", "RAS", "SPL"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_cropped_mask_is_laid_onto_the_grid_of_its_image(
    tmp_path: Path, ending: str, code: str
) -> None:
    like = image().oriented()
    whole, part = cut(like)
    write_volume(tmp_path / f"mask{ending}", part.oriented(code))
    found = read_labels(tmp_path / f"mask{ending}", like)
    np.testing.assert_array_equal(found.array, whole.array)
    assert found.same_grid(like, tolerance=0)
    assert "12% of the image" in " ".join(found.warnings)


@pytest.mark.parametrize("shift", [0.5, 0.2, -0.3])
def test_a_cropped_mask_between_the_voxels_of_its_image_is_refused(
    tmp_path: Path, shift: float
) -> None:
    _, part = cut(image(), shift)
    write_volume(tmp_path / "mask.nrrd", part)
    with pytest.raises(UserError, match="has the shape 6 x 7 x 8, but the image 12 x 14 x 16"):
        read_labels(tmp_path / "mask.nrrd", image())


def test_a_slightly_wrong_spacing_of_a_large_crop_is_refused(tmp_path: Path) -> None:
    like = image().with_array(np.zeros((12, 14, 16)))
    _, part = cut(like)
    write_volume(tmp_path / "mask.nrrd", replace(part, spacing=(2.5, 0.81, 0.72)))
    with pytest.raises(UserError, match="has the shape"):
        read_labels(tmp_path / "mask.nrrd", like)


def test_a_mask_that_reaches_beyond_its_image_is_refused(tmp_path: Path) -> None:
    whole, part = cut(image())
    write_volume(tmp_path / "mask.nrrd", whole)
    with pytest.raises(UserError, match="has the shape 12 x 14 x 16, but the image 6 x 7 x 8"):
        read_labels(tmp_path / "mask.nrrd", part)


def test_the_lower_half_is_a_crop_but_a_single_lost_slice_is_refused(tmp_path: Path) -> None:
    like = image()
    for slices in (6, 11):
        array = np.ones((slices, *like.shape[1:]), np.uint8)
        write_volume(tmp_path / f"{slices}.nrrd", replace(like, array=array))
    assert read_labels(tmp_path / "6.nrrd", like).array.sum(axis=(1, 2)).tolist() == (
        [14 * 16] * 6 + [0] * 6
    )
    with pytest.raises(UserError, match="has the shape 11 x 14 x 16"):
        read_labels(tmp_path / "11.nrrd", like)
