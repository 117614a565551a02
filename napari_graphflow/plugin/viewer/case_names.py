"""What file names say about whether a mask is of a scan; without Qt."""

from pathlib import Path

from napari_graphflow.dataset.names import compare_names, has_number
from napari_graphflow.imaging.channel_files import case_of_file, channel_group
from napari_graphflow.imaging.formats.endings import split_channel, split_ending


def opened_text(name: str, away: list[str]) -> str:
    """Return the sentence about cases that were hidden when another was opened."""
    return (
        f"{name} is shown. {' and '.join(away)} {'was' if len(away) == 1 else 'were'} hidden; "
        "select a layer of it in the layer list to return to it."
    )


def relation(mask: Path, scan: Path) -> int:
    """Return what the names of a mask and a scan say about whether both are of one patient.

    Returns
    -------
    int
        2 if both have the same identification, 1 if both are in one folder, 0 if nothing is known,
        -1 if they differ in a number, as ``brain_001`` and ``brain_002`` do, or in a visit.
    """
    one, other = _names(mask, scan)
    stems = compare_names(one, other)
    numbered = has_number(one) and has_number(other)
    if stems < 0 or (not numbered and _in_folders_of_different_numbers(mask, scan)):
        return -1
    return stems or int(mask.parent == scan.parent)


def _names(mask: Path, scan: Path) -> tuple[str, str]:
    """Return the names of the cases; the numbers of two numbered files are compared."""
    stems = [split_ending(path.name)[0] for path in (mask, scan)]
    if channel_group(scan):
        return split_channel(stems[0])[0], split_channel(stems[1])[0]
    if all(split_channel(stem)[1] is not None for stem in stems):
        return stems[0], stems[1]
    return case_of_file(mask), case_of_file(scan)


def _in_folders_of_different_numbers(one: Path, other: Path) -> bool:
    parts = zip(one.parent.parts, other.parent.parts, strict=False)
    different = next(((a, b) for a, b in parts if a != b), None)
    return different is not None and compare_names(*different) < 0
