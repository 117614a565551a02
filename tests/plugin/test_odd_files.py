"""Every malformed sample file opens as a layer or is refused with a message."""

from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from qtpy.QtWidgets import QApplication

REFUSED = {"truncated.png": "truncated.png is damaged"}
#: Files that open as masks.
MASKS = {
    "mask_0_1.png", "mask_1bit.png", "mask_inverted.png", "mask_ok_0_255.png",
    "mask_transposed.png", "affine_mismatch_label.nii.gz",
    "empty_label.nii.gz", "extra_class_label.nii.gz", "ignore_255_label.nii.gz",
    "noncontiguous_label.nii.gz", "shape_mismatch_label.nii.gz",
}  # fmt: skip
WARNINGS = {
    "cmyk.jpg": "converted to RGB",
    "exif_rotated.jpg": "EXIF rotation",
    "animated.gif": "4 frames",
    "multipage.tif": "5 pages",
    "float32_nan.tif": "not finite",
    "onehot_4d_label.nii.gz": "4D",
    "mask_inverted.png": "foreground",
}


@pytest.mark.slow  # napari takes long to draw thirty layers
def test_every_malformed_file_opens_or_is_refused_in_a_window(
    viewer: Viewer, shared_data: Path
) -> None:
    open_all(viewer, shared_data)


def test_every_malformed_file_opens_or_is_refused(shared_data: Path) -> None:
    PluginManager.instance().discover()  # which a window does automatically
    open_all(ViewerModel(), shared_data)


def open_all(viewer: ViewerModel, shared_data: Path) -> None:
    paths = sorted((shared_data / "bad_input/crafted").rglob("*.*"))
    assert len(paths) > 30
    masks = set()
    for path in paths:
        notification_manager.records.clear()
        layers = viewer.open(str(path), plugin="napari-graphflow")
        messages = " ".join(str(one.message) for one in notification_manager.records)
        assert "Traceback" not in messages and QApplication.activeModalWidget() is None
        assert bool(layers) != (path.name in REFUSED), path.name
        assert REFUSED.get(path.name, "") in messages
        assert WARNINGS.get(path.name, "") in messages, (path.name, messages)
        assert all(isinstance(layer, (Image, Labels)) for layer in layers)
        masks |= {path.name for layer in layers if isinstance(layer, Labels)}
        if path.name == "gray16.png":
            assert np.max(layers[0].data) > 255
        viewer.layers.clear()
    assert masks == MASKS
