"""Legend, locks and tools of a mask: exact, and one undo step each."""

from collections.abc import Iterator

import numpy as np
import pytest
from clicking import click
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_graphflow.plugin.viewer.layers import class_colours, class_table
from napari_graphflow.plugin.viewer.structure_locks import locks_of
from napari_graphflow.plugin.widgets.legend import Legend, count_labels
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.structure_tools import StructureTools


def mask_layer() -> Labels:
    data = np.zeros((9, 20, 20), np.uint8)
    data[2, 5:15, 5:15] = 1
    data[6, 5:15, 5:15] = 1
    data[4, 9, 9] = 2
    return Labels(
        data,
        name="mask",
        scale=(2, 1, 1),
        units=("mm",) * 3,
        features=class_table({"background": 0, "liver": 1, "lesion": 2}),
        colormap=class_colours(),
    )


@pytest.fixture
def panel(viewer: Viewer) -> Iterator[Panel]:
    one = Panel(viewer)
    viewer.window.add_dock_widget(one)
    yield one
    viewer.window.remove_dock_widget("all")


@pytest.fixture
def legend(viewer: Viewer, panel: Panel) -> Iterator[Legend]:
    layer = viewer.add_layer(mask_layer())
    one = Legend()
    panel.column.addWidget(one)
    one.show_layer(layer)
    yield one
    one.stop()


@pytest.fixture
def tools(panel: Panel, legend: Legend) -> Iterator[StructureTools]:
    one = StructureTools(panel, legend, lambda: (0, 1))
    panel.column.addWidget(one)
    yield one
    one.stop()


def test_a_click_chooses_what_is_painted(qtbot: QtBot, legend: Legend) -> None:
    assert legend.layer is not None
    click(qtbot, legend.names[2])
    assert legend.layer.selected_label == 2
    legend.layer.selected_label = 1
    assert legend.names[1].isChecked()
    assert not legend.names[2].isChecked()


def test_volumes_are_in_ml_and_follow_edits_and_undo(qtbot: QtBot, legend: Legend) -> None:
    qtbot.waitUntil(lambda: legend.sizes[1].text() == "0.4 ml")
    assert legend.layer is not None
    legend.layer.data_setitem((np.array([0] * 50), np.arange(50) // 20, np.arange(50) % 20), 1)
    qtbot.waitUntil(lambda: legend.sizes[1].text() == "0.5 ml")
    legend.layer.undo()
    qtbot.waitUntil(lambda: legend.sizes[1].text() == "0.4 ml")


def test_the_eye_hides_a_structure_and_shows_it_again(qtbot: QtBot, legend: Legend) -> None:
    layer = legend.layer
    assert layer is not None
    colour = np.array(layer.colormap.map(1))
    click(qtbot, legend.eyes[1])
    assert layer.colormap.map(1)[3] == 0
    assert layer.colormap.map(2)[3] == 1
    click(qtbot, legend.eyes[1])
    assert np.allclose(layer.colormap.map(1), colour)


@pytest.mark.parametrize("how", ["brush", "fill", "tool"])
def test_locked_structures_are_not_painted_over_and_undo_is_exact(how: str) -> None:
    layer = mask_layer()
    start = layer.data.copy()
    locks_of(layer).locked = frozenset({1})
    layer.brush_size = 9
    with layer.block_history():
        if how == "brush":
            layer.paint((2, 4, 10), 2)
            layer.paint((2, 6, 12), 2)
        elif how == "fill":
            layer.fill((2, 10, 10), 2)
            layer.fill((2, 0, 0), 2)
        else:
            layer.data_setitem(tuple(np.indices(start.shape).reshape(3, -1)), 2)
    painted = layer.data.copy()
    assert np.array_equal(painted == 1, start == 1)
    assert (painted == 2).sum() > (start == 2).sum()
    layer.undo()
    assert np.array_equal(layer.data, start)
    layer.redo()
    assert np.array_equal(layer.data, painted)


def test_nothing_is_added_to_a_locked_structure() -> None:
    layer = mask_layer()
    start = layer.data.copy()
    locks_of(layer).locked = frozenset({2})
    layer.paint((4, 2, 2), 2)
    assert np.array_equal(layer.data, start)


def test_fill_between_slices_is_one_undo_step_and_spares_locked_structures(
    qtbot: QtBot, legend: Legend, tools: StructureTools
) -> None:
    layer = legend.layer
    assert layer is not None
    start = layer.data.copy()
    click(qtbot, legend.locks[2])
    click(qtbot, tools.buttons["between"])
    qtbot.waitUntil(lambda: bool((layer.data[3] == 1).all(where=start[2] == 1)))
    assert layer.data[4, 9, 9] == 2
    layer.undo()
    assert np.array_equal(layer.data, start)


def test_copying_the_slice_above_says_what_changed(
    qtbot: QtBot, panel: Panel, legend: Legend, tools: StructureTools
) -> None:
    layer = legend.layer
    assert layer is not None
    click(qtbot, tools.buttons["above"])
    qtbot.waitUntil(lambda: "100 voxels of liver changed" in panel.status.text())
    assert np.array_equal(layer.data[1], layer.data[2])


def test_tools_are_disabled_for_a_locked_structure(
    qtbot: QtBot, legend: Legend, tools: StructureTools
) -> None:
    click(qtbot, legend.locks[1])
    assert not any(button.isEnabled() for button in tools.buttons.values())
    click(qtbot, legend.names[2])
    assert all(button.isEnabled() for button in tools.buttons.values())


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6)])
def test_labels_are_counted_in_every_type(kind: type, shape: tuple[int, ...]) -> None:
    labels = np.zeros(shape, kind)
    labels[..., 0] = 1
    labels[..., 1, 2:4] = 200
    assert count_labels(labels) == ({1: 15, 200: 6} if labels.ndim == 3 else {1: 5, 200: 2})
