"""Keys of *Dataset*: shown on its buttons, editable in napari's preferences, never napari's own."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_graphflow.plugin.viewer.preferences import after_opening, plugin_settings
from napari_graphflow.system.folders import data_root

#: Name of the group in ``napari.yaml``, which repeats these keys for the preferences.
GROUP = "dataset_keys"
KEYS = {
    "finish": "A",
    "reject": "R",
    "flag": "G",
    "review": "Shift+K",
    "approve": "K",
    "exclude": "Shift+G",
    "reopen": "Shift+R",
    "next": "N",
    "before": ",",
    "after": ".",
    "slice": "D",
    "place": "W",
}


def with_key(text: str, key: str) -> str:
    """Return the text of a button with its key."""
    return f"{text} ({key})" if key else text


def usable(
    chosen: Mapping[str, str], taken: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Return the keys to bind, and why others are not bound, in sentences.

    Parameters
    ----------
    chosen
        A key for each action; empty for none.
    taken
        Keys of napari, and what they do there.
    """
    taken = taken or {}
    found: dict[str, str] = {}
    problems = []
    for name, default in KEYS.items():
        key = chosen.get(name, default).strip()
        written = _normal(key)
        owner = next((one for one, used in found.items() if used == written), "")
        if key and not written:
            problems.append(f"“{key}” is not a key.")
        elif written and written in taken:
            problems.append(f"{written} is a key of napari ({taken[written]}).")
        elif written and owner:
            problems.append(f"{written} is the key of two buttons.")
        else:
            found[name] = written
            continue
        free = default not in found.values() and default not in taken
        found[name] = default if free else ""
    return found, problems


class Keys:
    """Binds actions to their keys in the window of a widget.

    Parameters
    ----------
    widget
        Owns the bindings; they end with it.
    actions
        What each key of `KEYS` does.
    changed
        Called with the keys and the problems when they were read, and whenever they are edited.
    """

    def __init__(
        self,
        widget: QWidget,
        actions: Mapping[str, Callable[[], Any]],
        changed: Callable[[dict[str, str], list[str]], None],
    ) -> None:
        self._changed = changed
        self._shortcuts = {}
        for name, act in actions.items():
            shortcut = QShortcut(widget)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(act)
            self._shortcuts[name] = shortcut
        self._settings: Any = None
        self._put(*usable(KEYS, keys_of_napari()))
        after_opening(widget, self._follow)

    def _follow(self) -> None:
        self._settings = plugin_settings(GROUP)
        if self._settings is not None:
            self._settings.events.connect(self.read)
        self.read()

    def read(self, event: Any = None) -> None:
        """Read the chosen keys again."""
        self._put(*usable(chosen(self._settings), keys_of_napari()))

    def _put(self, keys: dict[str, str], problems: list[str]) -> None:
        for name, shortcut in self._shortcuts.items():
            shortcut.setKey(QKeySequence(keys[name]))
        self._changed(keys, problems)

    def enable(self, wanted: bool) -> None:
        """Bind the keys, or leave them to others."""
        for shortcut in self._shortcuts.values():
            shortcut.setEnabled(wanted)

    def stop(self) -> None:
        """Follow the preferences no longer."""
        if self._settings is not None:
            self._settings.events.disconnect(self.read)


def chosen(settings: Any = None) -> dict[str, str]:
    """Return the keys in napari's preferences, or in ``keys.json`` for a napari without them."""
    if settings is not None:
        return {name: str(getattr(settings, name, key)) for name, key in KEYS.items()}
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((data_root() / "keys.json").read_text("utf-8"))
        return {str(name): str(key) for name, key in found.items()}
    return dict(KEYS)


def keys_of_napari() -> dict[str, str]:
    """Return the keys of napari and of its mask and image layers, and what they do."""
    found: dict[str, str] = {}
    for action, keys in get_settings().shortcuts.shortcuts.items():
        if not any(part in str(action) for part in _ANNOTATIONS):
            words = str(action).split(":")[-1].replace("_", " ")
            found |= {_normal(str(key)): words for key in keys}
    return found


#: Parts of the names of actions on points and shapes: while such a layer is selected, the keys of
#: this dock are off.
_ANNOTATIONS = (
    "points", "shape", "vertex", "activate_add_", "activate_direct", "activate_select",
    "select_all", "select_append",
)  # fmt: skip


def _normal(key: str) -> str:
    portable = QKeySequence.SequenceFormat.PortableText
    return str(QKeySequence(key).toString(portable)) if key else ""
