"""Keys of docks: written on their buttons, editable in napari's preferences."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from napari.settings import get_settings
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QKeySequence, QResizeEvent
from qtpy.QtWidgets import QPushButton, QShortcut, QWidget

from napari_graphflow.plugin.viewer.preferences import after_opening, plugin_settings
from napari_graphflow.system.files import read_memory
from napari_graphflow.system.folders import data_root

if TYPE_CHECKING:
    from napari_graphflow.plugin.widgets.panel import Panel

#: The keys of each dock by the name of its group in ``napari.yaml``, which repeats them for the
#: preferences.
KEYS = {
    "dataset_keys": {
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
    },
    "segment_keys": {"segment": "Ctrl+Return", "save": "S"},
    "distil_keys": {"start": "Ctrl+Return", "measure": "E", "jobs": "J"},
    "jobs_keys": {"pause": "P", "cancel": "C", "checkpoint": "K"},
    "compare_keys": {
        "compare": "Ctrl+Return",
        "worst": "Shift+W",
        "next": "Shift+N",
        "flicker": "Shift+X",
    },
}

#: Pixels of a button beside its text.
MARGIN = 4


def with_key(text: str, key: str) -> str:
    """Return the text of a button with its key."""
    return f"{text} ({key.replace('Return', '↵')})" if key else text


def usable(
    defaults: Mapping[str, str],
    chosen: Mapping[str, str],
    taken: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Return the keys to bind, and why others are not bound, in sentences.

    Parameters
    ----------
    defaults
        The key of each action.
    chosen
        The user's key for each action; empty for none.
    taken
        Keys of napari, and what they do there.
    """
    taken = taken or {}
    found: dict[str, str] = {}
    problems = []
    for name, default in defaults.items():
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
    """Binds actions to their keys.

    Parameters
    ----------
    widget
        Owns the bindings; they end with it.
    group
        Name of the keys in `KEYS`.
    actions
        What each key does.
    changed
        Called with the keys and the problems at first, and whenever they are edited.
    everywhere
        Names of the actions whose keys work in the whole window, and so must not be those of
        napari. The others work while the focus is in the widget.
    """

    def __init__(
        self,
        widget: QWidget,
        group: str,
        actions: Mapping[str, Callable[[], Any]],
        changed: Callable[[dict[str, str], list[str]], None],
        everywhere: Collection[str] = (),
    ) -> None:
        self._group, self._changed, self._everywhere = group, changed, everywhere
        self._shortcuts = {}
        for name, act in actions.items():
            shortcut = QShortcut(widget)
            context = Qt.ShortcutContext
            shortcut.setContext(
                context.WindowShortcut if name in everywhere else context.WidgetWithChildrenShortcut
            )
            shortcut.activated.connect(act)
            self._shortcuts[name] = shortcut
        self._settings: Any = None
        self._put(KEYS[group])
        after_opening(widget, self._follow)

    def _follow(self) -> None:
        self._settings = plugin_settings(self._group)
        if self._settings is not None:
            self._settings.events.connect(self.read)
        self.read()

    def read(self, event: Any = None) -> None:
        """Read the chosen keys again."""
        self._put(chosen(self._group, self._settings))

    def _put(self, wanted: Mapping[str, str]) -> None:
        defaults = KEYS[self._group]
        taken = keys_of_napari() if self._everywhere else {}
        keys, problems = usable(defaults, wanted, taken)
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
            self._settings = None


class KeyButton(QPushButton):
    """A button that shows its key after its text, if there is room."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._words, self._key = text, ""
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show a text, with the key after it."""
        self._words = text
        self._fit()

    def show_key(self, key: str) -> None:
        """Show another key; empty for none."""
        self._key = key
        self.setText(self._words)

    def sizeHint(self) -> QSize:
        """Return the size with the key."""
        hidden = self._advance(with_key(self._words, self._key)) - self._advance(self.text())
        return super().sizeHint() + QSize(max(0, hidden), 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        whole = with_key(self._words, self._key)
        narrow = self._advance(whole) + MARGIN > self.width()
        shown = self._words if self.isVisible() and narrow else whole
        if shown != self.text():
            super().setText(shown)

    def _advance(self, text: str) -> int:
        return int(self.fontMetrics().horizontalAdvance(text))

    def press(self) -> None:
        """Click the button if a user could."""
        if self.isVisible() and self.isEnabled():
            self.click()


def button_keys(
    panel: "Panel",
    group: str,
    buttons: Mapping[str, KeyButton],
    warn: Callable[[str], None],
    everywhere: Collection[str] = (),
) -> Keys:
    """Bind buttons to the keys of a group, and write these on them; `warn` of unusable ones."""

    def show(keys: dict[str, str], problems: list[str]) -> None:
        for name, button in buttons.items():
            button.show_key(keys[name])
        if problems:
            warn(problem_text(problems))

    presses = {name: button.press for name, button in buttons.items()}
    keys = Keys(panel, group, presses, show, everywhere)
    panel.closing.connect(keys.stop)
    return keys


def problem_text(problems: list[str]) -> str:
    """Return the first problem of some keys, with a remedy."""
    return f"{problems[0]} Choose another one in the preferences."


def chosen(group: str, settings: Any = None) -> dict[str, str]:
    """Return the keys in napari's preferences, or in ``keys.json`` for a napari without them."""
    if settings is not None:
        return {name: str(getattr(settings, name, key)) for name, key in KEYS[group].items()}
    found = read_memory(data_root() / "keys.json").get(group)
    if not isinstance(found, dict):
        return dict(KEYS[group])
    return {name: key for name, key in found.items() if isinstance(key, str)}


def keys_of_napari() -> dict[str, str]:
    """Return the keys of napari and of its mask and image layers, and what they do."""
    found: dict[str, str] = {}
    for action, keys in get_settings().shortcuts.shortcuts.items():
        if not any(part in str(action) for part in _ANNOTATIONS):
            words = str(action).split(":")[-1].replace("_", " ")
            found |= {_normal(str(key)): words for key in keys}
    return found


#: Parts of the names of actions on points and shapes: while such a layer is selected, the keys of
#: *Dataset* are off.
_ANNOTATIONS = (
    "points", "shape", "vertex", "activate_add_", "activate_direct", "activate_select",
    "select_all", "select_append",
)  # fmt: skip


def _normal(key: str) -> str:
    portable = QKeySequence.SequenceFormat.PortableText
    return str(QKeySequence(key).toString(portable)) if key else ""
