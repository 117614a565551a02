"""Masks taken from other programs, and finished masks written with their provenance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_cases import write_series
from labelling_cases import MODEL, box, make_dataset, propose, stored, volume

from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume, write_labels
from napari_graphflow.labelling.exchange import export_mask, take_mask
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def labelling(tmp_path: Path) -> Labelling:
    return Labelling(make_dataset(tmp_path / "scans"), "Ada")


def foreign(folder: Path, array: np.ndarray, name: str = "mask.nii.gz", **names: int) -> Path:
    """Write a mask as another program would, on the grid of the images."""
    path = folder / name
    write_labels(path, array, volume(array), classes=names or None)
    return path


def slicer_file(path: Path, labels: np.ndarray, **names: int) -> Path:
    """Write a segmentation of 3D Slicer with one layer."""
    image = volume(labels)
    written = sitk.GetImageFromArray(labels)
    written.SetSpacing(image.spacing[::-1])
    written.SetOrigin(image.origin)
    written.SetDirection(image.direction)
    for index, (name, value) in enumerate(names.items()):
        for key, text in {"Name": name, "LabelValue": value, "Layer": 0, "ID": name}.items():
            written.SetMetaData(f"Segment{index}_{key}", str(text))
    sitk.WriteImage(written, str(path))
    return path


def test_a_mask_of_another_program_is_saved_and_credited(
    labelling: Labelling, tmp_path: Path
) -> None:
    propose(labelling, "scan_2")  # open meanwhile, but not what was corrected
    path = foreign(tmp_path, box(1))
    saved = take_mask(labelling, "scan_2", path, source="nnInteractive")
    assert saved.facts.status == "labelled"
    np.testing.assert_array_equal(stored(labelling.dataset.folder, "scan_2"), box(1))
    entry = list(labelling.entries())[-1]
    assert (entry.source, entry.proposal, entry.who) == ("nnInteractive", "", "Ada")


def test_segments_of_3d_slicer_are_matched_by_name(labelling: Labelling, tmp_path: Path) -> None:
    swapped = np.select([box() == 1, box() == 2], [5, 3]).astype(np.uint8)
    path = slicer_file(tmp_path / "a.seg.nrrd", swapped, Liver=5, LESION=3)
    take_mask(labelling, "scan_2", path)
    np.testing.assert_array_equal(stored(labelling.dataset.folder, "scan_2"), box())
    assert list(labelling.entries())[-1].source == "3D Slicer"


def test_a_mask_of_one_structure_replaces_that_structure_alone(
    labelling: Labelling, tmp_path: Path
) -> None:
    inside = np.zeros_like(box())
    inside[6:8, 3:5, 1:3] = 7  # an instance of micro-sam
    labelling.save(labelling.open_case("scan_2"), box())
    path = foreign(tmp_path, inside)
    take_mask(labelling, "scan_2", path, source="micro-sam", structure="lesion")
    expected = np.where(box() == 2, 0, box())
    expected[inside > 0] = 2
    np.testing.assert_array_equal(stored(labelling.dataset.folder, "scan_2"), expected)


@pytest.mark.parametrize(
    ("words", "array", "names", "options"),
    [
        ("value 9", np.where(box() == 2, 9, box()), {}, {"source": "x"}),
        ("contains spleen", box(), {"liver": 1, "spleen": 2}, {"source": "x"}),
        ("no structure spleen", box(), {}, {"source": "x", "structure": "spleen"}),
        ("not named", box(), {}, {}),
        ("shape|grid|another image", box()[:-1], {}, {"source": "x"}),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_nothing_is_written(
    labelling: Labelling,
    tmp_path: Path,
    words: str,
    array: Any,
    names: dict[str, int],
    options: dict[str, str],
) -> None:
    path = foreign(tmp_path, array.astype(np.uint8), **names)
    with pytest.raises(UserError, match=words):
        take_mask(labelling, "scan_2", path, **options)
    assert labelling.facts("scan_2").status == "unlabelled"
    assert list(labelling.entries()) == []


def test_a_mask_beside_its_image_is_refused_on_another_grid(
    labelling: Labelling, tmp_path: Path
) -> None:
    moved = sitk.ReadImage(str(foreign(tmp_path, box())))
    moved.SetSpacing((1.0, 1.0, 1.0))
    sitk.WriteImage(moved, str(tmp_path / "moved.nii.gz"))
    with pytest.raises(UserError):
        take_mask(labelling, "scan_2", tmp_path / "moved.nii.gz", source="x")


def test_a_finished_mask_is_written_with_a_sidecar(labelling: Labelling, tmp_path: Path) -> None:
    propose(labelling, "scan_2")
    labelling.accept("scan_2")
    out = tmp_path / "liver.nii.gz"
    assert export_mask(labelling, "scan_2", out) == [out, tmp_path / "liver.json"]
    np.testing.assert_array_equal(read_labels(out).array, box())
    assert read_volume(out).same_grid(read_volume(labelling.case("scan_2").images[0]))
    made = json.loads((tmp_path / "liver.json").read_text("utf-8"))
    assert made["SegmentAlgorithmType"] == "AUTOMATIC"
    assert made["GeneratedBy"][0] == {"Name": "liver model", "Version": MODEL[:12]}
    assert "Ada" not in json.dumps(made)
    export_mask(labelling, "scan_2", out, names=True)
    assert "Ada" in (tmp_path / "liver.json").read_text("utf-8")
    with pytest.raises(UserError, match="requires the DICOM series"):
        export_mask(labelling, "scan_2", tmp_path / "liver.dcm")


@pytest.fixture
def of_dicom(tmp_path: Path) -> Labelling:
    """A dataset that was imported from a DICOM series."""
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    write_series(tmp_path / "images" / "ct")
    image = read_volume(tmp_path / "images" / "ct")
    masks = tmp_path / "masks"
    masks.mkdir()
    write_series(tmp_path / "images" / "other")
    array = np.zeros(image.shape, np.uint8)
    array[2, 3:6, 4:8] = 1
    write_labels(masks / "other.nii.gz", array, image, classes={"liver": 1})
    import_dataset(tmp_path / "images", masks, tmp_path / "scans")
    return Labelling(tmp_path / "scans", "Ada")


def by_model(labelling: Labelling, mask: np.ndarray) -> None:
    from labelling_cases import proposal

    described = proposal("ct").model_copy(update={"statistics": None})
    labelling.propose(described, mask)
    labelling.accept("ct")


def by_program(labelling: Labelling, mask: np.ndarray) -> None:
    labelling.save(labelling.open_case("ct"), mask, source="3D Slicer")


def by_hand(labelling: Labelling, mask: np.ndarray) -> None:
    labelling.save(labelling.open_case("ct"), mask)


@pytest.mark.parametrize(
    ("make", "kind", "algorithm"),
    [
        (by_model, "AUTOMATIC", ("liver model", MODEL[:12], "123110")),
        (by_program, "SEMIAUTOMATIC", ("3D Slicer", "not recorded", "123109")),
        (by_hand, "MANUAL", None),
    ],
)
def test_a_dicom_segmentation_states_who_made_it(
    of_dicom: Labelling, tmp_path: Path, make: Any, kind: str, algorithm: Any
) -> None:
    mask = np.zeros(of_dicom.open_case("ct").labels.shape, np.uint8)
    mask[1, 2:5, 3:7] = 1
    make(of_dicom, mask)
    out, series = tmp_path / "ct.dcm", tmp_path / "images" / "ct"
    export_mask(of_dicom, "ct", out, dicom=series)
    written = pydicom.dcmread(out)
    [segment] = written.SegmentSequence
    assert segment.SegmentAlgorithmType == kind and segment.SegmentLabel == "liver"
    if algorithm is None:
        assert "SegmentationAlgorithmIdentificationSequence" not in segment
    else:
        [made] = segment.SegmentationAlgorithmIdentificationSequence
        family = made.AlgorithmFamilyCodeSequence[0].CodeValue
        assert (made.AlgorithmName, made.AlgorithmVersion, family) == algorithm
        assert segment.SegmentAlgorithmName == algorithm[0]
    assert not written.get("ContentCreatorName")
    first = segment.TrackingUID
    assert first.startswith("2.25.") and segment.TrackingID == "liver"
    # A corrected mask of the structure is the same finding.
    mask[2, 2:5, 3:7] = 1
    of_dicom.save(of_dicom.open_case("ct"), mask)
    export_mask(of_dicom, "ct", out, dicom=series, names=True)
    again = pydicom.dcmread(out)
    assert again.SegmentSequence[0].TrackingUID == first
    assert again.ContentCreatorName == "Ada"


def test_a_dicom_segmentation_of_a_mask_that_was_there_before_names_no_algorithm(
    of_dicom: Labelling, tmp_path: Path
) -> None:
    export_mask(of_dicom, "other", tmp_path / "a.dcm", dicom=tmp_path / "images" / "other")
    [segment] = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence
    assert segment.SegmentAlgorithmName == "not recorded"
