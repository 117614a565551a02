"""Open files with this plugin by default, if the user agrees, instead of being asked each time.

napari asks which reader to use whenever the patterns of several match a path, and its own matches
all of ours. Its preferences, listed in Preferences > Plugins, decide instead. Those that the user
has made are never changed. Folders cannot be told apart by a pattern: those without DICOM are
handed to napari's own reader in `reader_writer.py`.
"""

import json
import os
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from weakref import ref

from napari import Viewer
from napari.settings import get_settings
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox

from napari_graphflow.imaging.formats.endings import READ
from napari_graphflow.system.files import read_memory, replace_file
from napari_graphflow.system.folders import data_root

PLUGIN = "napari-graphflow"
QUESTION = "Open NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG and TIFF with Graph Flow by default?"
EXPLANATION = (
    "It keeps the voxel size and the position, and napari no longer asks for a reader. Readers "
    "that you have chosen yourself stay. Change it in the dock Volume."
)
#: Suffixes as cameras and scanners write them, and folders.
PATTERNS = (
    *(f"*{ending}" for ending in READ),
    *(f"*{ending.upper()}" for ending in READ),
    f"*{os.sep}",
)
_asked = False


def is_default() -> bool | None:
    """Return the user's answer; None if they were not asked yet."""
    answer = read_memory(_file()).get("default")
    return answer if isinstance(answer, bool) else None


def set_default(wanted: bool) -> None:
    """Remember the answer, and change the preferences of napari that are not the user's own."""
    _file().parent.mkdir(parents=True, exist_ok=True)
    replace_file(_file(), json.dumps({"default": wanted}).encode())
    plugins = get_settings().plugins
    others = {
        pattern: reader for pattern, reader in plugins.extension2reader.items() if reader != PLUGIN
    }
    ours: dict[str, str] = {}
    if wanted:
        ours = {pattern: PLUGIN for pattern in PATTERNS if not _is_covered(pattern, others)}
    # Of equally specific patterns, napari takes the first.
    plugins.extension2reader = others | ours


def ask_once(viewer: Viewer) -> None:
    """Ask whether this reader is to be the default, unless the user has answered before."""
    global _asked  # noqa: PLW0603 one question for all windows
    if not _asked and QApplication.instance() is not None and is_default() is None:
        _asked = True
        # Only after the window is shown and the file that started the plugin is open.
        QTimer.singleShot(0, partial(_ask, ref(viewer)))


def _ask(viewer_ref: "ref[Viewer]") -> None:
    window = _shown_window()
    if viewer_ref() is None or window is None:
        return
    box = QMessageBox(window)
    box.setObjectName("graphflow-default-reader")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setModal(False)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Open with Graph Flow?")
    box.setText(QUESTION)
    box.setInformativeText(EXPLANATION)
    yes = box.addButton(QMessageBox.StandardButton.Yes)
    box.addButton(QMessageBox.StandardButton.No)
    box.setDefaultButton(QMessageBox.StandardButton.Yes)
    box.buttonClicked.connect(lambda button: set_default(button is yes))
    box.show()


def _shown_window() -> QMainWindow | None:
    windows = (one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow))
    return next((one for one in windows if one.isVisible()), None)


def _is_covered(pattern: str, preferences: dict[str, str]) -> bool:
    """Whether a pattern of the user matches every path of one of ours."""
    return any(fnmatch(pattern.replace("*", "/x"), one) for one in preferences)


def _file() -> Path:
    return data_root() / "reader.json"
