"""A model of several channels gets all channels of the case that is shown."""

from pathlib import Path

import numpy as np
import pytest
from clicking import click
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.segment_files import segment_files
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.channels import channel_layers, volume_for

SLOW_MS = 300_000


def two_files(write_scan, case: str = "case_1") -> list[Path]:
    return [write_scan(f"{case}_{number:04}.nii.gz", seed=number) for number in (0, 1)]


def open_file(viewer: Viewer, path: Path):
    return viewer.open(str(path), plugin="napari-graphflow")


@pytest.mark.parametrize("region", [pytest.param("whole", marks=pytest.mark.slow), "slice"])
def test_files_of_two_channels_are_segmented_together_as_on_the_command_line(
    viewer: Viewer, qtbot: QtBot, make_model, write_scan, tmp_path: Path, region: str
) -> None:
    first, second = two_files(write_scan)
    model = make_model("two", in_channels=2, dims=2)
    segment_files([first], model, tmp_path / "out", device="cpu")
    expected = read_labels(tmp_path / "out/case_1.nii.gz").oriented("LPS").array
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    # Opened in the other order, so that the numbers decide.
    open_file(viewer, second)
    open_file(viewer, first)
    widget.model.refresh()
    if region == "slice":
        widget.slice.setChecked(True)
        viewer.dims.set_current_step(0, 4)
    click(qtbot, widget.button)
    qtbot.waitUntil(lambda: not widget.running, timeout=SLOW_MS)
    (mask,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    if region == "whole":
        np.testing.assert_array_equal(mask.data, expected)
    else:
        # Scaled by the intensities of its own slice, so it may differ in some voxels.
        assert np.mean(mask.data[4] != expected[4]) < 0.15
        assert not np.delete(mask.data, 4, axis=0).any()
    viewer.window.remove_dock_widget("all")


def test_a_missing_channel_is_named_and_nothing_is_computed(
    viewer: Viewer, qtbot: QtBot, make_model, write_scan
) -> None:
    first, _ = two_files(write_scan)
    make_model("two", in_channels=2)
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    assert isinstance(widget, SegmentWidget)
    (layer,) = open_file(viewer, first)
    widget.model.refresh()
    card = read_model_card(widget.model.folder())
    with pytest.raises(UserError) as caught:
        volume_for(layer, card, cases_of(viewer))
    assert caught.value.text == (
        "The model two needs 2 channels, but of case_1_0000 only case_1_0000 is open."
    )
    assert caught.value.remedy == "Open also case_1_0001.nii.gz."
    viewer.window.remove_dock_widget("all")


def test_the_channels_of_one_file_are_sent_in_their_order(
    viewer: Viewer, make_model, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(size=(3, 8, 9, 2)).astype(np.float32)
    direction = (-1.0, 0, 0, 0, 1, 0, 0, 0, -1)
    write_volume(tmp_path / "a.nrrd", Volume(array, (3, 1, 1), (0, 0, 0), direction, True))
    layers = open_file(viewer, tmp_path / "a.nrrd")
    layers[0].name = "renamed"
    viewer.layers.move(0, 2)
    card = read_model_card(make_model("two", in_channels=2))
    found = volume_for(layers[1], card, cases_of(viewer))
    expected = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.channels
    assert found.direction == expected.direction


def test_channels_of_another_patient_are_not_mixed_in(viewer: Viewer, write_scan) -> None:
    layers = [
        open_file(viewer, path)[0]
        for case in ("case_1", "case_2")
        for path in two_files(write_scan, case)
    ]
    assert channel_layers(layers[0], cases_of(viewer)) == layers[:2]
    assert channel_layers(layers[3], cases_of(viewer)) == layers[2:]


def test_numbered_patients_are_not_joined_for_a_model_of_two_channels(
    viewer: Viewer, make_model, write_scan
) -> None:
    paths = [write_scan(f"scan_{number:04}.nii.gz", seed=number) for number in range(3)]
    layers = [open_file(viewer, path)[0] for path in paths[:2]]
    card = read_model_card(make_model("two", in_channels=2))
    with pytest.raises(UserError, match="the 3 files numbered like scan_0000 may be of"):
        volume_for(layers[0], card, cases_of(viewer))
