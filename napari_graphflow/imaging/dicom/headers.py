"""Read the slices of a single-frame or multi-frame DICOM file from its header."""

import hashlib
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.dicom.dose import DOSE_TAGS, dose_notes, dose_position
from napari_graphflow.imaging.dicom.pixel_data import Fields, find_pixels
from napari_graphflow.imaging.formats.endings import FORMATS
from napari_graphflow.imaging.formats.voxels import silenced

if TYPE_CHECKING:  # takes half a second
    from pydicom.dataset import Dataset

#: Classes of objects that are drawn on an image: segmentations and structure sets.
_SEGMENTATIONS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesDescription", "SeriesNumber", "Modality", "SeriesDate", "AcquisitionDate",
    "StudyDate", "InstanceNumber", "AcquisitionNumber", "EchoNumbers", "EchoTime",
    "TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue", "ImageType", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "FrameOfReferenceUID", "StructureSetLabel",
    *DOSE_TAGS,
]  # fmt: skip
NO_SPACING = (
    "The header has no pixel spacing; 1 mm is assumed, so distances and volumes may be wrong."
)
_AT_DETECTOR = "The pixel spacing is that at the detector, so distances in the body are smaller."
_NO_SCALE = "The header states an intensity scale of 0 for some slices, which is ignored."
_NO_HOUNSFIELD = (
    "The header of this CT has no rescale slope and intercept, so its values may not be Hounsfield "
    "units."
)
_INVERTED = "The grey values are stored inverted (MONOCHROME1): high values are dark."


@dataclass(frozen=True)
class Slice:
    """One frame of one file.

    Attributes
    ----------
    series
        UIDs that all slices of a series share. Never shown.
    frame_of_reference
        Hash of the UID of the patient's coordinate system; empty if missing.
    position, axes
        ImagePositionPatient and ImageOrientationPatient; None if missing.
    shape, spacing
        Rows and columns, and the pixel spacing in mm, in the order y, x.
    thickness
        Slice distance in the header in mm; 0 if missing.
    scaled
        Whether the header has a slope and an intercept.
    padding
        Smallest and largest value, scaled, of pixels outside the field of view; None if unknown.
    stored, allocated
        Bits of a value and whether it is signed; bits allocated in the file.
    start
        Byte offset of uncompressed grey pixels in the file; 0 if they need a decoder.
    sop_class, image_type
        Kind of object, and the values of ImageType, such as ``LOCALIZER``.
    segmentation
        ``SEG``, or ``RTSTRUCT`` for a structure set, which has no pixels; empty for an image.
    cut
        Whether the file is truncated.
    phases
        Header values that distinguish slices at the same position.
    """

    path: Path
    frame: int
    frames: int
    series: tuple[str, ...] = field(repr=False)
    uid: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
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
    scaled: tuple[bool, bool]
    padding: tuple[float, float] | None
    stored: tuple[int, bool]
    allocated: int
    start: int
    samples: int
    photometric: str
    sop_class: str
    image_type: tuple[str, ...]
    segmentation: str
    cut: bool
    phases: dict[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def is_volume(self) -> bool:
        """Whether the slice has a position in the body, unlike a projection or a photograph."""
        return self.position is not None and self.axes is not None

    @property
    def axes_matrix(self) -> NDArray[np.float64]:
        """Unit vectors of x, y and the slice normal as columns, shape (3, 3)."""
        if self.axes is None:
            return np.eye(3)
        x, y = np.array(self.axes[:3]), np.array(self.axes[3:])
        columns = np.column_stack([x, y, np.cross(x, y)])
        unit: NDArray[np.float64] = columns / np.linalg.norm(columns, axis=0)
        return unit


def hashed(*uids: Any) -> str:
    """Return a hash that identifies an object without revealing its UIDs; empty without UIDs."""
    text = "\n".join(str(one) for one in uids if one)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def read_slices(path: Path) -> list[Slice] | None:
    """Read the slices of a file; empty if it is not a DICOM image, None if it is a damaged one."""
    import pydicom
    from pydicom.config import disable_value_validation

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
            if _SEGMENTATIONS.get(str(header.get("SOPClassUID"))) == "RTSTRUCT":
                return _slices(path, header | {"Rows": 0, "Columns": 0}, False, 0)
            if "Rows" not in header or "Columns" not in header:
                # A truncated or empty slice is damaged; other kinds of files are not.
                damaged = "SOPClassUID" not in header and (marked or named or not file.seek(0, 2))
                return None if damaged else []
            return _slices(path, header, *find_pixels(file, found, header))
    except Exception:  # a damaged header can raise anything in pydicom
        return None if named else []


def _fields(found: "Dataset") -> Fields:
    """Return the values by keyword, without invalid ones."""
    fields = {}
    for tag in found.keys():  # noqa: SIM118, a dataset iterates over its elements
        with suppress(Exception):
            element = found[tag]
            fields[element.keyword] = element.value
    return fields


def _slices(path: Path, header: Fields, cut: bool, start: int) -> list[Slice]:
    from pydicom.dataset import Dataset

    frames = int(header.get("NumberOfFrames") or 1)
    if frames > path.stat().st_size:
        raise ValueError("more frames than bytes")
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    shared = (list(header.get("SharedFunctionalGroupsSequence") or []) or [Dataset()])[0]
    common = _common(path, header, frames) | {"cut": cut, "start": start}
    return [
        Slice(
            **common,
            **_frame_fields(header, shared, per_frame[i] if i < len(per_frame) else Dataset(), i),
        )
        for i in range(frames)
    ]


def _common(path: Path, header: Fields, frames: int) -> dict[str, Any]:
    series = str(header.get("SeriesInstanceUID", "")), str(header.get("StudyInstanceUID", ""))
    uid = str(header.get("SOPInstanceUID", path))
    segmentation = _SEGMENTATIONS.get(str(header.get("SOPClassUID")), "")
    description = header.get("SeriesDescription") or header.get("StructureSetLabel") or ""
    modality = str(header.get("Modality") or "")
    dates = [header.get(name) for name in ("SeriesDate", "AcquisitionDate", "StudyDate")]
    date = next((str(one) for one in dates if one), "")
    return {
        "path": path,
        "frames": frames,
        # Each multi-frame object and each segmentation is a separate series.
        "series": (*series, uid) if frames > 1 or segmentation else series,
        "uid": uid,
        "frame_of_reference": hashed(header.get("FrameOfReferenceUID")),
        "description": " ".join(str(description).split()),
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
        "sop_class": str(header.get("SOPClassUID") or ""),
        "image_type": _image_type(header),
        "segmentation": segmentation,
    }


def _frame_fields(header: Fields, shared: "Dataset", own: "Dataset", frame: int) -> dict[str, Any]:
    """Read the per-frame values from the frame's groups, the shared groups, or the header."""

    def find(group: str, name: str) -> Any:
        for source in (own, shared):
            items = source.get(group)
            if items and items[0].get(name) not in (None, ""):
                return items[0].get(name)
        return header.get(name)

    position = _numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3)
    axes = _numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing, notes = _pixel_size(find("PixelMeasuresSequence", "PixelSpacing"), header)
    thickness = [
        _numbers(find("PixelMeasuresSequence", name), 1)
        for name in ("SpacingBetweenSlices", "SliceThickness")
    ]
    own_slope = _numbers(find("PixelValueTransformationSequence", "RescaleSlope"), 1)
    slope = _numbers(header.get("DoseGridScaling"), 1) or own_slope or (1.0,)
    own_intercept = _numbers(find("PixelValueTransformationSequence", "RescaleIntercept"), 1)
    intercept = own_intercept or (0.0,)
    scaled = own_slope is not None, own_intercept is not None
    if header.get("Modality") == "CT" and not any(scaled):
        notes = (*notes, _NO_HOUNSFIELD)
    if str(header.get("PhotometricInterpretation")) == "MONOCHROME1":
        notes = (*notes, _INVERTED)
    if slope[0] == 0:
        notes = (*notes, _NO_SCALE)
    notes = (*notes, *dose_notes(header))
    sound = axes is not None and _is_orthonormal(axes)
    if int(header.get("NumberOfFrames") or 1) > 1 and not own:
        # All frames share the position of the first.
        position = dose_position(header, position, axes, frame) if sound else None
    return {
        "frame": frame,
        "number": int(header.get("InstanceNumber") or 0),
        "position": position if sound else None,
        "axes": axes if sound else None,
        "spacing": spacing,
        "thickness": next((abs(one[0]) for one in thickness if one and one[0]), 0.0),
        "slope": slope[0] or 1.0,
        "intercept": intercept[0],
        "scaled": scaled,
        "padding": _padding(header, slope[0] or 1.0, intercept[0]),
        "phases": _phases(find, header),
        "warnings": notes,
    }


