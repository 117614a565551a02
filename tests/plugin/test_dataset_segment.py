"""A case of a dataset knows where it belongs: *Segment* finishes it, too."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import click
from labelling_cases import make_dataset
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.widget import DatasetWidget
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.docks import show_dock


@pytest.fixture
def docks(
    viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> Iterator[tuple[DatasetWidget, SegmentWidget, Path]]:
    folder = make_dataset(tmp_path / "scans")
    _, dock = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    _, segment = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    dock.dataset.choose(folder)
    wait(qtbot, lambda: bool(dock.rows))
    dock.open("scan_2")
    wait(qtbot, lambda: dock.session.case is not None and dock.session.case.editable)
    show_dock(viewer, "Segment")
    yield dock, segment, folder
    viewer.window.remove_dock_widget("all")


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition)


def test_segment_saves_the_mask_of_a_case_where_training_finds_it(
    qtbot: QtBot, docks: tuple[DatasetWidget, SegmentWidget, Path]
) -> None:
    dock, segment, folder = docks
    assert dock.session.case is not None
    mask = dock.session.case.mask
    mask.data_setitem((np.array([2]), np.array([1]), np.array([3])), 2)
    expected = dock.session.case.labels().copy()
    wait(qtbot, segment.save.isVisible)
    assert segment.save.text().startswith("Finish scan_2")
    click(qtbot, segment.save)
    wait(qtbot, lambda: Labelling(folder).facts("scan_2").status == "labelled")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr" / "scan_2.nii.gz")))
    assert np.array_equal(found, expected)
    assert dock.session.case.name == "scan_2", "the case stays open"


def test_another_mask_on_the_image_becomes_the_mask_of_the_case(
    qtbot: QtBot, viewer: Viewer, docks: tuple[DatasetWidget, SegmentWidget, Path]
) -> None:
    dock, segment, folder = docks
    case = dock.session.case
    assert case is not None
    array = np.zeros(case.mask.data.shape, np.uint8)
    array[1:3, 1:3, 1:3] = 1
    other = Labels(array, name="segmented", scale=case.mask.scale, units=case.mask.units)
    viewer.add_layer(other)
    viewer.layers.selection.active = other
    wait(qtbot, lambda: segment.save.text().startswith("Finish scan_2"))
    click(qtbot, segment.save)
    wait(qtbot, lambda: Labelling(folder).facts("scan_2").status == "labelled")
    assert np.array_equal(case.mask.data, array), "what is shown is what was saved"
    case.mask.undo()
    assert not case.mask.data.any()
