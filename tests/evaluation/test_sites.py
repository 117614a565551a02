"""Scores by site, and the drawing of codes, against known answers."""

import math
from pathlib import Path

import numpy as np
import pytest

from napari_graphflow.evaluation.charts import code_chart
from napari_graphflow.evaluation.report import write_report
from napari_graphflow.evaluation.sites import CodeGroup, code_map, site_rows
from napari_graphflow.evaluation.study import Side, Study

#: Axes of variance 4 and 1 in a plane of 5 dimensions, four points each.
CROSS = np.array([[3, 0], [-3, 0], [0, 1.5], [0, -1.5]]) * math.sqrt(3 / 4.5)


def in_five_dimensions(points: np.ndarray) -> np.ndarray:
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    return points @ axes[:2]


def test_codes_are_drawn_in_the_directions_in_which_they_vary_most() -> None:
    codes = in_five_dimensions(CROSS)
    found = code_map(0, codes, {"Bonn": list(codes + codes[0] * 2)}, {"Bonn": "unlike"})
    assert found is not None and found.explained == pytest.approx(1)
    training, bonn = found.groups
    distance = math.dist(training.mean, bonn.mean)
    assert distance == pytest.approx(2 * np.linalg.norm(CROSS[0]))
    assert (training.text, bonn.text) == ("", "unlike")
    large, small, angle = training.ellipse()
    assert (large, small) == (pytest.approx(2 * 2), pytest.approx(2 * 1))
    assert abs(math.sin(math.radians(angle))) < 1e-6
    chart = code_chart(found)
    x, y = np.array(chart.clouds[1].mean) - chart.clouds[0].mean
    assert math.hypot(x, y) / chart.clouds[0].ellipse[0] == pytest.approx(
        distance / large, rel=0.01
    )
    inside = np.array([point for cloud in chart.clouds for point in cloud.dots])
    assert inside.min() >= 0 and inside.max() <= chart.size


def test_a_turned_ellipse_has_the_angle_of_its_long_axis() -> None:
    group = CodeGroup(name="a", points=((0, 0),), mean=(0, 0), covariance=(2.5, 1.5, 2.5))
    large, small, angle = group.ellipse()
    assert (large, small) == (pytest.approx(4), pytest.approx(2))
    assert angle % 180 == pytest.approx(45)


def test_equal_or_too_few_codes_are_not_drawn() -> None:
    assert code_map(0, np.ones((4, 3)), {"a": [np.ones(3)]}, {}) is None
    assert code_map(0, np.eye(3)[:1], {"a": [np.ones(3)]}, {}) is None


def test_scores_are_by_site_with_the_worst_case() -> None:
    sites = {"1": "Bonn", "2": "Bonn", "3": "Ulm"}
    rows = site_rows(sites, {"Student": {"1": 0.9, "2": 0.7, "3": None}})
    bonn, ulm = rows
    assert bonn[:5] == ("Bonn", "Student", True, 2, pytest.approx(0.8))
    assert bonn.std == pytest.approx(math.sqrt(0.02)) and bonn.worst == 0.7
    assert ulm.n == 0 and math.isnan(ulm.mean)


def test_a_report_has_a_chart_of_the_sites_and_hides_their_names_if_asked(tmp_path: Path) -> None:
    scores = {str(n): {"liver": {"dice_score": 0.1 * n}} for n in (1, 2, 3)}
    metrics = dict.fromkeys(
        ("surface_dice", "hausdorff_distance_95", "average_surface_distance", "prediction_ml",
         "reference_ml", "absolute_volume_error", "relative_volume_error"), 1.0,
    )  # fmt: skip
    for structures in scores.values():
        structures["liver"] |= metrics
    sides = tuple(Side(letter=one, role="mask", name=one, scores=scores) for one in "AB")
    codes = in_five_dimensions(CROSS)
    found = code_map(0, codes, {"Bonn": [codes[0]], "Ulm": [codes[1]]}, {"Ulm": "Too few"})
    assert found is not None
    study = Study(
        sides=sides, tolerance=1, sites={"1": "Bonn", "2": "Ulm", "3": "Ulm"}, codes=(found,)
    )
    page = write_report(tmp_path / "r.html", study)[0].read_text("utf-8")
    assert "<h2>Sites</h2>" in page and page.count("<ellipse") == 3
    assert "Ulm: Too few" in page and ">Bonn<" in page
    for file in write_report(tmp_path / "r.html", study.unnamed()):
        text = file.read_text("utf-8")
        assert "Ulm" not in text and "Bonn" not in text
