"""Only the largest part of a structure."""

import numpy as np
import pytest

from napari_graphflow.imaging.parts import keep_largest_part


@pytest.mark.parametrize("axes", [2, 3])
def test_smaller_parts_become_background_and_other_structures_stay(axes: int) -> None:
    labels = np.zeros((12,) * axes, np.uint8)
    labels[(slice(1, 4),) * axes] = 1
    labels[(slice(4, 5),) * axes] = 1  # touches the first one at a corner
    labels[(slice(8, 10),) * axes] = 1
    labels[(slice(10, 12),) * axes] = 2
    expected = labels.copy()
    expected[(slice(8, 10),) * axes] = 0
    assert keep_largest_part(labels, 1) == 2**axes
    np.testing.assert_array_equal(labels, expected)
    assert keep_largest_part(labels, 1) == 0, "one part is left"


def test_a_structure_that_is_not_there_changes_nothing() -> None:
    labels = np.zeros((4, 5), np.uint8)
    assert keep_largest_part(labels, 3) == 0
    assert not labels.any()
