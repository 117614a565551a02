"""Structure sets and segmentations of 3D Slicer in the window."""

from pathlib import Path

import numpy as np
import pytest
from dicom_cases import FRAME, write_series, write_structures
from napari import Viewer
from napari.layers import Labels

SQUARE = np.array([[0.6, 0.9, 0.0], [3.4, 0.9, 0.0], [3.4, 5.1, 0.0], [0.6, 5.1, 0.0]])


def write_case(folder: Path, frame: str = FRAME) -> None:
    """Write a CT, and a structure set with two overlapping structures on its third slice."""
    write_series(folder / "ct", change=lambda _, one: setattr(one, "FrameOfReferenceUID", frame))
    contour = SQUARE + np.array([-20.0, 30.0, -90.0])
    write_structures(folder / "rt.dcm", {"body": [contour], "liver": [contour]})


def test_a_structure_set_opens_as_masks_on_its_open_image(viewer: Viewer, tmp_path: Path) -> None:
    write_case(tmp_path)
    (image,) = viewer.open(str(tmp_path / "ct"), plugin="napari-graphflow")
    body, liver = viewer.open(str(tmp_path / "rt.dcm"), plugin="napari-graphflow")
    for mask, name, value in ((body, "body", 1), (liver, "liver", 2)):
        assert isinstance(mask, Labels) and list(mask.features["name"]) == [name]
        assert mask.data.shape == image.data.shape
        np.testing.assert_array_equal(mask.extent.world, image.extent.world)
        filled = np.argwhere(np.asarray(mask.data) == value)
        assert len(filled) == 5 * 5 and set(filled[:, 0]) == {2}


def test_a_structure_set_without_its_image_or_of_another_patient_is_refused(
    viewer: Viewer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_case(tmp_path, frame="1.2.3.4.77")
    assert not viewer.open(str(tmp_path / "rt.dcm"), plugin="napari-graphflow")
    assert "contours need the image" in capsys.readouterr().out
    viewer.open(str(tmp_path / "ct"), plugin="napari-graphflow")
    assert not viewer.open(str(tmp_path / "rt.dcm"), plugin="napari-graphflow")
    assert "belongs to another image" in capsys.readouterr().out
    assert not any(isinstance(layer, Labels) for layer in viewer.layers)
