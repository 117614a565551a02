"""Tools for one structure, against masks worked out by hand."""

import numpy as np
import pytest

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.tools import (
    copy_slice,
    fill_between_slices,
    fill_holes,
    keep_largest,
    remove_islands,
    smooth,
)

ISOTROPIC = (1.0, 1.0, 1.0)


def grid(*rows: str) -> np.ndarray:
    """A 2D mask from digits; a dot is background."""
    return np.array([[int(c.replace(".", "0")) for c in row] for row in rows], np.uint8)


def stack(*slices: np.ndarray) -> np.ndarray:
    return np.stack(slices)


def test_between_two_slices_a_structure_shrinks_linearly() -> None:
    # Distances to the border along the row: 7 pixels wide at the bottom, 3 at the top.
    wide, narrow, empty = grid(".1111111."), grid("...111..."), grid(".........")
    filled = fill_between_slices(stack(wide, empty, narrow), 1, spacing=ISOTROPIC)
    np.testing.assert_array_equal(filled, stack(wide, grid("..11111.."), narrow))


def test_only_empty_slices_between_the_outermost_ones_are_filled() -> None:
    one, empty = grid(".111."), grid(".....")
    mask = stack(empty, one, empty, one, one, empty)
    filled = fill_between_slices(mask, 1, spacing=ISOTROPIC)
    np.testing.assert_array_equal(filled, stack(empty, one, one, one, one, empty))


def test_distances_are_in_mm_along_each_axis() -> None:
    # Rows are 10 mm apart, so only the columns decide.
    big, small = np.zeros((2, 5, 9), np.uint8)
    big[1:4, 1:8] = 1
    small[1:4, 3:6] = 1
    filled = fill_between_slices(stack(big, np.zeros_like(big), small), 1, spacing=(5.0, 10.0, 1.0))
    np.testing.assert_array_equal(filled[1][1:4], np.tile(grid("..11111.."), (3, 1)))
    assert not filled[1][[0, 4]].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_may_be_across_any_axis(axis: int) -> None:
    along = stack(grid(".111."), grid("....."), grid(".111."))
    mask = np.moveaxis(along, 0, axis)
    filled = fill_between_slices(mask, 1, spacing=ISOTROPIC, axis=axis)
    np.testing.assert_array_equal(np.moveaxis(filled, axis, 0), stack(*[grid(".111.")] * 3))


def test_a_locked_structure_between_slices_is_not_painted_over() -> None:
    mask = stack(grid("11111"), grid(".232."), grid("11111"))
    filled = fill_between_slices(mask, 1, spacing=ISOTROPIC, locked=[2])
    np.testing.assert_array_equal(filled[1], grid("12121"))


def test_filling_needs_a_gap_between_two_slices() -> None:
    for mask in (stack(grid("1"), grid("1")), stack(grid("."), grid("1"), grid("."))):
        with pytest.raises(UserError, match="no empty slices"):
            fill_between_slices(mask, 1, spacing=ISOTROPIC)


def test_the_largest_part_stays_and_corners_connect() -> None:
    mask = grid(
        "11..1.2",
        "1...1..",
        ".1.....",
    )
    np.testing.assert_array_equal(
        keep_largest(mask, 1),
        grid(
            "11....2",
            "1......",
            ".1.....",
        ),
    )


def test_islands_below_a_volume_are_removed() -> None:
    mask = np.zeros((3, 5, 7), np.uint8)
    mask[0, 0, :2] = 1  # 2 voxels
    mask[:, 3, 4:6] = 1  # 6 voxels
    mask[0, 0, 6] = 2  # another structure
    spacing = (5.0, 10.0, 10.0)  # 0.5 ml a voxel
    np.testing.assert_array_equal(remove_islands(mask, 1, 1.0, spacing=spacing), mask)
    removed = remove_islands(mask, 1, 1.01, spacing=spacing)
    expected = mask.copy()
    expected[0, 0, :2] = 0
    np.testing.assert_array_equal(removed, expected)
    assert not (remove_islands(mask, 1, 9, spacing=spacing) == 1).any()


def test_areas_of_2d_images_are_in_square_mm() -> None:
    mask = grid("11.1")
    assert remove_islands(mask, 1, 4.0, spacing=(2.0, 1.0)).tolist() == [[1, 1, 0, 0]]


