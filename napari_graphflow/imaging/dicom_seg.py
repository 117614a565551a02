"""Read and write DICOM SEG: segmentations of a DICOM series with named segments.

highdicom, an optional dependency, reads and writes the objects. Segments may overlap, labels may
not, so one object can become several masks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from napari_graphflow import __version__
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.errors import invalid_object
from napari_graphflow.imaging.dicom.headers import hashed
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series, choose, list_series
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN
from napari_graphflow.imaging.grid import embed_in_grid
from napari_graphflow.imaging.masks import Mask, distinct, without_overlap
from napari_graphflow.imaging.paths import Pathlike, existing_path, user_errors
from napari_graphflow.imaging.segment_codes import code_of
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import written_aside
from napari_graphflow.system.install import install_hint

PROGRAM = "napari-graphflow"
#: Attributes that the standard requires, possibly empty, and some series lack.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
#: Segments are numbered from 1 without gaps; a label with another value is stored in the
#: description of its segment.
_VALUE = f"{PROGRAM}: label "
#: An attribute that must not be empty, if its value is not known.
_UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Origin:
    """How a mask was made, as DICOM records it.

    Attributes
    ----------
    algorithm_type
        Segment Algorithm Type.
    algorithm, version
        Name and version of the model or program; unused for ``MANUAL``.
    network
        Whether it is a trained network, which is a family of algorithms in DICOM.
    reader
        Name of the person who made or finished it; empty leaves it out.
    """

    algorithm_type: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"] = "SEMIAUTOMATIC"
    algorithm: str = PROGRAM
    version: str = __version__
    network: bool = True
    reader: str = ""


def read_seg(path: Path) -> list[Mask]:
    """Read the masks of a DICOM SEG file; one mask if no segments overlap.

    A mask covers only the slices from the first to the last with a segment.

    Raises
    ------
    UserError
        If highdicom is missing, or the file is damaged.
    """
    with invalid_object(path.name, "DICOM segmentation"):
        found = _open(path)
        names, numbers = _names(found), _numbers(found)
        # Fractional segments are thresholded at one half.
        voxels = (
            (name, _segment(found, number).array[..., 0] >= 0.5)
            for name, number in zip(names, numbers, strict=True)
        )
        grid = _segment(found, numbers[0])
        frame = hashed(found.get("FrameOfReferenceUID"))
        return [
            (replace(_volume(array, grid), frame_of_reference=frame), used)
            for array, used in without_overlap(voxels, names)
        ]


def seg_names(path: Path) -> dict[str, int]:
    """Return the labels of the segments of a DICOM SEG file by name."""
    with invalid_object(path.name, "DICOM segmentation"):
        return _names(_open(path))


def _open(path: Path) -> Any:
    found = load_highdicom().seg.segread(str(path))
    if not _numbers(found):
        raise UserError(f"{path.name} contains no segments.", EXPORT_AGAIN)
    return found


def _segment(found: Any, number: int) -> Any:
    return found.get_volume(segment_numbers=[number], combine_segments=False)


def _numbers(found: Any) -> list[int]:
    return [number for number in found.segment_numbers if number]


def write_segments(
    path: Pathlike,
    labels: Volume,
    source: Pathlike,
    classes: Mapping[str, int] | None = None,
    *,
    series: str = "",
    overwrite: bool = True,
    origin: Origin | None = None,
) -> None:
    """Write a mask as a DICOM SEG object that belongs to a DICOM series.

    The object identifies the patient as the series does. Segments are numbered from 1 without gaps,
    as the standard requires; this program reads the original label values back. A segment named
    like an anatomical structure gets its SNOMED CT code. The tracking UID of a segment depends on
    the series and its name alone, so that corrected masks of a structure have the same one.

    Parameters
    ----------
    path
        The file.
    labels
        The mask, on the grid of one of the series.
    source
        Folder or file of the DICOM series.
    classes
        Class names and label values.
    series
        Description, number or key of the series, if several have the grid of the mask.
    origin
        How the mask was made; None for one that was made here with a model.

    Raises
    ------
    UserError
        If none or several of the series have the grid of the mask, if the mask is empty, or if it
        cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path.name} already exists.", "Choose another name.")
    values = [int(value) for value in np.unique(labels.array) if value]
    if not values:
        raise UserError(
            "The mask is empty, and DICOM SEG cannot store empty masks.", "Paint first."
        )
    found, like = _series_of(labels, Path(source), series)
    embedded = embed_in_grid(labels, like, path.name).array
    numbered = np.searchsorted([0, *values], embedded).astype(np.min_scalar_type(len(values)))
    names = {value: name for name, value in (classes or {}).items()}
    titles = {value: names.get(value, f"label {value}") for value in values}
    with user_errors(path, writing=True):
        if not path.parent.is_dir():
            raise UserError(f"There is no folder {path.parent}.", "Check the path.")
        with written_aside(path) as fresh, invalid_object(path.name, "DICOM segmentation"):
            _object(found, numbered, titles, origin or Origin()).save_as(fresh)
            ((back, names_back),) = read_seg(fresh)
            back = embed_in_grid(back, like, path.name)
            wanted = {title: value for value, title in titles.items()}
            if not np.array_equal(back.array, embedded) or names_back != wanted:
                raise UserError(
                    f"{path.name} was not saved: it does not read back unchanged.", EXPORT_AGAIN
                )


