"""What file names say about the patient: masks of a scan, channels of a scan; without Qt."""

import json
import re
from itertools import zip_longest
from pathlib import Path

from napari_graphflow.imaging.formats.endings import split_ending

#: Words that say what a file is, not whose.
_ROLES = re.compile(
    "seg|segmentation|masks?|labels?|labelmap|gt|pred|prediction|annotation|manual|roi|truth"
)
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
#: More files of one stem are numbered patients, not channels.
_MOST_CHANNELS = 8


def without_channel(name: str) -> str:
    """Return a name without nnU-Net's number of the channel: ``brain_002`` of ``brain_002_0000``.

    Only the first channel is recognised, because other numbers may be part of a name.
    """
    return name.removesuffix("_0000") or name


def channel_group(path: Path) -> str:
    """Return what the channels of one case have in common, empty if a file is no such channel.

    nnU-Net stores the channels of one case as ``CASE_0000``, ``CASE_0001`` of one folder. Numbered
    patients can look the same: ``dataset.json`` next to the folder decides where it exists.
    """
    stem, ending = split_ending(path.name)
    found = _CHANNEL.match(stem)
    if found is None:
        return ""
    case, number = found.group(1), int(found.group(2))
    if not path.with_name(f"{case}_0000{ending}").exists():
        return ""
    expected = _expected_channels(path.parent)
    if expected is None:
        siblings = [
            one
            for one in path.parent.glob(f"*{ending}")
            if (other := _CHANNEL.match(split_ending(one.name)[0])) and other.group(1) == case
        ]
        expected = len(siblings) if len(siblings) <= _MOST_CHANNELS else 1
    return str(path.parent / case) if number < expected and expected > 1 else ""


def opened_text(name: str, away: list[str], like: str = "") -> str:
    """Return the sentence about cases that were hidden when another was opened.

    Parameters
    ----------
    name, away
        The case that is shown, and those that were hidden.
    like
        The image on whose voxels an opened mask lies, but whose name is of another patient.
    """
    hidden = (
        f"{name} is shown. {' and '.join(away)} {'was' if len(away) == 1 else 'were'} hidden; "
        "select a layer of it in the layer list to return to it."
    )
    if not like:
        return hidden
    return (
        f"{hidden} {name} has the voxels of {like}, but the name of another patient. If they "
        "belong together, drop both files at once."
    )


def relation(mask: Path, scan: Path) -> int:
    """Return what the names of a mask and a scan say about whether both are of one patient.

    Returns
    -------
    int
        2 if both have the same identification, 1 if both are in one folder, 0 if nothing is known,
        -1 if they differ in a number, as ``brain_001`` and ``brain_002`` do.
    """
    one, other = _tokens(mask), _tokens(scan)
    stems = _compare(one, other)
    numbered = _numbers(one) and _numbers(other)
    if stems < 0 or (not numbered and _in_folders_of_different_numbers(mask, scan)):
        return -1
    return stems or int(mask.parent == scan.parent)


def _in_folders_of_different_numbers(one: Path, other: Path) -> bool:
    parts = zip(one.parent.parts, other.parent.parts, strict=False)
    different = next(((a, b) for a, b in parts if a != b), None)
    return different is not None and _compare(*(_split(part) for part in different)) < 0


def _compare(one: list[str], other: list[str]) -> int:
    """Return 2 for the same identification, -1 for different numbers, otherwise 0."""
    same = []
    for a, b in zip_longest(one, other, fillvalue=""):
        if a != b:
            if a.isdigit() and b.isdigit():
                return -1
            break
        same.append(a)
    return 2 if same and (_numbers(same) or one == other) else 0


def _tokens(path: Path) -> list[str]:
    stem = without_channel(split_ending(path.name)[0])
    return [token for token in _split(stem) if not _ROLES.fullmatch(token)]


def _split(text: str) -> list[str]:
    """Split a name into words and numbers without leading zeros."""
    found = re.findall(r"\d+|[^\W\d_]+", text.lower())
    return [token.lstrip("0") or "0" if token.isdigit() else token for token in found]


def _numbers(tokens: list[str]) -> bool:
    return any(token.isdigit() for token in tokens)


def _expected_channels(folder: Path) -> int | None:
    for name in (folder / "dataset.json", folder.parent / "dataset.json"):
        try:
            found = json.loads(name.read_text("utf-8-sig"))
        except (OSError, ValueError):
            continue
        channels = found.get("channel_names", found.get("modality"))
        if isinstance(channels, dict | list) and channels:
            return len(channels)
    return None
