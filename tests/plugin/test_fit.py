"""A model that does not fit is greyed with the reason, and nothing starts with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.plugin.widgets.docks import show_dock

MakeModel = Callable[..., Path]
SOON_MS = 5000


def change_card(folder: Path, **changes: Any) -> Path:
    """Change fields of ``model.json``."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    return folder


def entry(combo: QComboBox, name: str) -> tuple[str, bool]:
    """Return the text of the entry of a model, and whether it can be chosen."""
    index = next(i for i in range(combo.count()) if name in combo.itemText(i))
    return combo.itemText(index), combo.model().item(index).isEnabled()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": {"modality": "CT"}}, "it is for CT, and blobs is MR"),
        ({"in_channels": 2}, "it needs 2 channels, and blobs has 1"),
        ({"classes": {"background": 0, "vein": 1}}, "it has the classes background, vein"),
    ],
)
def test_distil_greys_a_teacher_that_does_not_fit_the_dataset_and_starts_nothing(
    viewer: Viewer,
    qtbot: QtBot,
    make_model: MakeModel,
    tiny_dataset: Path,
    changes: dict[str, Any],
    reason: str,
) -> None:
    make_model("right", role="teacher", network="unet")
    wrong = change_card(make_model("wrong", role="teacher", network="unet"), **changes)
    distil = show_dock(viewer, "Distil")
    distil.teacher.choose(wrong)
    assert entry(distil.teacher.combo, "wrong")[1], "judged without a dataset"
    distil.dataset.choose(tiny_dataset)
    qtbot.waitUntil(lambda: not distil.button.isEnabled() and reason in distil.status.text())
    assert distil.status.text().startswith("⚠ The teacher wrong does not fit")
    assert reason in distil.teacher.about.text()
    text, enabled = entry(distil.teacher.combo, "wrong")
    assert reason in text and not enabled
    assert entry(distil.teacher.combo, "right") == ("right", True)
    qtbot.mouseClick(distil.button, Qt.MouseButton.LeftButton)
    qtbot.wait(300)
    assert list_jobs() == []
    viewer.window.remove_dock_widget("all")
