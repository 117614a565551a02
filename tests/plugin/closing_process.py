"""A napari that is closed while it reads: ``python closing_process.py SCAN SECONDS``."""

import sys
import time

import napari
from qtpy.QtCore import QTimer

from napari_graphflow.plugin import files

if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    window, look = viewer.window._qt_window, files.look
    files.look = lambda path: (time.sleep(float(sys.argv[2])), look(path))[1]
    QTimer.singleShot(300, window.close)
    viewer.window._qt_viewer._qt_open([sys.argv[1]], stack=False, plugin="napari-graphflow")
    # It was to be closed long ago, and still is there for the layer.
    sys.stdout.write(f"{'visible' if window.isVisible() else 'gone'} {len(viewer.layers)}\n")
    sys.stdout.flush()
    napari.run()
    sys.stdout.write("closed\n")
    sys.stdout.flush()
