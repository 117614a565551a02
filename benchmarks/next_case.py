"""How long *Open next* takes in *Dataset*, beyond what napari alone needs for the same arrays.

A dataset is opened in one window; a second process without this plugin shows the same arrays as
plain layers, in turn with the first. Measured is the time from the click until the new case is
painted, and the time of the processor in the main thread, which a busy computer changes less::

    xvfb-run -a python benchmarks/next_case.py --images FOLDER
    xvfb-run -a python benchmarks/next_case.py --shape 300 512 512
"""

import argparse
import cProfile
import json
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CASES = 10
TITLES = {
    "alone": "napari alone",
    "next": "open next",
    "accepted": "accept and open next",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of NIfTI files")
    parser.add_argument("--shape", type=int, nargs=3, default=(36, 51, 36), help="if made up")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--profile", action="store_true", help="print what takes the time")
    parser.add_argument("--alone", action="store_true", help="used by the program itself")
    parser.add_argument("--out", type=Path, help="add the figures to this JSON file")
    options = parser.parse_args()
    if options.alone:
        show_alone()
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ["GRAPHFLOW_HOME"] = home
        folder = make_dataset(Path(home) / "scans", options)
        figures = measure(folder, options.cases, profile=options.profile)
    print(json.dumps(figures, indent=1))
    if options.out is not None:
        known = json.loads(options.out.read_text()) if options.out.is_file() else {}
        name = " x ".join(map(str, figures.pop("voxels")))
        options.out.write_text(json.dumps(known | {name: figures}, indent=1) + "\n")


def make_dataset(folder: Path, options: Any) -> Path:
    from napari_graphflow.dataset.cases import Dataset
    from napari_graphflow.imaging.files import read_volume, write_volume
    from napari_graphflow.imaging.volume import Volume
    from napari_graphflow.labelling.store import Labelling

    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    names = [f"scan_{number:02d}" for number in range(options.cases)]
    paths = [folder / "imagesTr" / f"{name}_0000.nii.gz" for name in names]
    if options.images is not None:
        for source, path in zip(sorted(options.images.iterdir()), paths, strict=False):
            shutil.copy(source, path)
    else:
        grid = np.linspace(0, 40, int(np.prod(options.shape)), dtype=np.float32)
        array = (1000 * np.sin(grid)).astype(np.int16).reshape(options.shape)
        write_volume(paths[0], Volume(array, (1.0, 0.8, 0.8), (0.0,) * 3, tuple(np.eye(3).ravel())))
        for path in paths[1:]:
            shutil.copy(paths[0], path)
    description = {
        "name": "scans",
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    assert len(Dataset.open(folder).cases) == options.cases
    labelling = Labelling(folder, "model")
    for name, path in zip(names, paths, strict=True):
        image = read_volume(path)
        propose(labelling, name, ball(image.shape))
    return folder


def ball(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A ball with a smaller one in it."""
    axes = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    first, second, third = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = first**2 + second**2 + third**2
    return (distance < 0.4).astype(np.uint8) + (distance < 0.05)


def propose(labelling: Any, name: str, labels: np.ndarray[Any, Any]) -> None:
    from datetime import UTC, datetime

    from napari_graphflow.labelling.proposals import Proposal

    described = Proposal(case=name, model="ball", sha256="a" * 64, made=datetime.now(UTC))
    labelling.propose(described, labels)


class Window:
    """A napari window, and how long something takes in it until all is painted."""

    def __init__(self) -> None:
        import napari

        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1280, 800)
        self._application = napari.qt.get_qapp()
        self._canvas = self.viewer.window._qt_viewer.canvas  # noqa: SLF001
        self._draws = 0
        scene = self._canvas._scene_canvas  # noqa: SLF001
        scene.events.draw.connect(self._drawn, position="last")

    def _drawn(self, event: Any) -> None:
        self._draws += 1

    def until(self, ready: Callable[[], bool], seconds: float = 120) -> None:
        end = time.perf_counter() + seconds
        while not ready():
            assert time.perf_counter() < end, "nothing happened"
            self._application.processEvents()
            time.sleep(0.001)

    def rest(self, seconds: float = 1) -> None:
        end = time.perf_counter() + seconds
        self.until(lambda: time.perf_counter() > end)

    def timed(self, act: Callable[[], None], shown: Callable[[], bool]) -> dict[str, float]:
        """Return the time until the first painting after something is shown, in milliseconds."""
        wall, cpu = time.perf_counter(), time.thread_time()
        act()
        while not shown():
            self._application.processEvents()
        self._draws = 0
        self._canvas.native.update()
        while not self._draws:
            self._application.processEvents()
        return {
            "ms": 1000 * (time.perf_counter() - wall),
            "cpu_ms": 1000 * (time.thread_time() - cpu),
        }


def show_alone() -> None:
    """Show arrays without this plugin: a file of them per line of the input."""
    window = Window()
    viewer = window.viewer
    for line in sys.stdin:
        found = np.load(line.strip())
        image, mask = found["image"], found["mask"]
        limits = [float(one) for one in found["limits"]]
        common = {"scale": found["scale"], "units": ("mm",) * 3}

        def act(
            image: Any = image, mask: Any = mask, common: Any = common, limits: Any = limits
        ) -> None:
            for layer in list(viewer.layers):
                viewer.layers.remove(layer)
            viewer.add_image(image, contrast_limits=limits, **common)
            viewer.add_labels(mask, opacity=0.5, **common)
            viewer.reset_view()

        window.rest()
        print(json.dumps(window.timed(act, lambda: True)), flush=True)
    viewer.close()


def measure(folder: Path, count: int, *, profile: bool) -> dict[str, Any]:
    from napari_graphflow.plugin.dataset.widget import DatasetWidget

    alone = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, "--alone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert alone.stdin is not None
    assert alone.stdout is not None
    window = Window()
    _, dock = window.viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    assert isinstance(dock, DatasetWidget)

    def quiet() -> None:
        """Wait until what runs in the background has ended, too."""
        window.rest()
        window.until(lambda: not dock.background.busy())
        window.rest()

    dock.dataset.choose(folder)
    window.until(lambda: len(dock.rows) == count)
    dock.open_next()
    window.until(lambda: dock.session.case is not None and dock.session.case.editable)
    quiet()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TITLES}
    profiler = cProfile.Profile()
    shape: tuple[int, ...] = ()
    for number in range(count - 1):
        case = dock.session.case
        assert case is not None
        image, shape, name = case.images[0], case.mask.data.shape, case.name
        arrays = folder.parent / "arrays.npz"
        np.savez(
            arrays,
            image=image.data,
            mask=case.mask.data,
            scale=image.scale,
            limits=image.contrast_limits,
        )
        alone.stdin.write(f"{arrays}\n")
        alone.stdin.flush()
        # napari logs to the standard output, too.
        reply = next(line for line in alone.stdout if line.startswith("{"))
        found["alone"].append(json.loads(reply))
        kind = "accepted" if number % 2 else "next"
        button = dock.box.buttons["finish"] if number % 2 else dock.next

        def there(before: str = name) -> bool:
            now = dock.session.case
            return now is not None and now.name != before

        if profile and number > 1:
            profiler.enable()
        found[kind].append(window.timed(button.click, there))
        profiler.disable()
        quiet()
    alone.stdin.close()
    alone.wait()
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(
            "napari_graphflow", 45
        )
    window.viewer.close()
    result: dict[str, Any] = {"voxels": list(shape), "cores": os.cpu_count()}
    # Of other programs, too: the times of the clock are then too long.
    result["load"] = round(os.getloadavg()[1], 1)
    # The first of each kind also compiles shaders and fills caches.
    middle = {
        name: {key: round(median(one[key] for one in rows[1:]), 1) for key in rows[0]}
        for name, rows in found.items()
    }
    for name, values in middle.items():
        result[TITLES[name]] = values
        if name != "alone":
            result[f"{TITLES[name]}, beyond napari"] = {
                key: round(values[key] - middle["alone"][key], 1) for key in values
            } | {"ratio": round(values["cpu_ms"] / middle["alone"]["cpu_ms"], 2)}
    return result


if __name__ == "__main__":
    main()
