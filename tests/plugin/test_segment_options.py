"""The choices of *Segment* that change the mask: mirroring, and only the largest parts."""

from collections.abc import Iterator

import pytest
from clicking import click
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from superqt import QCollapsible

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.system.files import replace_file


@pytest.fixture
def segment(viewer: Viewer) -> Iterator[SegmentWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    (options,) = [one for one in widget.findChildren(QCollapsible) if one.text() == "Options"]
    options.expand(animate=False)
    yield widget
    viewer.window.remove_dock_widget("all")


def test_what_a_model_cannot_do_is_not_offered(
    viewer: Viewer, segment: SegmentWidget, make_model, write_scan
) -> None:
    make_model("plain")
    segment.model.refresh()
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    for box in (segment.options.mirror, segment.options.largest):
        assert not box.isEnabled()
        assert not box.isChecked()
        assert box.toolTip()
    assert "--" not in segment.command.text().partition("--out")[2]


def test_the_largest_part_is_kept_until_the_box_is_cleared(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    folder = make_model("model")
    card = read_model_card(folder).model_copy(
        update={"largest_part": ("organ",), "trained_mirrored": (1, 2)}
    )
    replace_file(folder / "model.json", card.model_dump_json().encode())
    segment.model.refresh()
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    options = segment.options
    assert (options.largest.isChecked(), options.mirror.isChecked()) == (True, False)
    click(qtbot, segment.button)
    qtbot.waitUntil(lambda: not segment.running, timeout=60_000)
    assert "Only the largest part was kept of organ" in segment.status.text()
    options.largest.click()
    options.mirror.click()  # the middle of the box is beside its text
    assert "--mirror --no-postprocess" in segment.command.text()
    segment.mask.setCurrentIndex(0)
    click(qtbot, segment.button)
    qtbot.waitUntil(lambda: not segment.running, timeout=60_000)
    assert "largest part" not in segment.status.text()
    first, second = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    assert (first.data != second.data).any()
