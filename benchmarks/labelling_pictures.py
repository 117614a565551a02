"""Make the pictures of labelling.md: the whole loop on the phantoms of the sample data, by clicks.

Two short trainings run, which take a few minutes::

    xvfb-run -a -s "-screen 0 1280x800x24" python benchmarks/labelling_pictures.py
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filmed_window import FilmedWindow, use_own_settings

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
LABELLED = 6
SIZE = (1180, 760)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=80, help="steps of each training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        use_own_settings(Path(home))
        Loop(Path(home), options.steps).run()


class Loop(FilmedWindow):
    """Clicks through the loop in a window."""

    def __init__(self, home: Path, steps: int) -> None:
        import napari
        from napari.settings import get_settings

        from napari_graphflow.config.run import PRESETS

        PRESETS["quick"] = {"steps": steps, "validate_every": steps}
        self.study = copy_study(home / "abdomen study")
        get_settings().appearance.theme = "dark"
        self.application = napari.qt.get_qapp()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")

    def run(self) -> None:
        self.make_dataset()
        self.tab(2)
        self.press(self.dock.tabs.rounds.button)
        self.until(lambda: "The first model" in self.dock.tabs.rounds.verdict.text())
        self.tab(1)
        self.until(self.dock.tabs.proposals.button.isEnabled)
        self.press(self.dock.tabs.proposals.button)
        self.until(lambda: "proposed." in self.dock.status.text())
        self.until(self.dock.tabs.proposals.inbox.isEnabled)
        self.save("proposals", self.dock)
        self.tab(0)
        self.save("cases", self.dock)
        self.tab(1)
        self.press(self.dock.tabs.proposals.inbox)
        self.press(self.dock.next)
        self.opened("")
        self.save("case", self.window)
        for decision in ("finish", "finish", "reject"):
            name = self.dock.session.case.name
            self.press(self.dock.box.buttons[decision])
            self.opened(name)
        self.press(self.dock.box.place)
        self.save("worst_place", self.window)
        self.tab(2)
        self.press(self.dock.tabs.rounds.button)
        self.until(lambda: "round 1" in self.dock.tabs.rounds.verdict.text())
        self.dock.tabs.rounds.details.expand(animate=False)
        self.save("rounds", self.dock)
        self.viewer.close()

    def make_dataset(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        from napari_graphflow.plugin.dataset.new_dialog import NewDatasetDialog

        self.press(self.dock.new)
        (dialog,) = self.dock.findChildren(NewDatasetDialog)
        self.until(dialog.isVisible)
        for button, part in ((dialog.pick_images, "images"), (dialog.pick_masks, "masks")):
            folder = str(self.study / part)
            QFileDialog.getExistingDirectory = staticmethod(lambda *_, one=folder: one)
            self.until(button.isEnabled)
            self.press(button)
        names = ("liver", "spleen", "left kidney", "lesion")
        self.until(lambda: dialog.structures.rowCount() == len(names))
        self.until(dialog.create.isEnabled)
        for line, name in enumerate(names):
            dialog.structures.item(line, 1).setText(name)
        # The place in the picture is not one of this computer.
        real = {field: field.text() for field in (dialog.images, dialog.masks, dialog.where)}
        for field, text in real.items():
            field.setText(text.replace(str(self.study.parent), "/data"))
        dialog.resize(680, 560)
        self.save("new_dataset", dialog)
        for field, text in real.items():
            field.setText(text)
        self.press(dialog.create)
        self.until(dialog.finish.isVisible)
        self.press(dialog.finish)
        self.until(lambda: bool(self.dock.rows))

    def tab(self, index: int) -> None:
        self.dock.tabs.setCurrentIndex(index)
        self.rest(0.5)

    def press(self, button: Any) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        self.until(button.isEnabled)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def opened(self, before: str) -> None:
        """Wait for the next case."""
        session = self.dock.session

        def there() -> bool:
            case = session.case
            return case is not None and case.name != before and case.editable

        self.until(there)

    def state(self) -> str:
        return str(self.dock.status.text())

    def save(self, name: str, widget: Any) -> None:
        self.picture_of(widget, FOLDER / f"labelling_{name}.png")


def copy_study(folder: Path) -> Path:
    """Copy the phantoms as a study of scans, the first ones with masks."""
    from napari_graphflow.dataset.samples import sample_dataset

    source = sample_dataset("abdomen")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    masks = sorted((source / "labelsTr").iterdir())[:LABELLED]
    for mask in masks:
        shutil.copy(mask, folder / "masks")
    for image in sorted((source / "imagesTr").iterdir())[:16]:
        shutil.copy(image, folder / "images" / image.name.replace("_0000", ""))
    return folder


if __name__ == "__main__":
    main()
