"""File > Open, File > Save and File > Open Sample in a real window."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from napari import Viewer
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from napari_graphflow.plugin.viewer.layers import class_names
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters
from napari_graphflow.plugin.viewer.reader_writer import get_reader
from napari_graphflow.plugin.viewer.record import recorded

WriteScan = Callable[..., Path]


def last_message() -> str:
    return str(notification_manager.records[-1].message)


@pytest.fixture(autouse=True)
def _no_earlier_messages() -> None:
    notification_manager.records.clear()


def test_what_is_odd_about_an_image_is_told_when_it_is_opened(
    viewer: Viewer, tmp_path: Path
) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    array[0, 0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "odd.nii.gz"))
    assert len(viewer.open(str(tmp_path / "odd.nii.gz"), plugin="napari-graphflow")) == 1
    assert "not finite" in last_message()


def test_opening_a_truncated_file_adds_a_notification_and_no_layer(
    viewer: Viewer, write_scan: WriteScan
) -> None:
    path = write_scan()
    path.write_bytes(path.read_bytes()[:-500])
    assert viewer.open(str(path), plugin="napari-graphflow") == []
    assert len(viewer.layers) == 0
    assert "scan.nii.gz" in last_message()
    assert "Traceback" not in last_message()
    assert QApplication.activeModalWidget() is None


def test_opening_a_text_file_named_nii_gz_adds_a_notification(
    viewer: Viewer, tmp_path: Path
) -> None:
    (tmp_path / "letter.nii.gz").write_text("Dear colleague", "utf-8")
    assert viewer.open(str(tmp_path / "letter.nii.gz"), plugin="napari-graphflow") == []
    assert "letter.nii.gz" in last_message()


def test_a_folder_without_images_is_left_to_other_readers(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "notes.txt")) is None


def test_a_dicom_folder_opens_with_its_geometry(
    viewer: Viewer, shared_data: Path, tmp_path: Path
) -> None:
    source = next((shared_data / "dicom_mr_udacity" / "Study1").iterdir())
    folder = tmp_path / "PATIENT^NAME"
    shutil.copytree(source, folder)
    (layer,) = viewer.open(str(folder), plugin="napari-graphflow")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    expected = sitk.ReadImage(names)
    assert sorted(layer.data.shape) == sorted(expected.GetSize())
    np.testing.assert_allclose(sorted(layer.scale), sorted(expected.GetSpacing()), rtol=1e-4)
    assert "PATIENT" not in layer.name
    assert layer.name


def test_an_image_is_saved_with_its_geometry(
    viewer: Viewer, write_scan: WriteScan, tmp_path: Path
) -> None:
    path = write_scan()
    viewer.open(str(path), plugin="napari-graphflow")
    out = tmp_path / "copy.nrrd"
    assert viewer.layers.save(str(out), plugin="napari-graphflow") == [str(out)]
    one, other = sitk.ReadImage(str(path)), sitk.ReadImage(str(out))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize(
    ("key", "mask"),
    [("abdomen-labelled", True), ("abdomen-unlabelled", False), ("cells", True)],
)
def test_all_samples_open_from_the_menu(viewer: Viewer, qtbot: QtBot, key: str, mask: bool) -> None:
    viewer.open_sample("napari-graphflow", key)
    image = viewer.layers[0]
    assert isinstance(image, Image)
    assert (image.ndim == 2) == (key == "cells")
    assert recorded(image) is not None
    assert len(viewer.layers) == 1 + mask
    letters = "".join(show_orientation_letters(viewer).texts)
    assert letters == ("" if key == "cells" else "APRL")
    if mask:
        labels = viewer.layers[1]
        assert isinstance(labels, Labels)
        assert labels.data.shape == image.data.shape[: image.ndim]
        names = class_names(labels)
        assert set(np.unique(labels.data)) <= set(names)
        assert "background" in names.values()
    units = {str(unit) for layer in viewer.layers for unit in layer.units}
    assert units == {"pixel" if key == "cells" else "millimeter"}
