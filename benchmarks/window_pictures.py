"""Make pictures of the docks, in both themes and at two sizes of the window.

Two tiny models are written, no training runs::

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/window_pictures.py
    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/window_pictures.py --out /elsewhere \\
        --all

The first command makes the pictures that the documentation shows; ``--all`` makes every dock in
every theme and size, to look at. ``QT_API`` chooses the binding, ``--scale`` the size of letters.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filmed_window import FilmedWindow, use_own_settings
from window_contents import READ_TWICE, READERS, make_jobs, make_models, make_readers

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SIZES = {"small": (1280, 800), "large": (1920, 1080)}
THEMES = ("dark", "light")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--all", action="store_true", help="every dock in every theme and size")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the font's size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        use_own_settings(Path(home))
        make_models(Path(home))
        make_jobs(Path(home))
        window = Window(options.out, options.scale)
        if options.all:
            for name in window.scenes(Path(home)):
                for theme in THEMES:
                    for size in SIZES:
                        window.picture(theme, size, f"window_{name}_{theme}_{size}")
        else:
            window.show("Jobs")
            window.picture("light", "small", "window_jobs")
            window.compare(window.viewer.layers[-1], window.moved())
            window.picture("dark", "small", "window_compare")
        window.viewer.close()


class Window(FilmedWindow):
    """napari with a phantom, its mask and the docks."""

    def __init__(self, out: Path, scale: float) -> None:
        import napari
        from napari.settings import get_settings

        self.out = out
        self.application = napari.qt.get_qapp()
        settings = get_settings()
        settings.appearance.theme = "dark"
        settings.appearance.font_size = round(settings.appearance.font_size * scale)
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        self.window.resize(*SIZES["small"])
        self.viewer.open_sample("napari-graphflow", "abdomen-labelled")
        self.image, self.mask = self.viewer.layers

    def scenes(self, home: Path) -> Iterator[str]:
        """Bring about what is to be seen, one thing after the other, by clicks; name each."""
        from napari_graphflow.dataset.samples import sample_dataset
        from napari_graphflow.plugin.tutorial.widget import reveal

        yield from self.segment()
        distil = self.show("Distil")
        distil.dataset.choose(sample_dataset("abdomen"))
        self.until(distil.dataset.checked)
        yield "distil_first"
        distil.teacher.choose(home / "models" / "abdomen_teacher")
        self.until(distil.button.isEnabled)
        yield "distil"
        for title in ("Data check", "Advanced"):
            self.unfold(distil, title)
            yield "distil_" + title.split()[-1].lower()
        self.show("Jobs")
        yield "jobs"
        for dock in ("Volume", "Tutorial"):
            self.show(dock)
            yield dock.lower()
        compare = self.compare(self.mask, self.moved(), self.moved(2))
        yield "compare"
        compare.beside.click()
        yield "compare_beside"
        compare.beside.click()
        for side, name in ((compare.a, "teacher"), (compare.b, "student")):
            side.choose_model(home / "models" / f"abdomen_{name}")
        compare.dataset.dataset.choose(sample_dataset("abdomen"))
        compare.dataset.button.click()
        self.until(lambda: not compare.dataset.report.isHidden(), 300)
        reveal(compare.dataset.report)
        self.rest(1)
        yield "compare_dataset"
        compare.whole.collapse(animate=False)
        self.unfold(compare, "Maps of the networks")
        compare.heatmap.student.choose(home / "models" / "abdomen_student")
        self.until(compare.heatmap.button.isEnabled)
        compare.heatmap.button.click()
        self.until(compare.heatmap.maps.isVisible)
        compare.ensureWidgetVisible(compare.heatmap.notes)
        yield "compare_maps"
        compare.verticalScrollBar().setValue(0)
        yield from self.readers(make_readers(home / "abdomen study"))

    def segment(self) -> Iterator[str]:
        """Segment with a map, and put its layers away again."""
        segment = self.show("Segment")
        yield "segment_before"
        self.viewer.layers.selection.active = self.image
        self.until(segment.button.isEnabled)
        segment.uncertainty.setChecked(True)
        segment.button.click()
        self.until(lambda: not segment.running)
        yield "segment"
        for title in ("Additional maps", "Options", "Export the model"):
            self.unfold(segment, title)
        yield "segment_unfolded"
        for layer in list(self.viewer.layers):
            if layer not in (self.image, self.mask):
                self.viewer.layers.remove(layer)

    def readers(self, folder: Path) -> Iterator[str]:
        """Open a case of two readers, and compare their masks in both docks."""
        dataset = self.show("Dataset")
        yield "dataset_empty"
        dataset.dataset.choose(folder)
        self.until(lambda: bool(dataset.rows))
        yield "dataset_cases"
        dataset.open(READ_TWICE)
        self.until(lambda: dataset.session.case is not None and dataset.session.case.editable)
        yield "dataset"
        for index, name in ((1, "proposals"), (2, "rounds"), (3, "readers")):
            dataset.tabs.setCurrentIndex(index)
            self.rest(0.5)
            if name == "readers":
                self.until(dataset.tabs.readers.layers.isEnabled)
                dataset.tabs.readers.compare.click()
                self.until(lambda: dataset.tabs.readers.table.rowCount() > 0)
            yield f"dataset_{name}"
        dataset.tabs.readers.layers.click()
        names = [f"{reader}'s mask · {READ_TWICE}" for reader in READERS]
        self.until(lambda: all(name in self.viewer.layers for name in names))
        self.compare(*(self.viewer.layers[name] for name in names))
        yield "compare_readers"

    def compare(self, a: Any, b: Any, reference: Any = None) -> Any:
        """Compare two masks, by a click."""
        compare = self.show("Compare")
        compare.a.choose(a)
        compare.b.choose(b)
        compare.reference.choose(reference)
        self.until(compare.button.isEnabled)
        compare.button.click()
        self.until(lambda: "differ" in compare.status.text())
        compare.worst_pair.click()
        return compare

    def moved(self, steps: int = 1) -> Any:
        """Add the mask, moved by some voxels."""
        import numpy as np

        from napari_graphflow.plugin.viewer.cases import cases_of
        from napari_graphflow.plugin.viewer.layers import voxels

        mask = self.mask
        name = "moved by one voxel" if steps == 1 else f"moved by {steps} voxels"
        layer = type(mask)(
            np.roll(voxels(mask), steps, -1), name=name, scale=mask.scale,
            units=mask.units, axis_labels=mask.axis_labels, features=mask.features,
        )  # fmt: skip
        cases_of(self.viewer).add(layer, like=self.image)
        return layer

    def show(self, dock: str) -> Any:
        """Bring a dock to the front."""
        from napari_graphflow.plugin.widgets.docks import show_dock

        return show_dock(self.viewer, dock)

    def unfold(self, dock: Any, title: str) -> None:
        """Open a section of a dock."""
        from superqt import QCollapsible

        for section in dock.findChildren(QCollapsible):
            if section.text().startswith(title):
                section.expand(animate=False)
                self.rest(0.2)
                dock.ensureWidgetVisible(section)

    def picture(self, theme: str, size: str, name: str) -> None:
        """Save the whole window."""
        self.window.resize(*SIZES[size])
        self.viewer.theme = theme
        self.picture_of(self.window, self.out / f"{name}.png", colours=192)


if __name__ == "__main__":
    main()
