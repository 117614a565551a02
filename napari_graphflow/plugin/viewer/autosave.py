"""Autosave of painted masks, and the offer to restore them when napari ended before saving.

The Qt thread only records which masks changed; another thread compresses and writes them. A mask
that is painted meanwhile counts as changed again and is rewritten the next time.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from napari import Viewer
from napari.layers import Labels, Layer
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.autosave_files import (
    ENDING,
    SavedMask,
    delete_mask,
    new_session,
    read_mask,
    unsaved_masks,
    write_mask,
)
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import class_colours, class_table, class_values, is_mask
from napari_graphflow.plugin.viewer.placement import CASE, mask_placement
from napari_graphflow.plugin.viewer.preferences import (
    Preferences,
    after_opening,
    preferences,
)
from napari_graphflow.plugin.viewer.record import (
    KEY,
    Placement,
    placement_from,
    recorded,
)
from napari_graphflow.plugin.viewer.restoring import about_case, reopened_image
from napari_graphflow.plugin.viewer.world import transform_keywords, voxels

_DIALOG = "graphflow-restore"
_autosaves: "WeakKeyDictionary[Viewer, Autosave]" = WeakKeyDictionary()


class Autosave(QObject):
    """Autosaves the masks of one viewer.

    Parameters
    ----------
    viewer
        Referenced weakly; autosave stops when it is closed.
    interval_s
        Seconds between two saves; None as in the preferences.
    """

    def __init__(self, viewer: Viewer, interval_s: float | None = None) -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self._folder: Path | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="graphflow-autosave")
        self._numbers = count(1)
        self._files: WeakKeyDictionary[Labels, str] = WeakKeyDictionary()
        self._changed: WeakKeyDictionary[Labels, bool] = WeakKeyDictionary()
        self._steps: WeakKeyDictionary[Labels, Any] = WeakKeyDictionary()
        self._pending: list[Future[None]] = []
        self._warned = False
        #: Masks that were restored in this session.
        self.restored: WeakSet[Labels] = WeakSet()
        for layer in viewer.layers:
            self._follow(layer)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        self._timer = QTimer(self)
        self._interval_s = interval_s
        self._timer.setInterval(_milliseconds(interval_s or Preferences().autosave_s))
        after_opening(self, self._set_interval)
        self._timer.timeout.connect(self.save_changed)
        self._timer.start()
        application = QApplication.instance()
        if application is not None:
            # Submitted masks are still written: Python waits for the thread at exit.
            application.aboutToQuit.connect(self._quit)

    @property
    def unsaved(self) -> list[Labels]:
        """Masks with unsaved edits."""
        return list(self._files)

    def save_changed(self) -> None:
        """Write the masks that changed since the last save."""
        if self._viewer() is None:
            self._timer.stop()
            self._pool.shutdown(wait=False)
            return
        self._set_interval()
        self._check_pending()
        if not self._pending:  # a slow disk gets one save at a time
            for layer in list(self._changed):
                self._save(layer)

    def _set_interval(self) -> None:
        seconds = preferences().autosave_s if self._interval_s is None else self._interval_s
        if _milliseconds(seconds) != self._timer.interval():
            self._timer.setInterval(_milliseconds(seconds))

    def _quit(self) -> None:
        for layer in list(self._changed):
            self._save(layer)

    def wait(self) -> None:
        """Wait until all submitted masks are written."""
        for future in self._pending:
            future.exception()

    def mark_saved(self, layer: Labels) -> None:
        """Delete the autosave of a mask that the user has saved."""
        self._changed.pop(layer, None)
        name = self._files.pop(layer, None)
        if name is not None:
            self._pending.append(self._pool.submit(partial(self._file(name).unlink, True)))

    def restore(self, saved: SavedMask) -> Labels | None:
        """Add an autosaved mask as a layer; its file becomes an autosave of this process."""
        viewer = self._viewer()
        if viewer is None:
            return None
        array, about, cases = read_mask(saved), saved.about, cases_of(viewer)
        place, record = (placement_from(about.get(name)) for name in ("place", "record"))
        image, reason = reopened_image(viewer, about.get("image"), place)
        on_image = image is not None and place is not None and about["image"]["grid"]
        names = {str(name): int(value) for name, value in about.get("classes", {}).items()}
        layer = Labels(
            array,
            **(transform_keywords(image) if on_image else about["transform"]),
            metadata={} if record is None else {KEY: asdict(record)},
            name=about["name"],
            features=class_table(names),
            colormap=class_colours(),
            opacity=0.5,
        )
        if place is not None:
            layer.metadata[KEY] = asdict(place.at(layer))
        layer.metadata[CASE] = cases.new_key(layer) if image is None else cases.key(image)
        viewer.add_layer(layer)
        cases.show(layer)
        if reason:
            show_warning(f"{layer.name} is shown without its image: {reason}.")
        self.restored.add(layer)
        self._files[layer] = f"{next(self._numbers)}{ENDING}"
        saved.path.replace(self._file(self._files[layer]))
        delete_mask(saved)
        return layer

    def _file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = new_session()
        return self._folder / name

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)

    def _follow(self, layer: Layer) -> None:
        if isinstance(layer, Labels) and is_mask(layer):
            layer.events.paint.connect(self._edited)
            layer.events.labels_update.connect(self._edited)
            layer.events.set_data.connect(self._drawn)

    def _edited(self, event: Any) -> None:
        self._changed[event.source] = True

    def _drawn(self, event: Any) -> None:
        """Detect undo, which emits no event: the same slice is redrawn."""
        layer, viewer = event.source, self._viewer()
        step = viewer.dims.current_step if viewer is not None else None
        if self._steps.get(layer) == step and layer in self._files:
            self._changed[layer] = True
        self._steps[layer] = step

    def _removed(self, event: Any) -> None:
        """Save the edits of a removed layer at once."""
        if event.value in self._changed:
            self._save(event.value)

    def _save(self, layer: Labels) -> None:
        self._changed.pop(layer, None)
        viewer = self._viewer()
        name = self._files.setdefault(layer, f"{next(self._numbers)}{ENDING}")
        place, record = _place(layer, viewer.layers if viewer else []), recorded(layer)
        about = {
            "name": layer.name,
            **(about_case(viewer, layer) if viewer is not None else {}),
            "place": None if place is None else asdict(place),
            "record": None if record is None else asdict(record),
            "transform": {
                name: [str(one) for one in value]
                if name in ("units", "axis_labels")
                else np.asarray(value).tolist()
                for name, value in transform_keywords(layer).items()
            },
            "classes": class_values(layer),
        }
        try:
            path = self._file(name)
        except OSError as error:
            self._failed(error)
            return
        self._pending.append(self._pool.submit(write_mask, path, voxels(layer), about))

    def _check_pending(self) -> None:
        done = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if not future.done()]
        for future in done:
            if (error := future.exception()) is not None:
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            show_warning(f"Autosave failed ({error}). Please save your masks manually.")


def _milliseconds(seconds: float) -> int:
    return max(1, int(1000 * seconds))


def start_autosave(viewer: Viewer | None, interval_s: float | None = None) -> Autosave | None:
    """Start autosaving the masks of a viewer, and offer to restore unsaved ones."""
    if viewer is None or QApplication.instance() is None:
        return None
    # A widget may get napari's proxy, which does not live as long as its viewer.
    viewer = getattr(viewer, "__wrapped__", viewer)
    found = _autosaves.get(viewer)
    if found is None:
        found = _autosaves[viewer] = Autosave(viewer, interval_s)
        # Only after the window is shown and the file that started the plugin is open.
        QTimer.singleShot(0, partial(_offer, ref(found)))
    return found


def mark_saved(layer: Labels) -> None:
    """Delete the autosave of a mask that the user has saved."""
    for one in list(_autosaves.values()):
        one.mark_saved(layer)


def _place(layer: Labels, layers: Iterable[Layer]) -> Placement | None:
    """Return the place of a mask, None if it is unknown; then it stays so when restored."""
    try:
        return mask_placement(layer, layers)
    except UserError:
        return None


def _offer(autosave_ref: "ref[Autosave]") -> None:
    autosave, found = autosave_ref(), unsaved_masks()
    # One question is enough in a program with several viewers.
    asked = any(one.objectName() == _DIALOG for one in QApplication.topLevelWidgets())
    if autosave is None or not found or asked:
        return
    box = restore_dialog(found)
    box.buttonClicked.connect(lambda button: apply_choice(autosave, box, button, found))
    box.open()


def _is_shown(window: QMainWindow) -> bool:
    return bool(window.isVisible())


def restore_dialog(found: list[SavedMask]) -> QMessageBox:
    """Make the dialog that offers to restore masks."""
    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    box = QMessageBox(QApplication.activeWindow() or next(filter(_is_shown, windows), None))
    box.setObjectName(_DIALOG)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Restore masks?")
    many = len(found) > 1
    box.setText(
        f"napari exited before {len(found)} edited mask{'s were' if many else ' was'} saved."
    )
    lines = [one.title() for one in found[:8]] + ["…"] * (len(found) > 8)
    box.setInformativeText("\n".join(lines))
    box.addButton("Restore", QMessageBox.ButtonRole.AcceptRole)
    box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
    later = box.addButton("Later", QMessageBox.ButtonRole.RejectRole)
    box.setEscapeButton(later)
    return box


def apply_choice(autosave: Autosave, box: QMessageBox, button: Any, found: list[SavedMask]) -> None:
    """Restore or discard the masks; *Later* keeps their files."""
    role = box.buttonRole(button)
    if role == QMessageBox.ButtonRole.DestructiveRole:
        for one in found:
            delete_mask(one)
    elif role == QMessageBox.ButtonRole.AcceptRole:
        restored = sum(_restore(autosave, one) for one in found)
        if restored:
            many = "s" * (len(found) > 1)
            rest = f"{restored} of {len(found)}" if restored < len(found) else str(restored)
            show_info(f"Restored {rest} autosaved mask{many}. Save with File > Save.")


def _restore(autosave: Autosave, saved: SavedMask) -> bool:
    """Restore a mask, and return whether it succeeded; otherwise show the error."""
    try:
        return autosave.restore(saved) is not None
    except UserError as error:
        show_error(f"{saved.title()} was not restored. {error}")
        return False
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        # What is stored beside the voxels is not what this version writes.
        show_error(f"{saved.title()} was not restored: its autosave {saved.path} is damaged.")
        return False
