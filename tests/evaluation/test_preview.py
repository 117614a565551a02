"""The picture of a validation case while a job runs."""

from pathlib import Path

import numpy as np
from PIL import Image

from napari_graphflow.evaluation.pictures import NETWORK, REFERENCE, SIDE, draw
from napari_graphflow.jobs.folder import choose_case, chosen_case
from napari_graphflow.jobs.paths import JobPaths


def test_preview_case_is_the_chosen_one_or_the_first(tmp_path: Path) -> None:
    assert chosen_case(tmp_path, ["a", "b"]) == "a"
    choose_case(tmp_path, "b")
    assert chosen_case(tmp_path, ["a", "b"]) == "b"
    assert chosen_case(tmp_path, ["a", "c"]) == "a"
    assert chosen_case(tmp_path, []) is None


def test_preview_contours_are_on_the_mask_borders(tmp_path: Path) -> None:
    image = np.linspace(-3, 7, 40 * 64).reshape(40, 64)
    reference, labels = np.zeros((2, 40, 64), np.uint8)
    reference[5:15, 5:15] = 1
    labels[20:30, 30:50] = 2
    draw(image, reference, labels, JobPaths(tmp_path).preview)
    picture = np.asarray(Image.open(JobPaths(tmp_path).preview))
    zoom = picture.shape[0] // 40
    assert min(picture.shape[:2]) >= SIDE
    assert picture.shape[:2] == (40 * zoom, 64 * zoom)
    white = np.argwhere((picture == REFERENCE).all(-1) & (picture[..., 1] == 255))
    white = white[white[:, 0] < 16 * zoom]
    orange = np.argwhere((picture == NETWORK).all(-1))
    assert tuple(white.min(0)) == (5 * zoom, 5 * zoom)
    assert tuple(orange.min(0)) == (20 * zoom, 30 * zoom)
    assert tuple(orange.max(0)) == (30 * zoom - 1, 50 * zoom - 1)
    assert (picture[25 * zoom, 40 * zoom] != NETWORK).any(), "the inside is left free"
