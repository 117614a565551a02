"""How long the window does not respond while the first dock of this plugin opens.

Each dock is opened in a fresh process, as by its entry in the menu, and so is a dock of napari
alone as the control. CPU time of the window's thread is measured, because other processes may be
busy: until the dock is there, and the most between two ticks of a timer meanwhile and in the two
seconds after it. Python may collect garbage meanwhile, which goes through all objects of napari;
how long that takes is shown beside. Python reads compiled files, as those of an installed package::

    xvfb-run -a python benchmarks/dock_opening.py
"""

import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time

DOCKS = ("napari alone", "Volume", "Segment", "Dataset", "Distil", "Jobs", "Compare", "Tutorial")
REPEATS = 5


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1])))
        return
    with tempfile.TemporaryDirectory() as compiled:
        show(compiled)


def show(compiled: str) -> None:
    """Open each dock several times and print the fastest; the first run compiles."""
    for dock in DOCKS:
        found = [run(dock, compiled) for _ in range(REPEATS + 1)][1:]
        best = min(found, key=lambda one: one["CPU"])
        print(f"{dock:<14}", *(f"{name} {best[name]:>5.0f} ms" for name in best), flush=True)


def run(dock: str, compiled: str) -> dict[str, float]:
    """Open a dock in a fresh process."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"GRAPHFLOW_HOME": home, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        output = subprocess.run(
            [sys.executable, __file__, dock],
            env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def measure(dock: str) -> dict[str, float]:
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QLabel

    viewer = napari.Viewer(show=True)
    application = napari.qt.get_qapp()
    ticks = [time.thread_time()]
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.thread_time()))
    timer.start(10)

    def rest(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            application.processEvents()
            time.sleep(0.001)

    collections: list[float] = []

    def collecting(phase: str, _: object) -> None:
        sign = -1 if phase == "start" else 1
        collections.append(sign * time.thread_time())

    rest(1)
    del ticks[:-1]
    gc.callbacks.append(collecting)
    before = time.thread_time()
    if dock == "napari alone":
        viewer.window.add_dock_widget(QLabel("a dock"), name="control")
    else:
        viewer.window.add_plugin_dock_widget("napari-graphflow", dock)
    cpu = time.thread_time() - before
    gc.callbacks.remove(collecting)
    rest(2)
    pause = max(later - earlier for earlier, later in itertools.pairwise(ticks))
    viewer.close()
    found = {"CPU": cpu, "of which collection": sum(collections), "longest pause": pause}
    return {name: 1000 * seconds for name, seconds in found.items()}


if __name__ == "__main__":
    main()
