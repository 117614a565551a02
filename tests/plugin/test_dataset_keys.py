"""Keys of *Dataset*: chosen in the preferences, refused if napari uses them."""

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
from napari_graphflow.plugin.dataset import keys
from napari_graphflow.plugin.dataset.keys import GROUP, KEYS, keys_of_napari, usable
from napari_graphflow.plugin.viewer.preferences import PLUGIN, Preferences, preferences


def test_the_preferences_begin_with_the_keys_of_the_buttons() -> None:
    manifest = yaml.safe_load((PACKAGE / "napari.yaml").read_text("utf-8"))
    properties = manifest["contributions"]["configurations"][GROUP]["properties"]
    assert {name: one["default"] for name, one in properties.items()} == KEYS
    general = manifest["contributions"]["configurations"]["general"]["properties"]
    assert {name: one["default"] for name, one in general.items()} == asdict(Preferences())
    get_plugin_settings(PLUGIN).general.device = "cpu"
    assert preferences() == Preferences(device="cpu")


def test_no_default_key_is_one_of_napari() -> None:
    found, problems = usable(KEYS, keys_of_napari())
    assert found == KEYS
    assert problems == []


def test_keys_that_napari_or_another_button_has_are_refused() -> None:
    chosen = KEYS | {"finish": "p", "reject": "T", "flag": "t", "next": "nonsense", "place": ""}
    found, problems = usable(chosen, {"P": "paint"})
    changed = {name: key for name, key in found.items() if key != KEYS[name]}
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
    assert dock.next.text() == "Open next (Q)"
    dock.dataset.choose(make_dataset(tmp_path / "scans"))
    qtbot.waitUntil(dock.next.isEnabled, timeout=20_000)
    pressed: list[bool] = []
    dock.next.clicked.connect(pressed.append)
    window = viewer.window._qt_window
    QApplication.setActiveWindow(window)
    qtbot.keyClick(window, Qt.Key.Key_N)
    assert not pressed
    qtbot.keyClick(window, Qt.Key.Key_Q)
    assert len(pressed) == 1
    qtbot.waitUntil(lambda: dock.session.case is not None, timeout=20_000)
    qtbot.waitUntil(lambda: not dock.background.busy(), timeout=20_000)
    settings.next = "P"
    assert dock.next.text() == "Open next (N)"
    assert "P is a key of napari" in dock.status.text()
    viewer.window.remove_dock_widget("all")


def test_a_napari_without_preferences_of_plugins_reads_a_file(home: Any) -> None:
    (home / "keys.json").write_text('{"finish": "Y"}')
    assert keys.chosen() == {"finish": "Y"}
    assert usable(keys.chosen())[0] == KEYS | {"finish": "Y"}
