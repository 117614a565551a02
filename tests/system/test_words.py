"""Formatting of durations."""

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
def test_durations_are_formatted_with_a_suitable_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_narrow_form_omits_the_unit_of_minutes() -> None:
    assert duration(7512, narrow=True) == "2 h 05"
