"""Find the cases in the folders of images and masks to import, and their splits."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.dataset.case import SPLITS, Split
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import has_dicom, list_series
from napari_graphflow.imaging.formats.endings import IMAGES, split_ending, suffix

_SPLIT_ALIASES: dict[str, Split] = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "testing": "test",
    "target_test": "test",
}

_SHARE = 5
_SEED = 0


@dataclass(frozen=True)
class Source:
    """A case to be imported."""

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    split: Split


def find_sources(
    images: Path, masks: Path | None, splits: Mapping[str, Split] | None, mask_suffix: str = ""
) -> tuple[list[Source], dict[str, list[str]]]:
    """Match images and masks by name, and assign a split to each case.

    Returns
    -------
    sources
        Sorted by name.
    record
        Names of images (``left_out``) and masks (``masks_without_image``) that are not imported.
    """
    mask_files = {} if masks is None else _by_stem(masks, _segmentation)
    if mask_suffix:
        mask_files = {
            name.removesuffix(mask_suffix): path
            for name, path in mask_files.items()
            if name.endswith(mask_suffix)
        }
    image_files = _by_stem(images, _series)
    if {one.resolve() for one in mask_files.values()} & {
        one.resolve() for one in image_files.values()
    }:
        raise UserError(
            f"Images and masks are in the same folder, {images}, so each image would be its own "
            "mask.",
            "Move the masks to a separate folder.",
        )
    if not image_files and has_dicom(images):
        raise UserError(
            f"The folder {images} contains DICOM slices instead of one folder per case.",
            "Move each series to a separate folder with the name of its case.",
        )
    if not image_files:
        raise UserError(
            f"The folder {images} contains no images.",
            f"Choose a folder with files of type {', '.join(IMAGES)}.",
        )
    channels = _join_channels(image_files, {*mask_files, *(splits or {})})
    matched = _match(channels, mask_files)
    chosen = _draw_splits(channels, matched) if splits is None else dict(splits)
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
            path.name for path in set(mask_files.values()) - set(matched.values())
        ),
    }
    sources = [
        Source(name, tuple(files), matched.get(name), chosen[name])
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
        if split not in SPLITS or not isinstance(names, list | tuple):
            raise UserError(
                f"{where}: “{word}” is not a list of cases for train, val or test.",
                'Write {"train": [...], "val": [...], "test": [...]}.',
            )
        for name in (split_ending(str(one), IMAGES)[0] for one in names):
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
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path of the splits.") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path} is not a JSON file of splits.", "Choose another file.") from None
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


def _by_stem(folder: Path, dicom: Callable[[Path], Path | None]) -> dict[str, Path]:
    """Return files by case name; `dicom` returns the file or folder to use of a DICOM path."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        known = path.is_file() and suffix(path) in IMAGES
        file = path if known else dicom(path)
        if file is None:
            continue
        if (name := path.name if path.is_dir() else split_ending(path.name)[0]) in found:
            raise UserError(
                f"{path.name} and {found[name].name} in {folder} have the same name.",
                "Remove one of them.",
            )
        found[name] = file
    return found


def _series(path: Path) -> Path | None:
    """Return a DICOM folder, which is the image of a case, else None."""
    return path if path.is_dir() and has_dicom(path) else None


def _segmentation(path: Path) -> Path | None:
    """Return the DICOM segmentation of a file or folder, else None."""
    if not has_dicom(path):
        return None
    files = {one.files[0] for one in list_series(path) if one.is_segmentation}
    if len(files) > 1:
        raise UserError(
            f"The folder {path} contains {len(files)} DICOM segmentations.", "Keep one per case."
        )
    return next(iter(files), None)


def _join_channels(files: Mapping[str, Path], known: Iterable[str]) -> dict[str, list[Path]]:
    """Return files by case; _0000, _0001, ... at the end of a name are channel numbers.

    Numbered 2D images look the same, so the number is read as a channel only if masks or splits
    use the case name without it, or if every number is 0000.
    """
    numbered = [re.fullmatch(r"(.+)_(\d{4})", name) for name in files]
    known = set(known)
    if not all(numbered) or known & set(files):
        return {name: [path] for name, path in files.items()}
    cases: dict[str, list[Path]] = {}
    for match, path in zip(numbered, files.values(), strict=True):
        assert match is not None
        cases.setdefault(match[1], []).append(path)
    if known & set(cases) or all(match is not None and match[2] == "0000" for match in numbered):
        return cases
    return {name: [path] for name, path in files.items()}


def _match(cases: Mapping[str, Any], masks: Mapping[str, Path]) -> dict[str, Path]:
    """Find the mask of each case, by the same name or one that starts with it."""
    plain = {re.sub(r"[-_. ](image|img)$", "", name): name for name in cases}
    matched = {name: masks[name] for name in cases if name in masks}
    for name, path in masks.items():
        if name in matched:
            continue
        parts = (name[: match.start()] for match in re.finditer(r"[-_. ]", name))
        part = max((part for part in parts if part in plain), key=len, default=None)
        if part is None:
            continue
        owner = plain[part]
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
            "Give each mask the name of its image.",
        )
    return matched


def _draw_splits(cases: Iterable[str], matched: Mapping[str, Path]) -> dict[str, Split]:
    """Draw a fifth of the labelled cases for test and a fifth for validation; train on the rest."""
    chosen: dict[str, Split] = dict.fromkeys(cases, "train")
    labelled = sorted(matched)
    order = np.random.default_rng(_SEED).permutation(len(labelled))
    test = len(labelled) // _SHARE
    val = max(test, int(len(labelled) > 1))
    for rank, index in enumerate(order[: test + val]):
        chosen[labelled[index]] = "test" if rank < test else "val"
    return chosen
