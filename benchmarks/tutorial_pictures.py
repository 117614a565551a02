"""Make the pictures of the tutorial page: each step, with its button highlighted.

Tiny models with random weights stand for the trained ones, and no training runs; the teacher of the
tutorial on nnU-Net is imported from the results folder among the samples::

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/tutorial_pictures.py
"""

import argparse
import tempfile
from pathlib import Path

from filmed_window import FilmedWindow, use_own_settings
from window_pictures import FOLDER, make_jobs, make_models

#: Size of the window, and number of colours of a picture.
SIZE, COLOURS = (1280, 800), 128


class Window(FilmedWindow):
    """napari with the sample of a tutorial and the dock Tutorial."""

    def __init__(self, name: str) -> None:
        import napari
        from napari.settings import get_settings

        from napari_graphflow.plugin.tutorial.steps import TUTORIALS
        from napari_graphflow.plugin.widgets.docks import show_dock

        self.application = napari.qt.get_qapp()
        get_settings().appearance.theme = "dark"
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        self.window.resize(*SIZE)
        self.name, self.chosen = name, TUTORIALS[name]
        self.tutorial = show_dock(self.viewer, "Tutorial")
        self.tutorial.tutorial.setCurrentIndex(list(TUTORIALS).index(name))
        self.tutorial.copy.click()

    def open_dataset(self) -> None:
        """Choose the copy of the sample, open its next case, and import what is to be imported."""
        from napari_graphflow.plugin.tutorial.steps import copy_sample
        from napari_graphflow.plugin.widgets.docks import show_dock

        folder = copy_sample(self.chosen.sample)
        dataset = show_dock(self.viewer, "Dataset")
        dataset.dataset.choose(folder)
        self.until(dataset.next.isEnabled, 60)
        dataset.next.click()
        self.until(lambda: len(self.viewer.layers) > 0, 60)
        distil = show_dock(self.viewer, "Distil")
        distil.dataset.choose(folder)
        if self.chosen.results:
            self.until(distil.dataset.checked, 60)
            distil.teacher.choose(copy_sample(self.chosen.results))
            self.until(lambda: distil.teacher.folder() is not None, 120)
            self.until(distil.button.isEnabled, 60)

    def pictures(self, out: Path) -> None:
        """Save the window at each step that has a button."""
        for place, step in enumerate(self.chosen.steps):
            while self.tutorial.place < place:
                self.tutorial.forward.click()
            if step.dock:
                self.rest(1)
                self.tutorial.show_me.click()
                path = out / f"tutorial_{self.name}_{place + 1}.png"
                self.picture_of(self.window, path, colours=COLOURS)
        self.viewer.close()


def main() -> None:
    from napari_graphflow.plugin.tutorial.steps import TUTORIALS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="*", choices=TUTORIALS, default=list(TUTORIALS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        use_own_settings(Path(home))
        make_models(Path(home))
        make_jobs(Path(home))
        for name in options.only:
            window = Window(name)
            window.open_dataset()
            window.pictures(options.out)


if __name__ == "__main__":
    main()
