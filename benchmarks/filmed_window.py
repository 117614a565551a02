"""What scripts share that work a napari window and take pictures of it."""

import os
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any


def use_own_settings(home: Path) -> None:
    """Leave jobs, models and napari's settings of the user alone; call before importing napari."""
    os.environ["GRAPHFLOW_HOME"] = str(home)
    os.environ["NAPARI_CONFIG"] = str(home / "napari.yaml")
    (home / "reader.json").write_text('{"default": false}', "utf-8")


class FilmedWindow:
    """A base class; `application` is Qt's and `window` napari's main window."""

    application: Any
    window: Any

    def rest(self, seconds: float) -> None:
        """Let the window work for a while."""
        from qtpy.QtCore import QCoreApplication, QEvent

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.application.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            time.sleep(0.005)

    def until(self, ready: Callable[[], bool], seconds: float = 1200) -> None:
        """Let the window work until something is true."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise SystemExit(f"nothing happened: {self.state()}")
            self.rest(0.05)

    def state(self) -> str:
        """Return what to print if nothing happened."""
        return ""

    def picture_of(self, widget: Any, path: Path, colours: int | None = None) -> None:
        """Save a picture of a widget, without napari's notifications over it."""
        from PIL import Image
        from qtpy.QtCore import QBuffer
        from qtpy.QtWidgets import QWidget

        self.rest(1.2)
        for one in self.window.findChildren(QWidget):
            if type(one).__name__ == "NapariQtNotification":
                one.close()
        self.rest(0.3)
        buffer = QBuffer()
        buffer.open(QBuffer.OpenModeFlag.WriteOnly)
        widget.grab().save(buffer, "PNG")
        picture = Image.open(BytesIO(bytes(buffer.data()))).convert("RGB")
        if colours is not None:
            picture = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)
        path.parent.mkdir(exist_ok=True, parents=True)
        picture.save(path, optimize=True)
        print(path, path.stat().st_size, flush=True)
