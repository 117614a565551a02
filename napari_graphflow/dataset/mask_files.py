"""Which file of a folder of masks is of which case, by their names."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from napari_graphflow.dataset.findings import counted, some_of
from napari_graphflow.dataset.names import composed
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import READ, split_ending
from napari_graphflow.system.files import listing

#: Ends of the names of masks that some programs add to the name of the case.
_ADDED = ("", ".seg", "_seg", "_0000")
#: Folder of the masks in a case's folder of the data set of TotalSegmentator.
_INNER = "segmentations"


def segmentation(folder: Path) -> Path | None:
    """Return the only DICOM segmentation in a folder, or None."""
    from napari_graphflow.imaging.dicom.series import has_dicom, list_series  # slow to import

    series = list_series(folder) if has_dicom(folder) else []
    found = [one.files[0] for one in series if one.is_segmentation]
    return found[0] if len(found) == 1 else None


def is_mask(path: Path) -> bool:
    """Whether a file may be a mask, by its name."""
    return bool(split_ending(path.name, READ)[1])


def prediction_of_case(folder: Path) -> Path | None:
    """Return what a folder of a case holds: a DICOM segmentation, or a mask per structure."""
    if found := segmentation(folder):
        return found
    inner = folder / _INNER
    folder = inner if inner.is_dir() else folder
    return folder if any(map(is_mask, listing(folder))) else None


def has_masks(folder: Path) -> bool:
    """Whether a folder holds masks, or folders of masks."""
    return any(prediction_of_case(one) if one.is_dir() else is_mask(one) for one in listing(folder))


def is_nnunet_training(folder: Path) -> bool:
    """Whether a folder is that of a training by nnU-Net v2.

    Its predictions have ``plans.json`` and ``dataset.json`` beside them, too, but no folds.
    """
    described = all((folder / name).is_file() for name in ("plans.json", "dataset.json"))
    return described and (any(folder.glob("fold_*")) or not has_masks(folder))


def match_masks(
    folder: Path,
    cases: Sequence[str],
    of_folder: Callable[[Path], Path | None] = segmentation,
) -> tuple[dict[str, Path], list[str]]:
    """Find the mask of each case.

    Parameters
    ----------
    folder
        Masks named like the cases, in any format.
    cases
        Names of the cases.
    of_folder
        Returns the mask that a folder inside holds, or None.

    Returns
    -------
    files, left
        The mask of each case, and the names of those of none.

    Raises
    ------
    UserError
        If a case has no mask or several.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in listing(folder):
        if path.is_dir():
            stem, file = composed(path.name), of_folder(path)
        else:
            stem, ending = split_ending(composed(path.name), READ)
            file = path if ending else None
        if file is not None:
            by_stem.setdefault(stem, []).append(file)
    exact = {case for case in cases if case in by_stem}
    found: dict[str, list[Path]] = {}
    for case in cases:
        ends = _ADDED[:1] if case in exact else _ADDED[1:]
        found[case] = [
            path
            for end in ends
            if (stem := case + end) not in exact - {case}
            for path in by_stem.get(stem, [])
        ]
    _refuse(folder, found, lambda paths: not paths, "no mask")
    _refuse(folder, found, lambda paths: len(paths) > 1, "several masks")
    files = {case: paths[0] for case, paths in found.items()}
    left = [path.name for paths in by_stem.values() for path in paths if path not in files.values()]
    return files, sorted(left)


def _refuse(
    folder: Path,
    found: Mapping[str, Sequence[Path]],
    wrong: Callable[[Sequence[Path]], bool],
    what: str,
) -> None:
    cases = [case for case, paths in found.items() if wrong(paths)]
    if cases:
        raise UserError(
            f"{folder} contains {what} for {len(cases)} of {counted(len(found), 'case')}: "
            f"{some_of(cases)}.",
            "Write one mask per case, with the name of the case.",
        )
