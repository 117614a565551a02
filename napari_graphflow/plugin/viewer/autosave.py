"""Masks are kept aside while they are painted, and offered again when napari ended before saving.

The window only notes which masks changed and hands over references; compressing and writing happen
on a thread of its own. A mask that is painted meanwhile counts as changed again, and the next turn
writes it whole.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

from napari import Viewer
from napari.layers import Labels, Layer
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.autosave_files import (
    ENDING,
    Kept,
    array_of,
    forget,
    keep,
    lost,
    new_session,
)
from napari_graphflow.plugin.viewer.layers import (
    KEY,
    class_colours,
    class_names,
    class_table,
    find_geometry,
    geometry,
    is_mask,
    mask_keywords,
)

INTERVAL_S = 20.0


_running: "WeakKeyDictionary[Viewer, Autosave]" = WeakKeyDictionary()


class Autosave(QObject):
    """Keeps the masks of one viewer aside.

    Parameters
    ----------
    viewer
        Held weakly: a closed viewer ends this.
    interval_s
        Time between two turns.
    """

    def __init__(self, viewer: Viewer, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self._folder: Path | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="graphflow-autosave")
        self._numbers = count(1)
        self._files: WeakKeyDictionary[Labels, str] = WeakKeyDictionary()
        self._changed: WeakKeyDictionary[Labels, bool] = WeakKeyDictionary()
        self._steps: WeakKeyDictionary[Labels, Any] = WeakKeyDictionary()
        self._pending: list[Future[None]] = []
        self._told = False
        for layer in viewer.layers:
            self._follow(layer)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        self._timer = QTimer(self)
        self._timer.setInterval(max(1, int(1000 * interval_s)))
        self._timer.timeout.connect(self.turn)
        self._timer.start()
        application = QApplication.instance()
        if application is not None:
            # What is handed over then is still written: Python waits for the thread at its end.
            application.aboutToQuit.connect(self._quit)

    @property
    def unsaved(self) -> list[Labels]:
        """Masks with edits that were not saved."""
        return list(self._files)

    def turn(self) -> None:
        """Keep what changed since the last turn."""
        if self._viewer() is None:
            self._timer.stop()
            self._pool.shutdown(wait=False)
            return
        self._look_at_pending()
        if not self._pending:  # a slow disk is not asked twice
            for layer in list(self._changed):
                self._keep(layer)

    def _quit(self) -> None:
        for layer in list(self._changed):
            self._keep(layer)

    def wait(self) -> None:
        """Wait until everything handed over is written."""
        for future in self._pending:
            future.exception()

    def saved(self, layer: Labels) -> None:
        """Forget a mask that the user has saved."""
        self._changed.pop(layer, None)
        name = self._files.pop(layer, None)
        if name is not None:
            self._pending.append(self._pool.submit(partial(self._file(name).unlink, True)))

    def restore(self, kept: Kept) -> Labels | None:
        """Make a layer of a mask that was kept; its file stays, as one of this napari."""
        viewer = self._viewer()
        if viewer is None:
            return None
        array, about = array_of(kept), kept.about
        self._open_image(viewer, about.get("geometry") or {})
        names = {str(name): int(value) for name, value in about.get("classes", {}).items()}
        layer = Labels(
            array,
            **mask_keywords(about.get("geometry"), about["scale"]),
            name=about["name"],
            features=class_table(names),
            colormap=class_colours(),
            opacity=0.5,
        )
        viewer.add_layer(layer)
        self._files[layer] = f"{next(self._numbers)}{ENDING}"
        kept.path.replace(self._file(self._files[layer]))
        forget(kept)
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
        """Notice undo, which says nothing itself: a mask is drawn anew on the same slice."""
        layer, viewer = event.source, self._viewer()
        step = viewer.dims.current_step if viewer is not None else None
        if self._steps.get(layer) == step and layer in self._files:
            self._changed[layer] = True
        self._steps[layer] = step

    def _removed(self, event: Any) -> None:
        """A case is closed: what was painted on it is kept at once."""
        if event.value in self._changed:
            self._keep(event.value)

    def _keep(self, layer: Labels) -> None:
        self._changed.pop(layer, None)
        viewer = self._viewer()
        name = self._files.setdefault(layer, f"{next(self._numbers)}{ENDING}")
        known = geometry(layer) or find_geometry(layer, viewer.layers if viewer else [])
        about = {
            "name": layer.name,
            "geometry": known,
            "scale": [float(size) for size in layer.scale],
            "classes": {name: value for value, name in class_names(layer).items()},
        }
        try:
            path = self._file(name)
        except OSError as error:
            self._failed(error)
            return
        self._pending.append(self._pool.submit(keep, path, layer.data, about))

    def _look_at_pending(self) -> None:
        done = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if not future.done()]
        for future in done:
            if (error := future.exception()) is not None:
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self._told:
            self._told = True
            show_warning(f"Masks cannot be kept aside ({error}). Save your work yourself.")

    def _open_image(self, viewer: Viewer, known: dict[str, Any]) -> None:
        from napari_graphflow.plugin.viewer.opening import read_layers

        path, series = (str(known.get(name) or "") for name in ("path", "series"))
        kept = [layer.metadata.get(KEY, {}) for layer in viewer.layers]
        places = [(one.get("path"), one.get("series", "")) for one in kept]
        if not path or (path, series) in places or not Path(path).exists():
            return
        try:
            for one in read_layers(Path(path), series):
                viewer.add_layer(Layer.create(*one))
        except UserError as error:
            show_warning(str(error))


def watch(viewer: Viewer | None, interval_s: float = INTERVAL_S) -> Autosave | None:
    """Keep the masks of a viewer aside from now on, and offer those that were lost before."""
    if viewer is None or QApplication.instance() is None:
        return None
    # A widget may be given napari's proxy, which does not live as long as its viewer.
    viewer = getattr(viewer, "__wrapped__", viewer)
    found = _running.get(viewer)
    if found is None:
        found = _running[viewer] = Autosave(viewer, interval_s)
        # Only once the window stands and the file is there that brought us here.
        QTimer.singleShot(0, partial(_offer, ref(found)))
    return found


def saved(layer: Labels) -> None:
    """Tell that a mask is on disk as the user wanted it."""
    for one in list(_running.values()):
        one.saved(layer)


def saved_data(viewer: Viewer | None, data: Any) -> None:
    """Tell the same of the layer that shows these very voxels."""
    for layer in viewer.layers if viewer is not None else ():
        if layer.data is data and isinstance(layer, Labels):
            saved(layer)


def _offer(watching: "ref[Autosave]") -> None:
    autosave, found = watching(), lost()
    if autosave is None or not found:
        return
    box = restore_box(found)
    box.buttonClicked.connect(lambda button: answer(autosave, box, button, found))
    box.open()


def _is_shown(window: QMainWindow) -> bool:
    return bool(window.isVisible())


def restore_box(found: list[Kept]) -> QMessageBox:
    """Make the question whether masks of before are wanted back."""
    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    box = QMessageBox(QApplication.activeWindow() or next(filter(_is_shown, windows), None))
    box.setObjectName("graphflow-restore")
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Restore masks?")
    many = len(found) > 1
    box.setText(
        f"napari ended before {len(found)} painted mask{'s were' if many else ' was'} saved."
    )
    lines = [one.title() for one in found[:8]] + ["..."] * (len(found) > 8)
    box.setInformativeText("\n".join(lines))
    box.addButton("Restore", QMessageBox.ButtonRole.AcceptRole)
    box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
    later = box.addButton("Later", QMessageBox.ButtonRole.RejectRole)
    box.setEscapeButton(later)
    return box


def answer(autosave: Autosave, box: QMessageBox, button: Any, found: list[Kept]) -> None:
    """Do what the user chose; Later leaves everything where it is."""
    role = box.buttonRole(button)
    if role == QMessageBox.ButtonRole.DestructiveRole:
        for one in found:
            forget(one)
    elif role == QMessageBox.ButtonRole.AcceptRole:
        for one in found:
            try:
                autosave.restore(one)
            except UserError as error:
                show_error(str(error))
        show_info("The masks are back as they were kept. Save them with File > Save.")
