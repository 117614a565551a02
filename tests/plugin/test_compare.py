"""*Compare* in a real window."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clicking import click
from napari import Viewer
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_graphflow.evaluation.comparison import DISAGREEMENT, compare_masks
from napari_graphflow.plugin.compare.widget import CompareWidget
from napari_graphflow.plugin.widgets.palette import LIGHT

SLOW_START_MS = 300_000
SPACING = (2.0, 1.0, 0.5)


@pytest.fixture
def compare(viewer: Viewer) -> Iterator[CompareWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    yield widget
    viewer.window.remove_dock_widget("all")


@pytest.fixture
def masks(viewer: Viewer) -> tuple[Labels, Labels]:
    """A has a block of label 1; B has a smaller block, a full slice, and one voxel of label 2."""
    a, b = np.zeros((10, 8, 8), np.uint8), np.zeros((10, 8, 8), np.uint8)
    a[2:6, 2:6, 2:6] = 1
    b[2:6, 2:6, 2:5] = 1
    b[6, 0:8, 0:8] = 1
    b[8, 1, 1] = 2
    names = {"index": [0, 1, 2], "name": ["background", "liver", "lesion"]}
    keywords = {"scale": SPACING, "units": ("mm",) * 3, "features": names}
    one = viewer.add_labels(a, name="teacher", **keywords)
    return one, viewer.add_labels(b, name="student", **keywords)


def click_compare(qtbot: QtBot, widget: CompareWidget) -> None:
    assert widget.button.isEnabled(), widget.status.text()
    qtbot.mouseClick(widget.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.background.busy(), timeout=60_000)


def table(widget: CompareWidget) -> list[list[str]]:
    columns = widget.table.columnCount()
    return [
        [one.text() for column in range(columns) if (one := widget.table.item(row, column))]
        for row in range(widget.table.rowCount())
    ]


def test_comparing_requires_two_masks(viewer: Viewer, compare: CompareWidget) -> None:
    assert not compare.button.isEnabled()
    assert "Choose two masks or models" in compare.status.text()
    viewer.add_labels(np.zeros((4, 4), np.uint8))
    assert not compare.button.isEnabled()


def test_the_table_shows_dice_and_volumes_of_two_masks(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    compare.a.choose(masks[0])
    compare.b.choose(masks[1])
    click_compare(qtbot, compare)
    # |A| = 64, |B| = 48 + 64, intersection 48; a voxel has 1 mm³.
    name, liver, *lesion = table(compare)
    assert name == ["liver"]
    assert liver[:2] == ["A to B", f"{2 * 48 / (64 + 112):.3f}"]
    assert liver[-1] == "0.06 · 0.11"
    assert lesion[0] == ["lesion"]
    assert lesion[1] == ["A to B", "0.000", "0.000", "missed", "missed", "0.00 · 0.00"]
    assert "81 of 640 voxels differ" in compare.status.text()


def test_clicking_a_row_shows_the_slice_that_differs_most(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    compare.a.choose(masks[0])
    compare.b.choose(masks[1])
    click_compare(qtbot, compare)
    for index, slice_ in ((0, 6), (1, 6), (2, 8), (3, 8)):
        where = compare.table.visualItemRect(compare.table.item(index, 0)).center()
        qtbot.mouseClick(compare.table.viewport(), Qt.MouseButton.LeftButton, pos=where)
        assert viewer.dims.current_step[0] == slice_
    assert "Slice 8: 1 voxel of lesion differs" in compare.status.text()
    for slice_ in (6, 2, 8, 6):  # over both structures, the worst first, then again
        qtbot.mouseClick(compare.next_place, Qt.MouseButton.LeftButton)
        assert viewer.dims.current_step[0] == slice_
    assert "Place 1 of 3" in compare.status.text()


def test_disagreement_and_outlines_can_be_shown_and_hidden(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    a, b = masks
    compare.a.choose(a)
    compare.b.choose(b)
    click_compare(qtbot, compare)
    layers = {layer.name: layer for layer in viewer.layers}
    differs = layers["disagreement"]
    assert differs.visible
    assert np.count_nonzero(differs.data == DISAGREEMENT["only A"]) == 16
    assert np.count_nonzero(differs.data == DISAGREEMENT["only B"]) == 65
    assert not differs.editable
    outlines = [layers["outline A: teacher"], layers["outline B: student"]]
    assert all(layer.visible and layer.contour for layer in outlines)
    assert not a.visible
    assert not b.visible
    qtbot.mouseClick(compare.contours, Qt.MouseButton.LeftButton)
    assert not any(layer.visible for layer in outlines)
    qtbot.mouseClick(compare.disagreement, Qt.MouseButton.LeftButton)
    assert a.visible
    assert b.visible
    assert not differs.visible
    assert compare.a.count() == 2, "derived views are listed as masks"

    count = len(viewer.layers)
    click_compare(qtbot, compare)
    assert len(viewer.layers) == count, "the layers of the first comparison were not replaced"


def test_a_third_mask_of_the_case_is_hidden_below_the_outlines(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    third = viewer.add_labels(masks[0].data.copy(), name="third")
    compare.a.choose(masks[0])
    compare.b.choose(masks[1])
    click_compare(qtbot, compare)
    qtbot.waitUntil(lambda: not masks[0].visible and not masks[1].visible)
    assert not third.visible
    third.visible = True  # it can be shown again, and stays so
    qtbot.mouseClick(compare.disagreement, Qt.MouseButton.LeftButton)
    assert third.visible


def test_a_reference_adds_rows_and_an_outline_and_masks_flicker_and_stand_side_by_side(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    truth = viewer.add_labels(masks[0].data.copy(), name="annotation", scale=SPACING)
    compare.a.choose(masks[0])
    compare.b.choose(masks[1])
    compare.reference.choose(truth)
    click_compare(qtbot, compare)
    headers = [
        compare.table.horizontalHeaderItem(column).text()
        for column in range(compare.table.columnCount())
    ]
    assert headers == ["", "Dice", "NSD", "HD95", "ASSD", "ml", "error"]
    name, first, second = table(compare)[:3]
    assert name == ["liver"]
    assert first == ["A", "1.000", "1.000", "0.0", "0.00", "0.06", "+0 %"]
    assert second[:2] == ["B", f"{2 * 48 / (64 + 112):.3f}"] and second[-1] == "+75 %"
    qtbot.mouseClick(compare.worst, Qt.MouseButton.LeftButton)
    assert viewer.dims.current_step[0] == 6
    layers = {layer.name: layer for layer in viewer.layers}
    assert layers["outline reference: annotation"].visible

    outlines = [layers["outline A: teacher"], layers["outline B: student"]]
    QApplication.setActiveWindow(viewer.window._qt_window)
    qtbot.keyClick(viewer.window._qt_window, Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
    assert [layer.visible for layer in outlines] == [True, False]
    qtbot.mouseClick(compare.flicker, Qt.MouseButton.LeftButton)
    assert [layer.visible for layer in outlines] == [False, True]
    count = len(viewer.layers)
    qtbot.mouseClick(compare.beside, Qt.MouseButton.LeftButton)
    assert all(layer.visible for layer in outlines)
    grid = (viewer.canvas if hasattr(viewer, "canvas") else viewer).grid
    assert grid.enabled and len(viewer.layers) == count + 1, "the reference stands in both"
    qtbot.mouseClick(compare.beside, Qt.MouseButton.LeftButton)
    assert not grid.enabled and len(viewer.layers) == count


def test_the_reference_is_locked_against_painting(viewer: Viewer, compare: CompareWidget) -> None:
    a, b = (viewer.add_labels(np.ones((3, 8, 8), np.uint8), name=name) for name in "ab")
    compare.reference.choose(a)
    assert not a.editable and b.editable
    compare.reference.choose(b)
    assert a.editable and not b.editable
    compare.reference.setCurrentIndex(0)
    assert a.editable and b.editable
    compare.reference.choose(a)
    viewer.window.remove_dock_widget("all")
    assert a.editable


def test_masks_of_different_shapes_are_refused(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget, qtbot: QtBot
) -> None:
    other = viewer.add_labels(np.zeros((3, 8, 8), np.uint8), name="other")
    compare.a.choose(masks[0])
    compare.b.choose(other)
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    assert "teacher and other have different shapes (10x8x8 and 3x8x8 voxels)" in (
        compare.status.text()
    )
    assert compare.button.isEnabled()


def test_a_renamed_layer_stays_selected(
    viewer: Viewer, masks: tuple[Labels, Labels], compare: CompareWidget
) -> None:
    compare.a.choose(masks[0])
    masks[0].name = "renamed"
    assert compare.a.currentText() == "renamed"
    assert compare.a.layer() is masks[0]
    viewer.layers.remove(masks[0])
    assert compare.a.layer() is masks[1]


def test_the_maps_of_the_networks_are_made_when_they_are_unfolded(
    compare: CompareWidget, qtbot: QtBot
) -> None:
    sections = compare.findChildren(QCollapsible)
    (section,) = [one for one in sections if one.text() == "Maps of the networks"]
    assert compare._maps.made is None
    qtbot.waitUntil(section.toggleButton().isVisible)
    click(qtbot, section.toggleButton())
    qtbot.waitUntil(lambda: compare._maps.made is not None)
    qtbot.waitUntil(compare.heatmap.isVisible)


def test_variation_maps_have_the_geometry_of_the_image(
    viewer: Viewer, compare: CompareWidget, qtbot: QtBot, make_model, write_scan, tmp_path: Path
) -> None:
    make_model("small", seed=1)
    make_model("large", role="teacher", network="unet")
    section = compare.heatmap
    section.student.refresh()
    section.teacher.refresh()
    (image,) = viewer.open(str(write_scan()), plugin="napari-graphflow")
    section.teacher.combo.setCurrentIndex(1)
    assert section.student.card().name == "small"
    assert section.teacher.card().name == "large"
    section.button.click()
    assert not section.button.isEnabled()
    qtbot.waitUntil(section.button.isEnabled, timeout=SLOW_START_MS)
    maps = {layer.name: layer for layer in viewer.layers if isinstance(layer, Image)}
    student, teacher = maps["variation (student)"], maps["variation (teacher)"]
    for layer in (student, teacher):
        assert layer.data.shape == image.data.shape
        assert tuple(layer.scale) == tuple(image.scale)
        assert layer.data.min() >= 0
        assert layer.data.max() > 0
    assert student.contrast_limits == teacher.contrast_limits
    np.testing.assert_allclose(
        maps["variation (difference)"].data, teacher.data - student.data, atol=1e-5
    )
    assert "not tissue properties" in section.notes.text()
    shown = [name for name in maps if name.startswith("variation") and maps[name].visible]
    assert shown == ["variation (student)"] == [section.maps.combo.currentText()]
    difference = maps["variation (difference)"]
    qtbot.keyClick(section.maps.combo, Qt.Key.Key_End)
    assert section.maps.combo.currentText() == difference.name
    assert [one.name for one in maps.values() if one.visible] == [image.name, difference.name]
    low, high = difference.contrast_limits
    assert -low == high == pytest.approx(np.abs(difference.data).max())
    section.kind.setCurrentIndex(section.kind.findData("graph"))
    assert section.pair.isVisibleTo(section) and not section.channel.isVisibleTo(section)
    section.button.click()
    qtbot.waitUntil(section.button.isEnabled, timeout=SLOW_START_MS)
    plots = section.matrix.widget().ci.items
    assert len(plots) == 2  # no difference, because they have other numbers of channels
    viewer.theme = "light"
    colours = {plot.getAxis("left").textPen().color().name() for plot in plots}
    assert colours == {LIGHT.note}


def test_2d_masks_are_measured_in_square_millimetres() -> None:
    a, b = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    a[1, 1:4], b[1, 1:3] = 1, 1
    rows, differs = compare_masks([a, b], None, (0.5, 2.0), {})
    assert rows[0].volumes == (3.0, 2.0)
    assert rows[0].name == "label 1"
    assert np.argwhere(differs).tolist() == [[1, 3]]


def test_identical_masks_have_no_worst_slice() -> None:
    a = np.ones((2, 3, 4), np.uint8)
    rows, differs = compare_masks([a, a.copy()], None, (1, 1, 1), {})
    assert rows[0].agreement["dice_score"] == 1
    assert rows[0].worst is None
    assert not differs.any()


def test_two_models_are_run_and_compared(
    viewer: Viewer, compare: CompareWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    folders = make_model("one", seed=1), make_model("two", seed=2)
    compare.a.refresh()
    compare.b.refresh()
    compare.a.choose_model(folders[0])
    compare.b.choose_model(folders[1])
    assert not compare.button.isEnabled()
    assert "Open the image" in compare.status.text()
    (image,) = viewer.open(str(write_scan()), plugin="napari-graphflow")
    assert compare.image.isVisible()
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    assert not compare.button.isEnabled()
    qtbot.waitUntil(lambda: compare.table.rowCount() > 0, timeout=SLOW_START_MS)
    assert compare.a.layer().name == f"one · {image.name}"
    assert compare.b.layer().name == f"two · {image.name}"
    assert compare.a.layer().data.shape == image.data.shape
    assert not compare.image.isVisible()
    assert [line[0] for line in table(compare)] == ["organ", "A to B", "lesion", "A to B"]
    assert "voxels differ" in compare.status.text()


def test_a_model_run_for_a_comparison_can_be_cancelled(
    viewer: Viewer, compare: CompareWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    folder = make_model("one")
    (image,) = viewer.open(str(write_scan(shape=(48, 96, 96))), plugin="napari-graphflow")
    mask = viewer.add_labels(
        np.zeros(image.data.shape, np.uint8), name="painted", scale=image.scale
    )
    compare.b.refresh()
    compare.a.choose(mask)
    compare.b.choose_model(folder)
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(compare.progress.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(compare.button.isEnabled, timeout=SLOW_START_MS)
    assert "scan: cancelled" in compare.status.text()
    assert len(viewer.layers) == 2

    other = viewer.add_labels(np.zeros((3, 8, 8), np.uint8), name="other")
    compare.a.choose(other)
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    assert compare.status.text().startswith(
        "✕ scan: other and scan have different shapes (3x8x8 and 48x96x96 voxels)."
    )


def test_a_failed_run_of_a_model_names_its_case(
    viewer: Viewer, compare: CompareWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    folder = make_model("one")
    (image,) = viewer.open(str(write_scan("p_1.nii.gz")), plugin="napari-graphflow")
    mask = viewer.add_labels(np.zeros(image.data.shape, np.uint8), name="mine", scale=image.scale)
    viewer.open(str(write_scan("p_2.nii.gz", seed=1)), plugin="napari-graphflow")
    viewer.layers.selection.active = mask
    compare.b.refresh()
    compare.a.choose(mask)
    compare.b.choose_model(folder)
    (folder / "weights.safetensors").write_bytes(b"damaged")
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    viewer.layers.selection.active = viewer.layers[-1]
    qtbot.waitUntil(lambda: "✕" in compare.status.text(), timeout=SLOW_START_MS)
    assert compare.status.text().startswith("✕ p_1: ")
