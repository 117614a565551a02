"""*Distil* with a teacher that names its own feature maps."""

import json
from collections.abc import Callable
from pathlib import Path

from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit
from superqt import QCollapsible

from napari_graphflow.plugin.distil.widget import DistilWidget

SLOW_MS = 300_000


def test_another_tap_of_the_teacher_can_be_entered(
    viewer: Viewer, qtbot: QtBot, tiny_dataset: Path, make_model: Callable[..., Path]
) -> None:
    teacher = make_model("imported", role="teacher", network="unet")
    card = json.loads((teacher / "model.json").read_text())
    card |= {"network": "nnunet:PlainConvUNet", "taps": {"encoder": "a", "decoder": "b"}}
    (teacher / "model.json").write_text(json.dumps(card))
    dock, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
    assert isinstance(widget, DistilWidget)
    dock.show()
    widget.dataset.choose(tiny_dataset)
    qtbot.waitUntil(widget.dataset.checked, timeout=SLOW_MS)
    widget.teacher.choose(teacher)
    assert widget.button.isEnabled()
    widget.method.setCurrentIndex(widget.method.findData("generalisable"))
    assert not widget.button.isEnabled()
    assert "needs the tap bottleneck" in widget.status.text()

    sections = {one.text(): one for one in widget.findChildren(QCollapsible)}
    click(qtbot, sections["Advanced"].toggleButton())
    form = widget.method_forms["generalisable"]
    qtbot.waitUntil(form.isVisible)
    field, of_student = (one for one in form.findChildren(QLineEdit) if one.text() == "bottleneck")
    for tap, fits in (("decoder", True), ("elsewhere", False), ("encoder", True)):
        field.clear()
        QTest.keyClicks(field, tap)
        assert widget.button.isEnabled() is fits
        assert ("needs the tap elsewhere" in widget.status.text()) is not fits
    of_student.clear()
    QTest.keyClicks(of_student, "decode")
    assert "no tap decode; taps are" in widget.status.text()
    QTest.keyClicks(of_student, "r")
    assert widget.button.isEnabled()
    method = widget.config().method
    assert (method.teacher_tap, method.student_tap) == ("encoder", "decoder")
    viewer.window.remove_dock_widget("all")
