"""A napari process that ends during painting: ``python painting_process.py IMAGE [quit]``."""

import os
import signal
import sys
import time

import napari
from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_graphflow.plugin.viewer.autosave import start_autosave

INTERVAL_S = 0.5

if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    autosave = start_autosave(viewer, 3600 if sys.argv[2:] == ["quit"] else INTERVAL_S)
    viewer.open(sys.argv[1], plugin="napari-graphflow")
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mask = viewer.layers[-1]
    mask.brush_size = 1
    mask.paint((2, 3, 4), 3)
    if sys.argv[2:] == ["quit"]:
        QTimer.singleShot(0, QApplication.quit)
        napari.run()
        sys.exit(0)
    painted = time.monotonic()
    while not list(autosave._folder.glob("*.mask.gz") if autosave._folder else ()):
        assert time.monotonic() < painted + 60, "nothing was autosaved"
        QTest.qWait(10)
    sys.stdout.write(f"{time.monotonic() - painted}\n")
    sys.stdout.flush()
    mask.paint((2, 3, 5), 4)  # within the interval, so it may be lost
    os.kill(os.getpid(), signal.SIGKILL)
