"""The two graphs of a generalisable distillation in the Jobs dock."""

from pathlib import Path

import numpy as np
import pyqtgraph as pg
import pytest
from job_cases import new_job
from pytestqt.qtbot import QtBot

from napari_graphflow.jobs.event_log import event_line
from napari_graphflow.plugin.jobs.graphs import (
    THICK,
    THIN,
    GraphPlot,
    edges_of,
    places,
    spread_of,
    summary,
    width_of,
)
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.widgets.palette import DARK, LIGHT
from napari_graphflow.system.events import CodeGraph, CodeGraphs

VIEWS = ("contrast", "blur", "noise", "uneven brightness")


def complete(*upper: float) -> tuple[tuple[float, ...], ...]:
    """Return the symmetric 4x4 matrix of the six edges of four nodes."""
    found = np.eye(4)
    found[np.triu_indices(4, 1)] = upper
    return tuple(map(tuple, np.maximum(found, found.T).tolist()))


GRAPHS = CodeGraphs(
    step=40,
    views=VIEWS,
    nodes=VIEWS,
    teacher=CodeGraph(star=(0.9, 0.8, 0.95, 0.7), complete=complete(0.6, 0.9, 0.5, 0.7, 0.8, 0.4)),
    student=CodeGraph(star=(0.9, 0.6, 1.0, 0.7), complete=complete(0.9, 0.9, 0.5, 0.7, 0.8, 0.4)),
)  # fmt: skip


def drawn(plot: GraphPlot) -> list[np.ndarray]:
    """Return the pens of all edges of each graph: teacher, then student, star, then complete."""
    boxes = [item for item in plot.canvas.ci.items if hasattr(item, "addedItems")]
    return [item.pen for box in boxes if hasattr(item := box.addedItems[0], "pen")]


def squares(plot: GraphPlot) -> list[pg.ImageItem]:
    """Return the cosines that are drawn as squares: teacher, then student."""
    boxes = [item for item in plot.canvas.ci.items if hasattr(item, "addedItems")]
    return [item for box in boxes if isinstance(item := box.addedItems[0], pg.ImageItem)]


def test_edges_are_those_of_the_event() -> None:
    assert edges_of(GRAPHS.student, "star") == [(0, 1, 0.9), (0, 2, 0.6), (0, 3, 1.0), (0, 4, 0.7)]
    assert edges_of(GRAPHS.teacher, "complete") == [
        (0, 1, 0.6), (0, 2, 0.9), (0, 3, 0.5), (1, 2, 0.7), (1, 3, 0.8), (2, 3, 0.4),
    ]  # fmt: skip


def test_the_width_of_a_line_goes_from_the_least_to_the_largest_cosine_of_both_networks() -> None:
    span = spread_of([(0, 1, 0.2), (0, 2, 0.6), (0, 1, 1.0)])
    assert [width_of(cosine, span) for cosine in (0.2, 0.6, 1.0)] == [THIN, 4.5, THICK]


def test_cosines_that_hardly_differ_have_lines_that_hardly_differ() -> None:
    span = spread_of([(0, 1, 0.999), (0, 2, 1.0)])
    assert width_of(0.999, span) == pytest.approx(THICK, abs=0.2)


def test_the_anchor_of_the_star_is_in_the_middle_of_its_views() -> None:
    star = places(5, "star")
    assert star[0] == (0.0, 0.0)
    assert star[1:] == places(4, "complete")
    assert np.allclose(np.linalg.norm(star[1:], axis=1), 1)


def test_summary_has_the_mean_cosines_of_both_networks() -> None:
    assert "from the patch to its copies: teacher 0.84, student 0.80; " in summary(GRAPHS)
    assert "between copies: teacher 0.65, student 0.70." in summary(GRAPHS)


def test_an_event_whose_edges_do_not_fit_its_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        CodeGraphs(step=0, views=VIEWS[:3], nodes=VIEWS, teacher=GRAPHS.teacher,
                   student=GRAPHS.student)  # fmt: skip


def test_only_edges_that_differ_from_the_teachers_are_coloured(qtbot: QtBot) -> None:
    plot = GraphPlot()
    qtbot.addWidget(plot)
    plot.show_graphs(GRAPHS)
    star_teacher, star_student, _, complete_student = drawn(plot)
    grey, lower, higher = (
        tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
        for colour in (DARK.note, DARK.curves[0], DARK.curves[1])
    )
    colours = [[tuple(map(int, list(pen)[:3])) for pen in pens] for pens in (star_teacher,
               star_student, complete_student)]  # fmt: skip
    assert set(colours[0]) == {grey}
    assert colours[1][:2] == [grey, lower]
    assert colours[1][2] not in (grey, higher), "half of the difference of full colour"
    assert colours[2] == [higher, *[grey] * 5]
    assert star_student["width"].max() == THICK
    assert star_student["width"].min() == THIN
    plot.set_colours(LIGHT)
    assert tuple(map(int, list(drawn(plot)[0][0])[:3])) != grey


def test_the_complete_graphs_are_squares_on_one_range_of_both_networks(qtbot: QtBot) -> None:
    plot = GraphPlot()
    qtbot.addWidget(plot)
    plot.show_graphs(GRAPHS)
    teacher, student = squares(plot)
    assert teacher.image[0, 1] == 0.6
    assert student.image[1, 0] == 0.9
    assert tuple(teacher.levels) == tuple(student.levels) == (0.4, 0.9)


def test_without_the_complete_graph_only_the_star_is_drawn(qtbot: QtBot) -> None:
    plot = GraphPlot()
    qtbot.addWidget(plot)
    teacher, student = (CodeGraph(star=graph.star) for graph in (GRAPHS.teacher, GRAPHS.student))
    plot.show_graphs(CodeGraphs(step=1, views=VIEWS, nodes=(), teacher=teacher, student=student))
    assert len(drawn(plot)) == 2
    assert squares(plot) == []
    assert "between copies" not in plot.text.text()


def test_the_dock_draws_the_latest_graphs_of_the_chosen_job(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job, other = new_job(tmp_path, "first"), new_job(tmp_path, "other")
    view.choose(job)
    assert not view.details.graphs.isVisible()
    later = GRAPHS.model_copy(update={"step": 80})
    job.events_file.write_bytes(event_line(GRAPHS) + event_line(later))
    view.refresh()
    qtbot.waitUntil(view.details.graphs.isVisible)
    plot = view.details.graphs.widget()
    assert plot.text.text().startswith("Step 80.")
    assert len(drawn(plot)) == 4
    assert "uneven&nbsp;brightness" in plot.legend.text()
    view.choose(other)
    assert not view.details.graphs.isVisible()
