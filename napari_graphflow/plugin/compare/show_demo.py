"""Open the output of ``napari-graphflow demo``: the image, the masks, two maps and *Compare*."""

import argparse
import sys
from pathlib import Path

import napari
from napari.layers import Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialog

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.plugin.compare.heatmaps import CAPTION
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer
from napari_graphflow.plugin.viewer.placement import DERIVED

MASKS = {
    "student_alone": "student without distillation",
    "student": "student distilled with Graph Flow",
    "teacher": "teacher",
    "reference": "reference",
}
MAPS = {"variation_teacher": "variation (teacher)", "variation_student": "variation (student)"}
#: Soft tissue window in HU.
WINDOW = (-160, 240)
SETTLE_MILLISECONDS = 4000


def main() -> None:
    """Show the folder of a demo, or save a screenshot and close."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--screenshot", type=Path)
    options = parser.parse_args()
    viewer = napari.Viewer(title="Graph Flow demo")
    try:
        show(viewer, options.folder)
    except UserError as error:
        sys.exit(str(error))
    if options.screenshot is not None:
        viewer.window.resize(1580, 960)
        QTimer.singleShot(SETTLE_MILLISECONDS // 2, viewer.reset_view)
        QTimer.singleShot(SETTLE_MILLISECONDS, lambda: _save_and_close(viewer, options.screenshot))
    napari.run()


def show(viewer: napari.Viewer, folder: Path) -> None:
    """Add the layers of a demo to a viewer, at the slice where the models differ most."""
    classes = Dataset.open(folder / "dataset").classes
    shown = folder / "shown"
    scan = read_volume(shown / "scan.nii.gz")
    for layer in image_layers(scan, "scan", shown / "scan.nii.gz"):
        viewer.add_layer(Layer.create(*layer)).contrast_limits = WINDOW
    masks = {}
    for file, name in MASKS.items():
        labels = read_labels(shown / f"{file}.nii.gz", scan)
        masks[file] = viewer.add_layer(Layer.create(*labels_layer(labels, name, classes=classes)))
        masks[file].visible = file == "student"
    for file, name in MAPS.items():
        heat = read_volume(shown / f"{file}.nii.gz")
        for data, keywords, kind in image_layers(heat, name):
            metadata = keywords["metadata"] | {DERIVED: "scan", "caption": CAPTION}
            style = {"metadata": metadata, "colormap": "magma", "blending": "additive"}
            viewer.add_layer(Layer.create(data, keywords | style | {"visible": False}, kind))
    # Where the student alone errs, and the distilled one does not.
    truth = masks["reference"].data
    differ = (masks["student_alone"].data != truth) & (masks["student"].data == truth)
    viewer.layers.selection.active = masks["student"]
    viewer.dims.set_current_step(0, int(differ.sum(axis=(1, 2)).argmax()))
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    for combo, file in (
        (widget.a, "student_alone"),
        (widget.b, "student"),
        (widget.reference, "reference"),
    ):
        combo.choose(masks[file])
    widget.button.click()


def _save_and_close(viewer: napari.Viewer, path: Path) -> None:
    # napari shows notifications as dialogs, which the screenshot must not contain.
    for widget in QApplication.allWidgets():
        if isinstance(widget, QDialog):
            widget.close()
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()
    # napari might otherwise keep running without a window.
    QApplication.quit()


if __name__ == "__main__":
    main()
