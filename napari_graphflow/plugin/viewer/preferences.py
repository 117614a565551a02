"""The preferences of this plugin in napari's settings; their defaults in a napari without them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QComboBox

PLUGIN = "napari-graphflow"
#: Milliseconds until a dock that is being opened has been painted.
OPENING_MS = 100


@dataclass(frozen=True)
class Preferences:
    """What *File > Preferences* shows under *General* of this plugin.

    Attributes
    ----------
    device
        Device of new segmentations and jobs: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    autosave_s
        Seconds between two autosaves of painted masks.
    threads
        Threads of the CPU for segmentation; 0 for all but one.
    """

    device: str = "auto"
    autosave_s: int = 20
    threads: int = 0


def preferences() -> Preferences:
    """Return the current preferences."""
    settings = plugin_settings("general")
    if settings is None:
        return Preferences()
    return Preferences(settings.device, settings.autosave_s, settings.threads)


def after_opening(owner: QObject, act: Callable[[], object]) -> None:
    """Call a function soon, so that a dock opens without it; not if `owner` is deleted before.

    For what reads the preferences: napari then parses the manifests of all plugins again.
    """
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.timeout.connect(act)
    timer.start(OPENING_MS)


def prefer_device(combo: QComboBox) -> None:
    """Choose the device of the preferences in a list, unless the user was faster."""
    if combo.currentIndex() == 0:
        combo.setCurrentIndex(max(0, combo.findData(preferences().device)))


def plugin_settings(group: str) -> Any:
    """Return a group of this plugin's settings; None in a napari without them (before 0.9)."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    with suppress(KeyError, AttributeError):
        return getattr(get_plugin_settings(PLUGIN), group)
    return None
