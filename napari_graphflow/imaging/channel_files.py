"""Which files are channels of one scan: nnU-Net stores them as ``CASE_0000``, ``CASE_0001``, ...

Numbered patients look the same, so a number is that of a channel only if something else confirms
it: the ``dataset.json`` of the folder, or that all its cases have the same channels.
"""

from functools import lru_cache
from pathlib import Path

from napari_graphflow.imaging.formats.endings import split_channel, split_ending
from napari_graphflow.system.files import listing, parse_json
from napari_graphflow.system.regular_file import read_regular

#: More files of one case are numbered patients, not channels.
_MOST_CHANNELS = 8


def channel_group(path: Path) -> str:
    """Return what the channels of one case have in common, empty if a file is no such channel."""
    stem, ending = split_ending(path.name)
    case, number = split_channel(stem)
    if number is None:
        return ""
    cases = _numbered_cases(path.parent, ending)
    own, expected = cases.get(case, frozenset()), _expected_channels(path.parent)
    if expected is not None:
        confirmed = expected > 1 and {0, number} <= own <= set(range(expected))
    else:
        several = 1 < len(own) <= _MOST_CHANNELS and own == set(range(len(own)))
        confirmed = several and len(cases) > 1 and set(cases.values()) == {own}
    return str(path.parent / case) if confirmed else ""


def case_of_file(path: Path) -> str:
    """Return the name of the case of an image file: without suffix and the number of its channel.

    The number 0000 is also that of a channel if no other file has the same name with another
    number, as in the folders of nnU-Net for images of one channel.
    """
    stem = split_ending(path.name)[0]
    case, number = split_channel(stem)
    alone = number == 0 and numbers_beside(path) <= {0}
    return case if alone or channel_group(path) else stem


def numbers_beside(path: Path) -> frozenset[int]:
    """Return the numbers of the files in the folder of a numbered file that differ only in it."""
    stem, ending = split_ending(path.name)
    return _numbered_cases(path.parent, ending).get(split_channel(stem)[0], frozenset())


def _numbered_cases(folder: Path, ending: str) -> dict[str, frozenset[int]]:
    """Return the numbers of the files of each case of a folder."""
    try:
        return _listed(folder, ending, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _listed(folder: Path, ending: str, version: int) -> dict[str, frozenset[int]]:
    """List a folder again only if it has changed, because names are asked for often."""
    found: dict[str, set[int]] = {}
    for path in listing(folder):
        stem, suffix = split_ending(path.name)
        case, number = split_channel(stem)
        if number is not None and suffix == ending:
            found.setdefault(case, set()).add(number)
    return {case: frozenset(numbers) for case, numbers in found.items()}


def _expected_channels(folder: Path) -> int | None:
    for name in (folder / "dataset.json", folder.parent / "dataset.json"):
        try:
            found = parse_json(read_regular(name))
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict):
            continue
        channels = found.get("channel_names", found.get("modality"))
        if isinstance(channels, dict | list) and channels:
            return len(channels)
    return None
