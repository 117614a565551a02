"""Make the pictures of the tutorial page: each step, with its button highlighted.

Two tiny models with random weights stand for the trained ones, no training runs::

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/tutorial_pictures.py
"""

import argparse
import tempfile
from pathlib import Path

from filmed_window import FilmedWindow, use_own_settings
from window_pictures import FOLDER, make_jobs, make_models

#: Size of the window, and number of colours of a picture.
SIZE, COLOURS = (1280, 800), 128
TUTORIAL = "scans"


class Window(FilmedWindow):
    """napari with the sample dataset and the dock Tutorial."""

    def __init__(self) -> None:
        import napari
        from napari.settings import get_settings

        from napari_graphflow.plugin.widgets.docks import show_dock

        self.application = napari.qt.get_qapp()
        get_settings().appearance.theme = "dark"
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        self.window.resize(*SIZE)
        self.tutorial = show_dock(self.viewer, "Tutorial")
        self.tutorial.copy.click()

    def open_dataset(self) -> None:
        """Choose the copy of the sample, and open its next case."""
        from napari_graphflow.plugin.tutorial.steps import TUTORIALS, copy_sample
        from napari_graphflow.plugin.widgets.docks import show_dock

        folder = copy_sample(TUTORIALS[TUTORIAL].sample)
        dataset = show_dock(self.viewer, "Dataset")
        dataset.dataset.choose(folder)
        self.until(dataset.next.isEnabled, 60)
        dataset.next.click()
        self.until(lambda: len(self.viewer.layers) > 0, 60)
        show_dock(self.viewer, "Distil").dataset.choose(folder)

    def picture(self, place: int, path: Path) -> None:
        """Save the window at a step."""
        while self.tutorial.place < place:
            self.tutorial.forward.click()
        self.rest(1)
        self.tutorial.show_me.click()
        self.picture_of(self.window, path, colours=COLOURS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        use_own_settings(Path(home))
        make_models(Path(home))
        make_jobs(Path(home))
        from napari_graphflow.plugin.tutorial.steps import TUTORIALS

        window = Window()
        window.open_dataset()
        for place, step in enumerate(TUTORIALS[TUTORIAL].steps):
            if step.dock:
                window.picture(place, options.out / f"tutorial_{place + 1}.png")
        window.viewer.close()


if __name__ == "__main__":
    main()
