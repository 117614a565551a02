"""Durations as people read them."""

import pytest

from napari_graphflow.system.words import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (14.2, "14 s"),
        (89, "89 s"),
        (200, "3 min"),
        (5390, "1 h 30 min"),
        (7512, "2 h 05 min"),
        (50_000, "14 h"),
        (300_000, "3 days"),
    ],
)
def test_times_are_written_with_the_unit_that_matters(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_narrow_column_leaves_out_the_unit_of_minutes_beside_hours() -> None:
    assert duration(7512, narrow=True) == "2 h 05"
