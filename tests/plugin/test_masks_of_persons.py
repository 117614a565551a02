"""A mask, or a part of it, that no model made is replaced only after a question."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import answer, click, question
from napari import Viewer
from napari._app_model import get_app_model
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_graphflow.plugin.segment.widget import SegmentWidget

SLOW_START_MS = 300_000
PLUGIN = "napari-graphflow"


@pytest.fixture
def segment(viewer: Viewer, make_model, write_scan) -> Iterator[SegmentWidget]:
    """The dock with a model and a scan."""
    make_model("small")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    viewer.open(str(write_scan("brain.nii.gz")), plugin=PLUGIN)
    yield widget
    viewer.window.remove_dock_widget("all")


def run(qtbot: QtBot, segment: SegmentWidget, choice: str = "") -> str:
    """Click *Segment*, answer the question if one is expected, wait, and return the question."""
    click(qtbot, segment.button)
    asked = answer(qtbot, choice) if choice else ""
    qtbot.waitUntil(lambda: not segment.running, timeout=SLOW_START_MS)
    assert question() is None, "asked without a reason"
    return asked


def drawn_by_a_person(viewer: Viewer, segment: SegmentWidget) -> Labels:
    """Open a mask in which the first slices are labelled by hand."""
    scan = Path(viewer.layers[0].source.path)
    array = np.zeros(viewer.layers[0].data.shape, np.uint8)
    array[:, 2:6, 2:6] = 1
    labels = sitk.GetImageFromArray(array)
    labels.CopyInformation(sitk.ReadImage(str(scan)))
    sitk.WriteImage(labels, str(scan.with_name("brain_seg.nii.gz")))
    (mask,) = viewer.open(str(scan.with_name("brain_seg.nii.gz")), plugin=PLUGIN)
    segment.mask.choose(mask)
    return mask


def test_the_other_slices_of_a_mask_stay_a_persons_after_one_was_segmented(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget
) -> None:
    mask = drawn_by_a_person(viewer, segment)
    drawn = int(np.count_nonzero(mask.data))
    click(qtbot, segment.slice)
    viewer.dims.set_current_step(0, 3)
    assert "replace 16 voxels" in run(qtbot, segment, "Replace")
    run(qtbot, segment)  # the slice is the model's by now
    before = mask.data.copy()
    click(qtbot, segment.whole)
    asked = run(qtbot, segment, "Cancel")
    assert f"replace {drawn - 16:,} voxels of “brain_seg”, which it has not made" in asked
    np.testing.assert_array_equal(mask.data, before)


def test_a_mask_whose_other_slices_are_empty_is_the_models(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget
) -> None:
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    segment.mask.choose(viewer.layers[-1])
    click(qtbot, segment.slice)
    viewer.dims.set_current_step(0, 3)
    run(qtbot, segment)
    assert viewer.layers[-1].data.any()
    click(qtbot, segment.whole)
    run(qtbot, segment)


def test_a_duplicate_of_a_result_is_a_mask_of_a_person(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget
) -> None:
    run(qtbot, segment)
    result = segment.mask.layer()
    result.data_setitem((np.array([1]), np.array([1]), np.array([1])), 2)
    viewer.layers.selection.active = result
    get_app_model().commands.execute_command("napari.layer.duplicate").result()
    (copy,) = [one for one in viewer.layers if isinstance(one, Labels) and one is not result]
    viewer.layers.selection.active = copy
    segment.mask.choose(copy)
    assert segment.mask.layer() is copy
    before = copy.data.copy()
    assert "which it has not made" in run(qtbot, segment, "Cancel")
    np.testing.assert_array_equal(copy.data, before)
