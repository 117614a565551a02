"""What the header of one DICOM file says about its slices; single-frame and multi-frame alike."""

import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from napari_graphflow.imaging.formats.endings import FORMATS
from napari_graphflow.imaging.formats.voxels import silenced

Fields = dict[str, Any]


_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesDescription", "SeriesNumber", "Modality", "SeriesDate", "AcquisitionDate",
    "StudyDate", "InstanceNumber", "AcquisitionNumber", "EchoNumbers", "EchoTime",
    "TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue", "ImageType", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
    "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


#: Tags of pixels as bytes: PixelData, FloatPixelData, DoubleFloatPixelData.
_PIXELS = {
    order: [struct.pack(order + "HH", 0x7FE0, element) for element in (0x10, 0x08, 0x09)]
    for order in "<>"
}


_NOT_MEASURED = (
    "The header gives no pixel size; 1 mm is assumed, so distances and volumes are not to be "
    "trusted."
)


_AT_DETECTOR = "The pixel size is that at the detector, so distances in the body are smaller."


_INVERTED = "The grey values are stored inverted (MONOCHROME1): high values are dark."


@dataclass(frozen=True)
class Slice:
    """One frame of one file.

    Attributes
    ----------
    series
        What belongs together has it in common. Never shown.
    position, axes
        ImagePositionPatient and ImageOrientationPatient; None where there are none.
    shape, spacing
        Rows and columns, and their distances in mm, in the order y, x.
    thickness
        Distance of slices that the header gives, in mm; 0 if none.
    stored, allocated
        Bits of a value and whether it has a sign; bits that it takes in the file.
    start
        Where uncompressed grey pixels begin in the file; 0 if they need a decoder.
    cut
        Whether the file ends before its pixels do.
    phases
        Headers that tell slices at the same place apart.
    """

    path: Path
    frame: int
    frames: int
    series: tuple[str, ...] = field(repr=False)
    uid: str = field(repr=False)
    description: str
    modality: str
    date: str
    series_number: int
    number: int
    position: tuple[float, ...] | None
    axes: tuple[float, ...] | None
    shape: tuple[int, int]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    stored: tuple[int, bool]
    allocated: int
    start: int
    samples: int
    photometric: str
    segmentation: bool
    cut: bool
    phases: dict[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def is_volume(self) -> bool:
        """Whether the slice lies somewhere in a body, unlike a projection or a photograph."""
        return self.position is not None and self.axes is not None

    @property
    def axes_matrix(self) -> NDArray[np.float64]:
        """Unit vectors of x, y and the normal as columns."""
        if self.axes is None:
            return np.eye(3)
        x, y = np.array(self.axes[:3]), np.array(self.axes[3:])
        columns = np.column_stack([x, y, np.cross(x, y)])
        unit: NDArray[np.float64] = columns / np.linalg.norm(columns, axis=0)
        return unit


def read_slices(path: Path) -> list[Slice] | None:
    """Read the slices of a file: none if it is no DICOM image, None if it is a broken one."""
    named = path.suffix.lower() in FORMATS["DICOM"].endings
    try:
        with path.open("rb") as file:
            marked = file.read(132)[128:] == b"DICM"
            if not marked and not named and path.suffix:
                return []
            file.seek(0)
            with disable_value_validation(), silenced("pydicom"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = pydicom.dcmread(
                    file, stop_before_pixels=True, force=True, specific_tags=_TAGS
                )
                header = _fields(found)
            if "Rows" not in header or "Columns" not in header:
                # Broken are: a file cut off or empty where a slice should be, another kind is not.
                broken = "SOPClassUID" not in header and (marked or named or not file.seek(0, 2))
                return None if broken else []
            return _slices(path, header, *_pixels(file, found, header))
    except Exception:  # pydicom raises whatever a broken header leads it to
        return None if named else []


def _fields(found: Dataset) -> Fields:
    """Values by keyword, without those that are not what the standard asks for."""
    fields = {}
    for tag in found.keys():  # noqa: SIM118, a dataset iterates over its elements
        with suppress(Exception):
            element = found[tag]
            fields[element.keyword] = element.value
    return fields


def _slices(path: Path, header: Fields, cut: bool, start: int) -> list[Slice]:
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > path.stat().st_size:
        raise ValueError("more frames than bytes")
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    shared = (list(header.get("SharedFunctionalGroupsSequence") or []) or [Dataset()])[0]
    common = _common(path, header, frames) | {"cut": cut, "start": start}
    return [
        Slice(
            **common,
            **_placed(header, shared, per_frame[i] if i < len(per_frame) else Dataset(), i),
        )
        for i in range(frames)
    ]


def _common(path: Path, header: Fields, frames: int) -> dict[str, Any]:
    series = str(header.get("SeriesInstanceUID", "")), str(header.get("StudyInstanceUID", ""))
    uid = str(header.get("SOPInstanceUID", path))
    modality = str(header.get("Modality") or "")
    dates = [header.get(name) for name in ("SeriesDate", "AcquisitionDate", "StudyDate")]
    date = next((str(one) for one in dates if one), "")
    return {
        "path": path,
        "frames": frames,
        # The frames of one object belong together, and to no other object.
        "series": (*series, uid) if frames > 1 else series,
        "uid": uid,
        "description": " ".join(str(header.get("SeriesDescription") or "").split()),
        "modality": modality,
        "date": f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else "",
        "series_number": int(header.get("SeriesNumber") or 0),
        "shape": (int(header["Rows"]), int(header["Columns"])),
        "stored": (
            int(header.get("BitsStored") or header.get("BitsAllocated") or 16),
            bool(header.get("PixelRepresentation")),
        ),
        "allocated": int(header.get("BitsAllocated") or 16),
        "samples": int(header.get("SamplesPerPixel") or 1),
        "photometric": str(header.get("PhotometricInterpretation") or ""),
        "segmentation": str(header.get("SOPClassUID", "")) in _SEGMENTATIONS,
    }


def _placed(header: Fields, shared: Dataset, own: Dataset, frame: int) -> dict[str, Any]:
    """What may differ from frame to frame: in its own group, in the shared one, or in the file."""

    def find(group: str, name: str) -> Any:
        for source in (own, shared):
            items = source.get(group)
            if items and items[0].get(name) not in (None, ""):
                return items[0].get(name)
        return header.get(name)

    position = _numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3)
    axes = _numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing, said = _pixel_size(find("PixelMeasuresSequence", "PixelSpacing"), header)
    thickness = [
        _numbers(find("PixelMeasuresSequence", name), 1)
        for name in ("SpacingBetweenSlices", "SliceThickness")
    ]
    slope = _numbers(find("PixelValueTransformationSequence", "RescaleSlope"), 1) or (1.0,)
    intercept = _numbers(find("PixelValueTransformationSequence", "RescaleIntercept"), 1) or (0.0,)
    if str(header.get("PhotometricInterpretation")) == "MONOCHROME1":
        said = (*said, _INVERTED)
    frames = int(header.get("NumberOfFrames") or 1)
    classic = frames > 1 and not own
    return {
        "frame": frame,
        "number": int(header.get("InstanceNumber") or 0),
        "position": None if classic or axes is None or not _sound(axes) else position,
        "axes": axes if axes is not None and _sound(axes) else None,
        "spacing": spacing,
        "thickness": next((abs(one[0]) for one in thickness if one and one[0]), 0.0),
        "slope": slope[0] or 1.0,
        "intercept": intercept[0],
        "phases": _phases(find, header),
        "warnings": said,
    }


def _phases(find: Any, header: Fields) -> dict[str, Any]:
    content = "FrameContentSequence"
    kind = header.get("ImageType") or ""
    found = {
        "time point": find(content, "TemporalPositionIndex")
        or header.get("TemporalPositionIdentifier"),
        "echo": find("MREchoSequence", "EffectiveEchoTime") or header.get("EchoTime"),
        "b-value": find("MRDiffusionSequence", "DiffusionBValue"),
        "trigger time": header.get("TriggerTime"),
        "acquisition": find(content, "FrameAcquisitionNumber") or header.get("AcquisitionNumber"),
        "image type": kind if isinstance(kind, str) else "/".join(kind),
    }
    return {
        name: value if isinstance(value, str) else _plain(value) for name, value in found.items()
    }


def _plain(value: Any) -> float | int | None:
    number = _numbers(value, 1)
    if number is None:
        return None
    return int(number[0]) if number[0].is_integer() else number[0]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str):
        return None
    try:
        numbers = tuple(float(one) for one in (value if hasattr(value, "__len__") else [value]))
    except (TypeError, ValueError):
        return None
    return numbers[:count] if len(numbers) >= count and np.isfinite(numbers).all() else None


