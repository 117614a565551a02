"""A napari that is killed while a mask is painted: ``python painting_process.py SCAN``."""

import os
import signal
import sys
import time

import napari
from qtpy.QtTest import QTest

from napari_graphflow.plugin.autosave import watch

INTERVAL_S = 0.5

if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    autosave = watch(viewer, INTERVAL_S)
    viewer.open(sys.argv[1], plugin="napari-graphflow")
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mask = viewer.layers[-1]
    mask.brush_size = 1
    mask.paint((2, 3, 4), 3)
    painted = time.monotonic()
    while not list(autosave._folder.glob("*.mask.gz") if autosave._folder else ()):
        assert time.monotonic() < painted + 60, "nothing was kept"
        QTest.qWait(10)
    sys.stdout.write(f"{time.monotonic() - painted}\n")
    sys.stdout.flush()
    mask.paint((2, 3, 5), 4)  # within the interval, so it may be lost
    os.kill(os.getpid(), signal.SIGKILL)
