"""The preview of a validation case during a job."""

from pathlib import Path

import numpy as np

from napari_graphflow.evaluation.pictures import REFERENCE, SIDE, class_colour, draw, with_contours
from napari_graphflow.jobs.folder import choose_case, chosen_case


def test_preview_case_is_the_chosen_one_or_the_first(tmp_path: Path) -> None:
    assert chosen_case(tmp_path, ["a", "b"]) == "a"
    choose_case(tmp_path, "b")
    assert chosen_case(tmp_path, ["a", "b"]) == "b"
    assert chosen_case(tmp_path, ["a", "c"]) == "a"
    assert chosen_case(tmp_path, []) is None


def test_preview_contours_are_on_the_mask_borders() -> None:
    image = np.linspace(-3, 7, 40 * 64).reshape(40, 64)
    reference, labels = np.zeros((2, 40, 64), np.uint8)
    reference[5:15, 5:15] = 1
    labels[20:30, 30:50] = 2
    preview = np.asarray(draw(image, reference, labels))
    zoom = preview.shape[0] // 40
    assert min(preview.shape[:2]) >= SIDE
    assert preview.shape[:2] == (40 * zoom, 64 * zoom)
    white = np.argwhere((preview == REFERENCE).all(-1))
    white = white[white[:, 0] < 16 * zoom]
    coloured = np.argwhere((preview == class_colour(2)).all(-1))
    assert tuple(white.min(0)) == (5 * zoom, 5 * zoom)
    assert tuple(coloured.min(0)) == (20 * zoom, 30 * zoom)
    assert tuple(coloured.max(0)) == (30 * zoom - 1, 50 * zoom - 1)
    assert (preview[25 * zoom, 40 * zoom] != class_colour(2)).any(), "the inside is not coloured"


def test_contours_of_neighbours_are_drawn_in_the_colour_of_each() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[4:12, 4:10], mask[4:12, 10:16] = 1, 2
    drawn = with_contours(np.zeros((20, 20, 3), np.uint8), mask, width=2)
    for column, value in ((4, 1), (5, 1), (8, 1), (9, 1), (10, 2), (11, 2), (14, 2), (15, 2)):
        assert tuple(drawn[7, column]) == class_colour(value)
    assert not drawn[7, [3, 6, 7, 12, 13, 16]].any()
