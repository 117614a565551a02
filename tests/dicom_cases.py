"""DICOM series as written by scanners, with patient data that must never be shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series, list_series

SECRETS = ("Mustermann", "PID-4711", "19510203", "Dr. House", "General Hospital")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
ROWS, COLUMNS = 12, 10
#: Frame of reference of structure sets.
FRAME = "1.2.3.4.99"


def values(index: int) -> np.ndarray[Any, Any]:
    """Return the stored values of a slice, different for each slice."""
    return np.random.default_rng(index).integers(0, 2000, (ROWS, COLUMNS)).astype(np.int16)


def header(
    index: int, uid: str, axes: tuple[float, ...], position: np.ndarray[Any, Any]
) -> FileDataset:
    """Return a CT slice whose header identifies the patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    one.PatientName, one.PatientID, one.PatientBirthDate = (
        "Mustermann^Erika",
        SECRETS[1],
        SECRETS[2],
    )
    one.ReferringPhysicianName, one.InstitutionName = SECRETS[3], SECRETS[4]
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3.4", uid
    one.Modality, one.SeriesDescription, one.SeriesDate = "CT", "Abdomen 5 mm", "20240229"
    one.SeriesNumber, one.InstanceNumber = 3, index + 1
    one.ImagePositionPatient = [f"{value:.6f}" for value in position]
    one.ImageOrientationPatient = list(axes)
    one.PixelSpacing, one.SliceThickness = [0.8, 0.5], 5.0
    one.RescaleSlope, one.RescaleIntercept = 1, -1024
    one.Rows, one.Columns, one.SamplesPerPixel = ROWS, COLUMNS, 1
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.PixelData = values(index).tobytes()
    return one


Change = Callable[[int, FileDataset], Any]


def write_series(
    folder: Path,
    positions: list[float] | None = None,
    *,
    axes: tuple[float, ...] = AXIAL,
    tilt: float = 0.0,
    change: Change = lambda index, one: None,
    uid: str = "1.2.3.4.5",
) -> list[Path]:
    """Write slices at given positions in mm, with unordered file names, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    positions = [5.0 * index for index in range(8)] if positions is None else positions
    x, y = np.array(axes[:3]), np.array(axes[3:])
    normal = np.cross(x, y)
    paths = []
    for index, distance in enumerate(positions):
        shift = np.tan(np.radians(tilt)) * distance * y
        origin = np.array([-20.0, 30.0, -100.0])
        one = header(index, uid, axes, origin + distance * normal + shift)
        change(index, one)
        path = folder / f"{(index * 5) % 8}-{index}-{uid[-1]}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_structures(
    path: Path, structures: dict[str, list[NDArray[Any]]], kind: str = "CLOSED_PLANAR"
) -> Path:
    """Write a structure set; the points of each contour are (x, y, z) in mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        RTStructureSetStorage, ExplicitVRLittleEndian,
    )  # fmt: skip
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = "1.2.3.4", "1.2.8", "RTSTRUCT"
    one.StructureSetLabel, one.PatientName = "plan", "Mustermann^Erika"
    one.StructureSetROISequence, one.ROIContourSequence = Sequence(), Sequence()
    for number, (name, contours) in enumerate(structures.items(), start=1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        region.ReferencedFrameOfReferenceUID = FRAME
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            drawn.ContourSequence.append(contour)
        one.StructureSetROISequence.append(region)
        one.ROIContourSequence.append(drawn)
    one.save_as(path, enforce_file_format=True)
    return path


def only_series(folder: Path) -> Series:
    """Return the single series of a folder."""
    (series,) = list_series(folder)
    return series


def assert_refused(series: Series, *words: str, resamplable: bool = False) -> None:
    """Check that a series has a problem with these words, and is not read in spite of it."""
    with pytest.raises(UserError) as caught:
        read_series(series)
    assert caught.value.text == series.problem == series.warnings[0]
    for word in words:
        assert word in caught.value.text
    assert series.resamplable == resamplable
    assert ("resampled" in caught.value.remedy) == resamplable
    if not resamplable:
        with pytest.raises(UserError):
            read_series(series, resample=True)
