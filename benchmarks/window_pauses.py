"""The longest time in which the window does not respond, beyond what napari alone needs.

A scan is opened with *Volume*, segmented with *Segment*, and two masks are compared with *Compare*;
another process without this plugin shows the same arrays as plain layers, in turn with the first.
Measured is the longest time between two ticks of a 10 ms timer during each action and the second
after it, and the most time of the processor in the main thread between two, which a busy computer
changes less::

    xvfb-run -a python benchmarks/window_pauses.py --out benchmarks/window_pauses.json
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filmed_window import FilmedWindow, use_own_settings
from window_contents import make_models

SHAPE = (96, 192, 192)
ROUNDS = 3
TICK_MS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--window", choices=("ours", "alone"), help="used by the program itself")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        if options.window:
            use_own_settings(Path(home))
            window = Ours(Path(home)) if options.window == "ours" else Alone()
            window.work()
            print(json.dumps(window.pauses))
            sys.stdout.flush()
            os._exit(0)  # what napari would do at its end is not measured
    figures = {"cores": os.cpu_count(), "voxels": SHAPE} | compared(options.rounds)
    print(json.dumps(figures, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def compared(rounds: int) -> dict[str, Any]:
    """Return the smallest pause over rounds of each action, and what we add to that of napari."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "alone": []}
    for _, name in itertools.product(range(rounds), found):
        output = subprocess.run(
            [sys.executable, __file__, "--window", name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found[name].append(json.loads(output.splitlines()[-1]))
    figures: dict[str, Any] = {}
    for action, unit in itertools.product(found["ours"][0], ("ms", "cpu_ms")):
        best = {name: min(one[action][unit] for one in rows) for name, rows in found.items()}
        row = figures.setdefault(action, {"ours": {}, "napari alone": {}, "beyond napari": {}})
        row["ours"][unit], row["napari alone"][unit] = best["ours"], best["alone"]
        row["beyond napari"][unit] = round(best["ours"] - best["alone"], 1)
    return figures


def made_up() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image and two masks of four structures each."""
    random = np.random.default_rng(0)
    image = (1000 * random.random(SHAPE)).astype(np.float32)
    blocks = np.indices(SHAPE, sparse=True)
    mask = sum((axis // 32) % 2 * 2**place for place, axis in enumerate(blocks[1:])).astype(
        np.uint8
    )
    return image, mask + np.uint8(1), np.roll(mask + np.uint8(1), 3, axis=2)


class Timed(FilmedWindow):
    """A window of napari whose pauses are measured."""

    def __init__(self) -> None:
        import napari
        from qtpy.QtCore import Qt, QTimer

        self.viewer = napari.Viewer(show=True)
        self.application = napari.qt.get_qapp()
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        self.pauses: dict[str, dict[str, float]] = {}
        self._ticks: list[tuple[float, float]] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self.rest(2)
        # The first layers of a window take napari a second.
        self.viewer.add_image(np.zeros((4, 8, 8), np.float32))
        self.viewer.add_labels(np.zeros((4, 8, 8), np.uint8))
        self.rest(2)
        self.viewer.layers.clear()
        self.rest(1)

    def _tick(self) -> None:
        self._ticks.append((time.perf_counter(), time.thread_time()))

    def timed(
        self, name: str, act: Callable[[], object], ready: Callable[[], bool] = lambda: True
    ) -> None:
        """Do something until it is done, and measure the longest pause until a second later."""
        self._ticks.clear()
        self._tick()
        self._timer.start(TICK_MS)
        act()
        self.until(ready)
        self.rest(1)
        self._timer.stop()
        gaps = [
            [1000 * (later - earlier) for earlier, later in zip(one, other, strict=True)]
            for one, other in itertools.pairwise(self._ticks)
        ]
        longest, busiest = (round(max(column), 1) for column in zip(*gaps, strict=True))
        self.pauses[name] = {"ms": longest, "cpu_ms": busiest}


class Alone(Timed):
    """Plain layers with the arrays that the docks show."""

    def work(self) -> None:
        image, mask, other = made_up()
        self.timed("open a scan", lambda: self.viewer.add_image(image))
        self.timed("a mask arrives", lambda: self.viewer.add_labels(mask))
        self.timed("compare two masks", lambda: self._outlines(mask, other))

    def _outlines(self, mask: np.ndarray, other: np.ndarray) -> None:
        for array in (mask, other, (mask != other).astype(np.uint8)):
            self.viewer.add_labels(array).contour = 1
        self.viewer.layers[1].visible = False


class Ours(Timed):
    """The docks of this plugin."""

    def __init__(self, home: Path) -> None:
        import SimpleITK as sitk

        make_models(home)
        image, _, _ = made_up()
        self.student = home / "models" / "flat_student"
        self.scan = home / "scan.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(image), str(self.scan))
        super().__init__()
        from napari_graphflow.plugin.widgets.docks import show_dock

        self.volume, self.segment, self.compare = (
            show_dock(self.viewer, name) for name in ("Volume", "Segment", "Compare")
        )
        self.rest(3)

    def work(self) -> None:
        layers = self.viewer.layers
        self.timed("open a scan", lambda: self.volume.inspect(self.scan), lambda: len(layers) == 1)
        segment = self.segment
        segment.model.choose(self.student)
        self.until(segment.button.isEnabled, 60)
        self.timed("a mask arrives", segment.button.click, lambda: len(layers) == 2)
        mask = layers[1]
        second = self.viewer.add_labels(
            np.roll(mask.data, 3, axis=2), name="moved", scale=mask.scale,
            translate=mask.translate, affine=mask.affine, units=mask.units,
        )  # fmt: skip
        self.compare.a.choose(mask)
        self.compare.b.choose(second)
        self.rest(2)
        self.timed(
            "compare two masks",
            self.compare.button.click,
            lambda: self.compare.table.rowCount() > 0 and not self.compare.background.busy(),
        )


if __name__ == "__main__":
    main()