def _sound(axes: tuple[float, ...]) -> bool:
    """Whether two vectors are at right angles and of length one, to the rounding of a header."""
    x, y = np.array(axes[:3]), np.array(axes[3:])
    return bool(np.abs([x @ x - 1, y @ y - 1, x @ y]).max() < 1e-2)


def _pixel_size(value: Any, header: Fields) -> tuple[tuple[float, float], tuple[str, ...]]:
    for found, said in ((value, ()), (header.get("ImagerPixelSpacing"), (_AT_DETECTOR,))):
        size = _numbers(found, 2)
        if size and min(size) > 0:
            return (size[0], size[1]), said
    return (1.0, 1.0), (_NOT_MEASURED,)


def _pixels(file: BinaryIO, found: Dataset, header: Fields) -> tuple[bool, int]:
    """Of a file read up to its pixels: whether it ends before they do, and `Slice.start`."""
    syntax = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
    if syntax == DeflatedExplicitVRLittleEndian:
        return False, 0
    implicit, little = found.original_encoding
    order = ">" if little is False else "<"
    start = file.read(8 if implicit else 12)
    if len(start) < (8 if implicit else 12) or start[:4] not in _PIXELS[order]:
        return True, 0
    (length,) = struct.unpack(order + "I", start[-4:])
    if length == 0xFFFFFFFF:
        return not _fragments_end(file), 0
    begin = file.tell()
    present = file.seek(0, 2) - begin
    plain = (
        order == "<"
        and syntax in (None, ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and start[:4] == _PIXELS["<"][0]
        and header.get("SamplesPerPixel", 1) == 1
        and header.get("BitsAllocated") in (8, 16)
        and header.get("HighBit") == header.get("BitsStored", 0) - 1
        and str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
    )
    return bool(present < length or length < _least_length(header)), begin if plain else 0


def _least_length(header: Fields) -> int:
    """Bytes that uncompressed pixels take at least."""
    values = int(header["Rows"]) * int(header["Columns"])
    values *= int(header.get("SamplesPerPixel") or 1) * int(header.get("NumberOfFrames") or 1)
    bits = values * int(header.get("BitsAllocated") or 16)
    subsampled = str(header.get("PhotometricInterpretation")) == "YBR_FULL_422"
    return (bits * 2 // 3 if subsampled else bits) // 8


def _fragments_end(file: BinaryIO) -> bool:
    """Walk the fragments of compressed pixels to their end mark."""
    begin = file.tell()
    end = file.seek(0, 2)
    file.seek(begin)
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return True
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + length > end:
            return False
        file.seek(length, 1)
    return False
