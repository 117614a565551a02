"""Keys of the docks: chosen in the preferences, written on the buttons, never napari's own."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from labelling_cases import make_dataset
from napari import Viewer
from napari.settings import get_plugin_settings
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_graphflow.dataset.samples import PACKAGE
from napari_graphflow.plugin.viewer.preferences import PLUGIN, Preferences, preferences
from napari_graphflow.plugin.widgets import keys
from napari_graphflow.plugin.widgets.docks import find_dock
from napari_graphflow.plugin.widgets.keys import KEYS, keys_of_napari, usable

GROUP = "dataset_keys"
DATASET = KEYS[GROUP]


def test_the_preferences_begin_with_the_keys_of_the_buttons() -> None:
    manifest = yaml.safe_load((PACKAGE / "napari.yaml").read_text("utf-8"))
    defaults = {
        group: {name: one["default"] for name, one in settings["properties"].items()}
        for group, settings in manifest["contributions"]["configurations"].items()
    }
    assert defaults == KEYS | {"general": asdict(Preferences())}
    get_plugin_settings(PLUGIN).general.device = "cpu"
    assert preferences() == Preferences(device="cpu")


def test_no_default_key_is_one_of_napari() -> None:
    everywhere = DATASET | {name: KEYS["compare_keys"][name] for name in ("worst", "flicker")}
    found, problems = usable(everywhere, everywhere, keys_of_napari())
    assert found == everywhere
    assert problems == []


def test_keys_that_napari_or_another_button_has_are_refused() -> None:
    chosen = DATASET | {"finish": "p", "reject": "T", "flag": "t", "next": "nonsense", "place": ""}
    found, problems = usable(DATASET, chosen, {"P": "paint"})
    changed = {name: key for name, key in found.items() if key != DATASET[name]}
    assert changed == {"reject": "T", "place": ""}
    assert problems == [
        "P is a key of napari (paint).",
        "T is the key of two buttons.",
        "“nonsense” is not a key.",
    ]


def test_a_key_changed_in_the_preferences_is_shown_and_works_at_once(
    qtbot: QtBot, viewer: Viewer, tmp_path: Path
) -> None:
    _, dock = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    settings = getattr(get_plugin_settings(PLUGIN), GROUP)
    assert dock.next.text() == "Open next (N)"
    settings.next = "Q"
    qtbot.waitUntil(lambda: dock.next.text() == "Open next (Q)")
    dock.dataset.choose(make_dataset(tmp_path / "scans"))
    qtbot.waitUntil(dock.next.isEnabled)
    pressed: list[bool] = []
    dock.next.clicked.connect(pressed.append)
    window = viewer.window._qt_window
    QApplication.setActiveWindow(window)
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert not pressed
    qtbot.keyClick(window, Qt.Key.Key_Q)
    assert len(pressed) == 1
    qtbot.waitUntil(lambda: dock.session.case is not None)
    qtbot.waitUntil(lambda: not dock.background.busy())
    settings.next = "P"
    assert dock.next.text() == "Open next (N)"
    assert "P is a key of napari" in dock.status.text()
    viewer.window.remove_dock_widget("all")


def test_a_napari_without_preferences_of_plugins_reads_a_file(home: Any) -> None:
    (home / "keys.json").write_text('{"dataset_keys": {"finish": "Y"}}')
    assert keys.chosen(GROUP) == {"finish": "Y"}
    assert usable(DATASET, keys.chosen(GROUP))[0] == DATASET | {"finish": "Y"}
    assert keys.chosen("jobs_keys") == KEYS["jobs_keys"]


def test_a_key_of_a_dock_works_while_the_focus_is_in_it_and_nowhere_else(
    qtbot: QtBot, viewer: Viewer
) -> None:
    _, dock = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
    window = viewer.window._qt_window
    QApplication.setActiveWindow(window)
    qtbot.waitUntil(dock.show_jobs.isVisible)
    assert dock.show_jobs.text() == "Jobs (J)"
    viewer.window._qt_viewer.canvas.native.setFocus()
    qtbot.keyClick(window.focusWidget() or window, Qt.Key.Key_J)
    assert find_dock(viewer, "Jobs") is None
    dock.network.setFocus()
    qtbot.waitUntil(dock.network.hasFocus)
    qtbot.keyClick(dock.network, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: find_dock(viewer, "Jobs") is not None)
    viewer.window.remove_dock_widget("all")
