"""How long the window is deaf while a training runs beside it and is watched in *Distil*.

A timer is set to 10 ms; what is measured is the time between two of its ticks, first without a
job, then while a real one runs, with the list of jobs, the bar and the curve on the screen::

    xvfb-run -a python benchmarks/window_heartbeat.py
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

TICK_MS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["GRAPHFLOW_HOME"] = home
        figures = measure(options.seconds)
    print(json.dumps(figures, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def measure(seconds: float) -> dict[str, object]:
    import napari
    from qtpy.QtCore import Qt, QTimer

    from napari_graphflow.config import TrainingConfig
    from napari_graphflow.jobs import create
    from napari_graphflow.samples import sample_dataset

    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-graphflow", "abdomen-labelled")
    viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
    application = napari.qt.get_qapp()
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))

    def beat(duration: float) -> dict[str, float]:
        ticks.clear()
        timer.start(TICK_MS)
        end = time.perf_counter() + duration
        while time.perf_counter() < end:
            application.processEvents()
            time.sleep(0.001)
        timer.stop()
        gaps = sorted((b - a) * 1000 for a, b in itertools.pairwise(ticks))
        place = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
        found = {
            name: round(gaps[int(share * (len(gaps) - 1))], 1) for name, share in place.items()
        }
        return found | {"largest": round(gaps[-1], 1), "ticks": len(gaps)}

    beat(3)
    alone = beat(seconds / 3)
    config = TrainingConfig(
        dataset=sample_dataset("abdomen"), network="unet", dims=2, steps=1_000_000, batch_size=8,
        patch_size=(64, 64), validate_every=200,
    )  # fmt: skip
    job = create("train", config).start()
    while job.status().step < 3:
        beat(0.5)
    watched = beat(seconds)
    job.cancel()
    viewer.close()
    return {
        "cores": os.cpu_count(),
        "milliseconds between ticks, no job": alone,
        "milliseconds between ticks, job running": watched,
    }


if __name__ == "__main__":
    main()