def test_holes_are_filled_but_a_lesion_inside_stays() -> None:
    mask = grid(
        ".......",
        ".11111.",
        ".1...1.",
        ".1.2.1.",
        ".11111.",
        "111..11",
    )
    np.testing.assert_array_equal(
        fill_holes(mask, 1),
        grid(
            ".......",
            ".11111.",
            ".11111.",
            ".11211.",
            ".11111.",
            "111..11",
        ),
    )


def test_a_tunnel_is_a_hole_only_slice_by_slice() -> None:
    ring = grid("111", "1.1", "111")
    mask = stack(ring, ring)
    np.testing.assert_array_equal(fill_holes(mask, 1), mask)
    assert (fill_holes(mask, 1, axis=0) == 1).all()


def test_smoothing_removes_a_spike_and_leaves_other_structures() -> None:
    mask = np.zeros((11, 11), np.uint8)
    mask[3:8, 3:8] = 1
    mask[0:3, 5] = 1  # a spike of one pixel
    mask[8:, :] = 2
    result = smooth(mask, 1, 1.0, spacing=(1.0, 1.0))
    assert (result[0:2, 5] == 0).all()
    assert (result[4:7, 4:7] == 1).all()
    np.testing.assert_array_equal(result == 2, mask == 2)


def test_a_flat_border_is_not_moved_by_smoothing() -> None:
    mask = np.zeros((6, 12, 12), np.uint8)
    mask[:, :6] = 1
    np.testing.assert_array_equal(smooth(mask, 1, 2.0, spacing=ISOTROPIC), mask)


def test_a_structure_is_copied_from_another_slice() -> None:
    mask = stack(grid(".11."), grid("1.32"), grid("...."))
    copied = copy_slice(mask, 1, 0, 1, locked=[2])
    np.testing.assert_array_equal(copied, stack(grid(".11."), grid(".112"), grid("....")))
    locked = copy_slice(mask, 1, 0, 1, locked=[2, 3])
    np.testing.assert_array_equal(locked[1], grid(".132"))


@pytest.mark.parametrize(("source", "words"), [(2, "does not contain"), (3, "no slice 3")])
def test_copying_from_a_slice_without_the_structure_is_refused(source: int, words: str) -> None:
    mask = stack(grid(".11."), grid("1..2"), grid("...."))
    with pytest.raises(UserError, match=words):
        copy_slice(mask, 1, source, 1)


TOOLS = {
    "fill": lambda mask, **kw: fill_between_slices(mask, 1, spacing=ISOTROPIC, **kw),
    "copy": lambda mask, **kw: copy_slice(mask, 1, 0, 1, **kw),
    "largest": lambda mask, **kw: keep_largest(mask, 1, **kw),
    "islands": lambda mask, **kw: remove_islands(mask, 1, 0.002, spacing=ISOTROPIC, **kw),
    "holes": lambda mask, **kw: fill_holes(mask, 1, **kw),
    "smooth": lambda mask, **kw: smooth(mask, 1, 1.0, spacing=ISOTROPIC, **kw),
}


@pytest.mark.parametrize("name", TOOLS)
def test_no_tool_changes_its_input_or_a_locked_structure(name: str) -> None:
    mask = np.random.default_rng(0).choice(4, (12, 12, 12), p=[0.7, 0.2, 0.05, 0.05])
    mask = mask.astype(np.uint8)
    mask[[2, 3, 6]] *= mask[[2, 3, 6]] != 1
    mask[8:11, 2:5, 2:5] = 1
    mask[9, 3, 3] = 0
    before = mask.copy()
    result = TOOLS[name](mask, locked=[2, 3])
    np.testing.assert_array_equal(mask, before)
    assert result.dtype == mask.dtype and not np.shares_memory(result, mask)
    for locked in (2, 3):
        np.testing.assert_array_equal(result == locked, mask == locked)
    assert (result != mask).any()
    with pytest.raises(UserError, match="locked"):
        TOOLS[name](mask, locked=[1])


@pytest.mark.parametrize("name", ["largest", "islands", "holes", "smooth"])
def test_an_absent_structure_is_no_error(name: str) -> None:
    mask = np.full((3, 4, 5), 2, np.uint8)
    np.testing.assert_array_equal(TOOLS[name](mask), mask)
