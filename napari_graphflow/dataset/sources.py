"""Find the cases in the folders of images and masks to import, and their splits."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_graphflow.dataset.case import SPLITS, Split
from napari_graphflow.dataset.names import (
    IMAGE_WORDS,
    MASK_WORDS,
    composed,
    patients,
    without_words,
)
from napari_graphflow.dataset.source_files import SourceFiles, find_files, find_files_of_sites
from napari_graphflow.dataset.splits import case_name, draw_patients, fold_of
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import split_channel
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

_SPLIT_ALIASES: dict[str, Split] = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "testing": "test",
    "target_test": "test",
}

_SHARE = 5


@dataclass(frozen=True)
class Source:
    """A case to be imported."""

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    split: Split
    site: str = ""
    patient: str = ""


def find_sources(
    images: Path,
    masks: Path | None,
    splits: Mapping[str, Split] | None,
    mask_suffix: str = "",
    *,
    site_folders: bool = False,
) -> tuple[list[Source], dict[str, list[str]]]:
    """Match images and masks by name, and assign a split to each case.

    Returns
    -------
    sources
        Sorted by name.
    record
        Names of images (``left_out``), masks (``masks_without_image``) and other files
        (``not_used``, with the reason) that are not imported.
    """
    find = find_files_of_sites if site_folders else find_files
    shown = find(images, "image")
    given = SourceFiles() if masks is None else find(masks, "mask")
    mask_files = given.files
    if mask_suffix:
        mask_files = {
            name.removesuffix(mask_suffix): path
            for name, path in mask_files.items()
            if name.endswith(mask_suffix)
        }
    if {one.resolve() for one in mask_files.values()} & {
        one.resolve() for one in shown.files.values()
    }:
        raise UserError(
            f"Images and masks are in the same folder, {images}, so each image would be its own "
            "mask.",
            "Move the masks to a separate folder.",
        )
    channels = _join_channels(shown.files, {*mask_files, *(splits or {})})
    matched = _match(channels, mask_files)
    sites = {
        name: composed(files[0].relative_to(images).parts[0]) if site_folders else ""
        for name, files in channels.items()
    }
    patient = _patients(sites)
    chosen = _draw_splits(patient, matched) if splits is None else dict(splits)
    missing = sorted(set(chosen) - set(channels))
    if missing:
        raise UserError(
            f"The splits list {len(missing)} case{'s' * (len(missing) > 1)} without an image in "
            f"{images}, such as {missing[0]}.",
            "Check that the splits belong to these images.",
        )
    for name in channels:
        if name not in chosen and name not in matched:
            chosen[name] = "train"
    record = {
        "left_out": [name for name in channels if name not in chosen],
        "masks_without_image": sorted(
            path.name for path in set(given.files.values()) - set(matched.values())
        ),
        "not_used": [
            f"{folder.name}/{name} ({reason})"
            for folder, some in ((images, shown), (masks or images, given))
            for name, reason in some.unused.items()
        ],
    }
    sources = [
        Source(name, tuple(files), matched.get(name), chosen[name], sites[name], patient[name])
        for name, files in channels.items()
        if name in chosen
    ]
    return sources, {key: names for key, names in record.items() if names}


def read_splits(
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str]] | None,
) -> dict[str, Split] | None:
    """Read splits and return the split of each case.

    Raises
    ------
    UserError
        If the file is not a list of splits, or lists a case in two of them.
    """
    if splits is None:
        return None
    content, where = (
        (splits, "The splits") if isinstance(splits, Mapping) else _load_splits(os.fspath(splits))
    )
    result: dict[str, Split] = {}
    for word, names in content.items():
        split = _SPLIT_ALIASES.get(word, word)
        if split not in SPLITS or not isinstance(names, list | tuple | set):
            raise UserError(
                f"{where}: “{word}” is not a list of cases for train, val or test.",
                'Write {"train": [...], "val": [...], "test": [...]}.',
            )
        for name in map(case_name, sorted(names)):
            if result.setdefault(name, split) != split:
                raise UserError(
                    f"{where}: the case {name} is in both {result[name]} and {split}.",
                    "List each case once.",
                )
    return result


def _load_splits(text: str) -> tuple[Mapping[str, Any], str]:
    path, key = Path(text), ""
    if "#" in text and not path.exists():
        file, _, key = text.rpartition("#")
        path = Path(file)
    try:
        content = parse_json(read_regular(path))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path of the splits.") from None
    except (OSError, ValueError):
        raise UserError(f"{path} is not a JSON file of splits.", "Choose another file.") from None
    if isinstance(content, list) and (not key or key.isdigit()):
        fold = int(key or 0)
        lists = fold_of(content, fold, path)
        return {str(split): names for split, names in lists.items()}, f"Fold {fold} of {path.name}"
    several = isinstance(content, dict) and all(isinstance(one, dict) for one in content.values())
    if several and key not in content:
        raise UserError(
            f"{path} contains splits of several datasets: {', '.join(content)}.",
            f"Choose one of them, such as {path}#{next(iter(content), 'NAME')}.",
        )
    if not isinstance(content, dict) or (key and not several):
        raise UserError(
            f"{path} contains no splits{f' of {key}' if key else ''}.",
            'Write {"train": [...], "val": [...], "test": [...]} with names of cases.',
        )
    return (content[key], f"{path.name}#{key}") if several else (content, path.name)


def _join_channels(files: Mapping[str, Path], known: Iterable[str]) -> dict[str, list[Path]]:
    """Return files by case; _0000, _0001, ... at the end of a name are channel numbers.

    Numbered 2D images look the same, so the number is read as a channel only if masks or splits
    use the case name without it, or if every number is 0000.
    """
    numbered = [split_channel(name) for name in files]
    numbers, known = {number for _, number in numbered}, set(known)
    if None in numbers or known & set(files):
        return {name: [path] for name, path in files.items()}
    cases: dict[str, list[Path]] = {}
    channels: dict[str, list[int]] = {}
    for (case, number), path in zip(numbered, files.values(), strict=True):
        assert number is not None
        cases.setdefault(case, []).append(path)
        channels.setdefault(case, []).append(number)
    if known & set(cases) or numbers == {0}:
        _refuse_other_channels(channels)
        return cases
    return {name: [path] for name, path in files.items()}


def _refuse_other_channels(numbers: Mapping[str, Sequence[int]]) -> None:
    """Refuse cases whose channels have other numbers than those of the first case."""
    first, expected = next((name, sorted(some)) for name, some in numbers.items())
    for name, some in numbers.items():
        if sorted(some) != expected:
            raise UserError(
                f"{name} has the channels {_listed(sorted(some))}, but {first} has "
                f"{_listed(expected)}.",
                "Give every case the same channels, with the same numbers.",
            )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:04}" for number in numbers)


def _match(cases: Mapping[str, Any], masks: Mapping[str, Path]) -> dict[str, Path]:
    """Find the mask of each case, by the same name, apart from words such as ``_seg`` or ``mask-``.

    Any other word may mean another scan of the patient, so it is not guessed.
    """
    plain: dict[str, set[str]] = {}
    for name in cases:
        for part in without_words(name, IMAGE_WORDS):
            plain.setdefault(part, set()).add(name)
    folded = {composed(name).casefold(): name for name in cases}
    matched = {name: masks[name] for name in cases if name in masks}
    for name, path in masks.items():
        if name in matched:
            continue
        parts = without_words(name, MASK_WORDS)
        owners = [{folded[part]} if part in folded else plain.get(part, set()) for part in parts]
        owner = next((next(iter(found)) for found in owners if len(found) == 1), None)
        if owner is None:
            continue
        if owner in matched:
            raise UserError(
                f"Both {matched[owner].name} and {path.name} could be the mask of {owner}.",
                "Set mask_suffix to the end of the mask names.",
            )
        matched[owner] = path
    if masks and not matched:
        raise UserError(
            f"None of the {len(masks)} masks has the name of an image (such as the mask "
            f"{next(iter(masks))} and the image {next(iter(cases))}).",
            "Give each mask the name of its image, or set mask_suffix to the end of their names.",
        )
    return matched


def _patients(sites: Mapping[str, str]) -> dict[str, str]:
    """Return the patient of each case; equal names at two sites are two patients."""
    found: dict[str, str] = {}
    for site in sorted({*sites.values()}):
        start = f"{site}_" if site else ""
        names = patients(name.removeprefix(start) for name, one in sites.items() if one == site)
        found |= {f"{start}{name}": f"{start}{one}" for name, one in names.items()}
    return found


def _draw_splits(patient: Mapping[str, str], matched: Mapping[str, Path]) -> dict[str, Split]:
    """Draw a fifth of the patients with masks for test and for validation; train on the rest.

    All cases of a patient are on one side, also those without a mask.
    """
    labelled = {patient[name] for name in matched}
    test = len(labelled) // _SHARE
    val = max(test, int(len(labelled) > 1))
    order = draw_patients(labelled, test + val)
    chosen: dict[str, Split] = dict.fromkeys(patient, "train")
    for name, one in patient.items():
        if one in order:
            chosen[name] = "test" if one in order[:test] else "val"
    return chosen