def load_highdicom() -> Any:
    """Import highdicom.

    Raises
    ------
    UserError
        If the extra ``dicom-seg`` is not installed.
    """
    try:
        import highdicom
    except ImportError:
        raise UserError(
            "DICOM segmentations need the package highdicom, which is not installed.",
            install_hint("dicom-seg"),
        ) from None
    return highdicom


def _names(found: Any) -> dict[str, int]:
    """Return the label of each segment: its number, or the value in its description."""
    numbers = _numbers(found)
    titles = [str(found.get_segment_description(number).segment_label) for number in numbers]
    matches = {
        number: re.fullmatch(
            rf"{_VALUE}(\d{{1,9}})",
            str(found.get_segment_description(number).get("SegmentDescription") or ""),
        )
        for number in numbers
    }
    values = [int(match[1]) if match else number for number, match in matches.items()]
    valid = len(set(values)) == len(values) and min(values) > 0
    return distinct(titles, values if valid else numbers)


def _volume(array: NDArray[Any], one: Any) -> Volume:
    """Convert from highdicom's order (slice, row, column), whose slices may run to the feet."""
    matrix = np.asarray(one.direction, float)[:, ::-1]
    spacing = tuple(float(size) for size in one.spacing)
    origin = np.array(one.position, float)
    if np.linalg.det(matrix) < 0:
        # Slices are sorted along their normal, as in images.
        origin = origin + matrix[:, 2] * spacing[0] * (len(array) - 1)
        matrix[:, 2] *= -1
        array = np.ascontiguousarray(array[::-1])
    return Volume(array, spacing, tuple(origin.tolist()), tuple((matrix + 0.0).ravel().tolist()))


def _series_of(labels: Volume, source: Path, name: str) -> tuple[Series, Volume]:
    every = list_series(existing_path(source))
    fitting = []
    for series in [choose(every, name)] if name else every:
        if series.is_segmentation or series.problem or len(series.shape) != 3:
            continue
        like = read_series(series)
        if sorted(like.shape) == sorted(labels.shape) and not like.channels:
            try:
                embed_in_grid(labels, like, "")
            except UserError:
                continue
            fitting.append((series, like))
    if not fitting:
        raise UserError(
            "No DICOM series has the grid of the mask.", "Choose the series that was segmented."
        )
    if len(fitting) > 1:
        listed = "; ".join(f"{every.index(one) + 1}: {one.summary()}" for one, _ in fitting)
        raise UserError(
            f"{len(fitting)} DICOM series have the grid of the mask: {listed}.",
            "Choose the one that was segmented.",
        )
    return fitting[0]


def _object(
    series: Series, numbered: NDArray[Any], titles: Mapping[int, str], origin: Origin
) -> Any:
    import pydicom

    hd = load_highdicom()
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    frame_of_reference = hd.UID()
    for one in sources:
        # Class names may be in any alphabet; highdicom requires these attributes.
        one.decode()
        one.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _MAY_BE_EMPTY:
            if keyword not in one:
                setattr(one, keyword, None)
        if not one.get("FrameOfReferenceUID"):
            one.FrameOfReferenceUID = frame_of_reference
    frames = numbered
    if len(sources) == 1 and len(series.slices) > 1:
        # Frames are in the order of the file, our slices in that of their positions.
        frames = np.empty_like(numbered)
        frames[[one.frame for one in series.slices]] = numbered
    descriptions = [
        _description(number, value, title, origin, str(sources[0].SeriesInstanceUID))
        for number, (value, title) in enumerate(titles.items(), start=1)
    ]
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=series.slices[0].series_number + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=PROGRAM,
        manufacturer_model_name=PROGRAM,
        software_versions=__version__,
        device_serial_number="none",
        series_description="Segmentation",
        content_creator_name=origin.reader.replace("^", " ")[:64] or None,
    )


def _algorithm(origin: Origin) -> Any:
    """Return the identification of the algorithm; None for a mask that was drawn."""
    if origin.algorithm_type == "MANUAL":
        return None
    hd = load_highdicom()
    network = ("123110", "DCM", "Artificial Intelligence")
    family = network if origin.network else ("123109", "DCM", "Manual Processing")
    return hd.AlgorithmIdentificationSequence(
        name=origin.algorithm[:64] or _UNKNOWN,
        version=origin.version[:64] or _UNKNOWN,
        family=hd.sr.CodedConcept(*family),
    )


def _description(number: int, value: int, title: str, origin: Origin, series: str) -> Any:
    hd = load_highdicom()
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    category, kind, side = code_of(title) or (tissue, tissue, None)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=title[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=origin.algorithm_type,
        algorithm_identification=_algorithm(origin),
        tracking_id=title[:64],
        # UIDs made of a UUID begin with 2.25, see DICOM PS3.5, B.2.
        tracking_uid=f"2.25.{uuid5(uuid5(NAMESPACE_OID, series), title).int}",
    )
    if side is not None:
        modifier = hd.sr.CodedConcept.from_code(side)
        coded = description.SegmentedPropertyTypeCodeSequence[0]
        coded.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    if value != number:
        description.SegmentDescription = f"{_VALUE}{value}"
    return description
