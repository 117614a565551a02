"""Take a mask of another program for a case, and write a finished one with its provenance."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_graphflow.dataset.cases import known_values, to_indices
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import mask_files, read_labels, write_labels
from napari_graphflow.imaging.formats.endings import READ, split_ending
from napari_graphflow.imaging.paths import user_errors
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.labelling.masks import mask_path
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.labelling.provenance import provenance
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.system.files import replace_file

SLICER = ".seg.nrrd"


def read_foreign(
    labelling: Labelling, opened: OpenedCase, path: Path, structure: str = ""
) -> Volume:
    """Read a mask of another program as class indices of the dataset.

    Named segments, of 3D Slicer or DICOM or in ``NAME.labels.json``, become the classes of the same
    name. Other values are those that the dataset stores.

    Parameters
    ----------
    opened
        The case; the mask must be on the grid of its image.
    path
        The file.
    structure
        Name of a class: every value but 0 of the file is this structure, as in the masks of
        nnInteractive and micro-sam, and replaces it in the mask of the case.

    Raises
    ------
    UserError
        If it cannot be read, is on another grid, or has other structures than the dataset.
    """
    dataset, classes = labelling.dataset, labelling.dataset.classes
    if structure and not classes.get(structure):
        known = ", ".join(name for name, value in classes.items() if value)
        raise UserError(f"The dataset has no structure {structure}.", f"Choose one of: {known}.")
    mask = read_labels(path, opened.image, ignore=dataset.ignore, white=bool(structure))
    if structure:
        labels = np.where(opened.labels == classes[structure], 0, opened.labels)
        return mask.with_array(np.where(mask.array > 0, classes[structure], labels))
    names = {value: name for name, value in read_class_names(path).items() if value}
    if not names:
        return mask.with_array(
            to_indices(mask.array, known_values(dataset, mask.array), opened.name)
        )
    used = [int(value) for value in np.unique(mask.array) if value]
    same = {name.casefold(): value for name, value in classes.items()}
    unknown = [names.get(value, str(value)) for value in used if value not in names]
    unknown += [names[one] for one in used if one in names and names[one].casefold() not in same]
    if unknown:
        known = ", ".join(name for name, value in classes.items() if value)
        raise UserError(
            f"{path.name} contains {unknown[0]}, which is not a structure of the dataset "
            f"({known}).",
            "Rename the segment, or name the structure that the mask shows.",
        )
    lookup = np.zeros(max(used, default=0) + 1, np.uint8)
    for value in used:
        lookup[value] = same[names[value].casefold()]
    return mask.with_array(lookup[mask.array])


def take_mask(
    labelling: Labelling, name: str, path: Path, *, source: str = "", structure: str = ""
) -> OpenedCase:
    """Save a mask of another program as the finished mask of a case, credited in the log.

    Parameters
    ----------
    name
        Name of the case.
    path, structure
        As for `read_foreign`.
    source
        Name of the program; that of 3D Slicer's own files is known.

    Raises
    ------
    UserError
        As `read_foreign` and :meth:`Labelling.save`, or if the program is not named.
    """
    source = source.strip() or ("3D Slicer" if path.name.lower().endswith(SLICER) else "")
    if not source:
        raise UserError("The program that made the mask is not named.", "Name it for the log.")
    opened = labelling.open_case(name)
    mask = read_foreign(labelling, opened, path, structure)
    # The mask is not the work of the model whose proposal may be open.
    return labelling.save(replace(opened, proposal=None), mask.array, source=source)


def export_mask(
    labelling: Labelling,
    name: str,
    out: Path,
    *,
    dicom: Path | None = None,
    series: str = "",
    names: bool = False,
) -> list[Path]:
    """Write the finished mask of a case with its provenance.

    Parameters
    ----------
    name
        Name of the case.
    out
        The file. DICOM SEG (``.dcm``) holds the provenance itself; other formats get
        ``NAME.json`` beside them, with the keys of BIDS derivatives.
    dicom, series
        For DICOM SEG: folder of the DICOM series, and which one of several.
    names
        Whether to write the name of the reader.

    Returns
    -------
    files
        What was written.

    Raises
    ------
    UserError
        If there is no finished mask, or it cannot be written in this format.
    """
    dataset, case = labelling.dataset, labelling.case(name)
    made = provenance(labelling, name, names=names)
    path = mask_path(dataset, case)
    mask = read_labels(path if path.is_file() else labelling.paths.version(made.mask))
    values = {one: dataset.values[index] for one, index in dataset.classes.items()}
    if out.suffix.lower() == ".dcm":
        if dicom is None:
            raise UserError(
                "Writing a DICOM segmentation requires the DICOM series of the mask.",
                "Name the folder of the series.",
            )
        # What is not annotated is not a segment.
        known = mask.with_array(np.where(mask.array == dataset.ignore, 0, mask.array))
        write_segments(out, known, dicom, values, series=series, origin=made.origin())
        return [out]
    write_labels(out, mask.array, mask, classes=values)
    beside = sidecar_file(out)
    with user_errors(beside, writing=True):
        replace_file(beside, json.dumps(made.sidecar(), indent=1).encode() + b"\n")
    return [out, beside]


def sidecar_file(out: Path) -> Path:
    """Return the file of the provenance beside a mask."""
    return out.with_name(split_ending(out.name, READ)[0] + ".json")


def written_files(out: Path) -> list[Path]:
    """Return all files that `export_mask` may replace."""
    return [out] if out.suffix.lower() == ".dcm" else [*mask_files(out), sidecar_file(out)]