def _phases(find: Any, header: Fields) -> dict[str, Any]:
    content = "FrameContentSequence"
    found = {
        "time point": find(content, "TemporalPositionIndex")
        or header.get("TemporalPositionIdentifier"),
        "echo": find("MREchoSequence", "EffectiveEchoTime") or header.get("EchoTime"),
        "b-value": find("MRDiffusionSequence", "DiffusionBValue"),
        "trigger time": header.get("TriggerTime"),
        "acquisition": find(content, "FrameAcquisitionNumber") or header.get("AcquisitionNumber"),
        "image type": "/".join(_image_type(header)),
    }
    return {
        name: value if isinstance(value, str) else _plain(value) for name, value in found.items()
    }


def _padding(header: Fields, slope: float, intercept: float) -> tuple[float, float] | None:
    value = _numbers(header.get("PixelPaddingValue"), 1)
    if value is None:
        return None
    limit = _numbers(header.get("PixelPaddingRangeLimit"), 1) or value
    ends = sorted(one * slope + intercept for one in (value[0], limit[0]))
    return ends[0], ends[1]


def _image_type(header: Fields) -> tuple[str, ...]:
    found = header.get("ImageType") or ()
    return (found,) if isinstance(found, str) else tuple(map(str, found))


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


def _is_orthonormal(axes: tuple[float, ...]) -> bool:
    """Whether two vectors are orthonormal, up to rounding."""
    x, y = np.array(axes[:3]), np.array(axes[3:])
    return bool(np.abs([x @ x - 1, y @ y - 1, x @ y]).max() < 1e-2)


def _pixel_size(value: Any, header: Fields) -> tuple[tuple[float, float], tuple[str, ...]]:
    for found, notes in ((value, ()), (header.get("ImagerPixelSpacing"), (_AT_DETECTOR,))):
        size = _numbers(found, 2)
        if size and min(size) > 0:
            return (size[0], size[1]), notes
    return (1.0, 1.0), (NO_SPACING,)
