"""How long the window does not respond while a job runs and is shown in *Jobs*.

The time between two ticks of a 10 ms timer is measured: without a job, then while a training job
runs, with the list of jobs, the progress bar and the curve visible, then while a job writes ten
thousand events per minute and a new preview every second::

    xvfb-run -a python benchmarks/window_heartbeat.py
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

TICK_MS = 10
EVENTS_A_MINUTE = 10_000
#: Writes events like a training run, without its computation, which the second result includes.
FLOOD = """
import sys, time
from pathlib import Path
import numpy as np
from napari_graphflow.system.events import Metric, Preview, Progress
from napari_graphflow.training import process
from napari_graphflow.evaluation.pictures import draw, png
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.files import replace_file
folder, pause = Path(sys.argv[1]), 60 / float(sys.argv[2])
def events():
    paths = JobPaths(folder)
    paths.preview.parent.mkdir(parents=True, exist_ok=True)
    random, begun = np.random.default_rng(0), time.monotonic()
    grid = np.hypot(*np.mgrid[-80:80, -80:80])
    for step in range(10**7):
        if step % 8 == 0:
            yield Progress(step=step, total=10**7, eta_s=60.0)
        if step % round(1 / pause) == 0:
            mask = (grid < 40 + 20 * random.random()).astype(int)
            replace_file(paths.preview, png(draw(grid, mask, (grid < 45).astype(int))))
            path = paths.relative(paths.preview)
            yield Preview(path=path, case="case", step=step)
        value = 1 / (1 + step) + 0.1 * random.random()
        yield Metric(name=f"loss/term_{step % 8}", value=value, step=step // 8)
        time.sleep(max(0.0, begun + (step + 1) * pause - time.monotonic()))
sys.exit(process.run(folder, events()))
"""


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

    from napari_graphflow.config.run import TrainingConfig
    from napari_graphflow.dataset.samples import sample_dataset
    from napari_graphflow.jobs.queue import start
    from napari_graphflow.jobs.store import create

    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-graphflow", "abdomen-labelled")
    _, jobs = viewer.window.add_plugin_dock_widget("napari-graphflow", "Jobs")
    application = napari.qt.get_qapp()
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))

    def rest(duration: float) -> None:
        end = time.perf_counter() + duration
        while time.perf_counter() < end:
            application.processEvents()
            time.sleep(0.001)

    def beat(duration: float) -> dict[str, float]:
        ticks.clear()
        timer.start(TICK_MS)
        rest(duration)
        timer.stop()
        gaps = sorted((b - a) * 1000 for a, b in itertools.pairwise(ticks))
        place = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
        found = {
            name: round(gaps[int(share * (len(gaps) - 1))], 1) for name, share in place.items()
        }
        return found | {"largest": round(gaps[-1], 1), "ticks": len(gaps)}

    rest(3)
    alone = beat(seconds / 3)
    config = TrainingConfig(
        dataset=sample_dataset("abdomen"), network="unet", dims=2, steps=1_000_000, batch_size=8,
        patch_size=(64, 64), validate_every=200,
    )  # fmt: skip
    job = start(create("train", config))
    while job.status().run.step < 3:
        rest(0.5)
    watched = beat(seconds)
    job.cancel()
    flood = create("train", config.model_copy(update={"name": "flood"}))
    start(flood, [sys.executable, "-c", FLOOD, str(flood.folder), str(EVENTS_A_MINUTE)])
    while flood.status().run.step < 3:
        rest(0.5)
    jobs.choose(flood)
    rest(3)
    before, began = flood.events_file.read_bytes().count(b"\n"), time.monotonic()
    flooded = beat(seconds)
    written = flood.events_file.read_bytes().count(b"\n") - before
    rate = round(60 * written / (time.monotonic() - began))
    assert jobs.details.preview.isVisible(), "the preview is not on the screen"
    assert jobs.details.curves.series("loss/term_0")[0], "the curves are not on the screen"
    flood.cancel()
    viewer.close()
    return {
        "cores": os.cpu_count(),
        "milliseconds between ticks, no job": alone,
        "milliseconds between ticks, job running": watched,
        "milliseconds between ticks, events and previews pouring in": flooded,
        "events a minute": rate,
    }


if __name__ == "__main__":
    main()
