"""A napari that is closed while it reads: ``python closing_process.py SCAN SECONDS``."""

import sys
import time

import napari
from qtpy.QtCore import QTimer

from napari_graphflow.plugin import files

if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    window, look, beside = viewer.window._qt_window, files.look, files.beside
    files.look = lambda path: (time.sleep(float(sys.argv[2])), look(path))[1]

    def closed_meanwhile(function):
        QTimer.singleShot(200, window.close)
        return beside(function)

    files.beside = closed_meanwhile
    viewer.window._qt_viewer._qt_open([sys.argv[1]], stack=False, plugin="napari-graphflow")
    sys.stdout.write(f"{len(viewer.layers)} layer\n")
    sys.stdout.flush()
    napari.run()
    sys.stdout.write("closed\n")
    sys.stdout.flush()
