"""A napari process that is closed while it reads: ``python closing_process.py IMAGE``."""

import sys
from threading import Event

import napari
from qtpy.QtCore import QTimer

from napari_graphflow.plugin.viewer import opening

if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    window, inspect_path = viewer.window._qt_window, opening.inspect_path
    wait_responsively = opening.wait_responsively
    asked = Event()

    def close():
        window.close()
        asked.set()

    def close_meanwhile(function):
        if not asked.is_set():
            QTimer.singleShot(0, close)
        return wait_responsively(function)

    def open_scan():
        viewer.window._qt_viewer._qt_open([sys.argv[1]], stack=False, plugin="napari-graphflow")
        sys.stdout.write(f"{len(viewer.layers)} layer\n")
        sys.stdout.flush()

    opening.wait_responsively = close_meanwhile
    opening.inspect_path = lambda path: inspect_path(path) if asked.wait(60) else None
    QTimer.singleShot(0, open_scan)
    napari.run()
    sys.stdout.write("closed\n")
    sys.stdout.flush()
