"""The images or masks in a folder to import, by name; what cannot be used is counted and said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_graphflow.dataset.findings import are, counted, some_of
from napari_graphflow.dataset.names import composed
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import has_dicom, list_series
from napari_graphflow.imaging.formats.endings import FORMATS, IMAGES, split_ending, suffix
from napari_graphflow.system.files import listing

Kind = Literal["image", "mask"]
#: Files beside images and masks: voxels of a header, and descriptions.
_BESIDE = (*(end for one in FORMATS.values() for end in one.data), ".raw", ".zraw", ".json")
_CONVERT = "Convert them to NIfTI, NRRD or MetaImage."
_CHOOSE_ONE = "Choose one of these folders or, if each is a site, import them as sites."


@dataclass(frozen=True)
class SourceFiles:
    """The files of a folder.

    Attributes
    ----------
    files
        The file, or the folder with a DICOM series, by name without suffix.
    unused
        Why a file is not used, by its name.
    """

    files: dict[str, Path] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)


def find_files(folder: Path, kind: Kind) -> SourceFiles:
    """List the images or masks in a folder, or one in each of its folders.

    Raises
    ------
    UserError
        If there is none, two have the same name, or a link leads nowhere.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    paths = listing(folder)
    _refuse_dangling(folder, paths)
    found = SourceFiles()
    nested: list[Path] = []
    dicom: Callable[[Path], Path | None] = _segmentation if kind == "mask" else _series
    for path in paths:
        if path.is_file() and suffix(path) in IMAGES:
            _add(found, folder, split_ending(path.name)[0], path)
        elif file := dicom(path):
            _add(found, folder, path.name if path.is_dir() else split_ending(path.name)[0], file)
        elif path.is_dir():
            nested.append(path)
        elif not path.name.lower().endswith(_BESIDE):
            found.unused[path.name] = _reason(path, kind)
    # Beside images, a folder of images is more likely another data set than a case.
    alone = not any(path.is_file() and suffix(path) in IMAGES for path in found.files.values())
    _add_nested(found, folder, nested, kind, alone)
    if not found.files:
        raise _nothing(folder, kind, found)
    return found


def find_files_of_sites(folder: Path, kind: Kind) -> SourceFiles:
    """List the images or masks in the folders of a folder, each of which is a site.

    Names begin with the site, because two hospitals may number their patients alike.

    Raises
    ------
    UserError
        If there is no folder with images in it, or as for `find_files`.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    found = SourceFiles()
    for path in listing(folder):
        if not path.is_dir():
            found.unused[path.name] = "in no folder of a site"
            continue
        inside = find_files(path, kind)
        for name, file in inside.files.items():
            _add(found, folder, f"{path.name}_{name}", file)
        found.unused.update({f"{path.name}/{name}": why for name, why in inside.unused.items()})
    if not found.files:
        raise UserError(
            f"The folder {folder} contains no folders of sites.",
            f"Put the {kind}s of each site into a folder with its name.",
        )
    return found


def _add_nested(
    found: SourceFiles, folder: Path, nested: list[Path], kind: Kind, alone: bool
) -> None:
    for path in nested:
        inside = _images_below(path)
        if alone and len(inside) == 1:
            _add(found, folder, path.name, inside[0])
        elif inside:
            found.unused[path.name] = f"contains {counted(len(inside), kind)}"
        else:
            found.unused[path.name] = f"contains no {kind} of a supported format"


def _images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and in those below it."""
    found: list[Path] = []
    for path in listing(folder):
        if path.is_dir():
            found += _images_below(path)
        elif path.is_file() and suffix(path) in IMAGES:
            found.append(path)
    return found


def _add(found: SourceFiles, folder: Path, name: str, file: Path) -> None:
    name = composed(name)
    same = {one.casefold(): one for one in found.files}.get(name.casefold())
    if same is not None:
        capitals = "" if same == name else ", apart from capital letters"
        raise UserError(
            f"{file.name} and {found.files[same].name} in {folder} have the same name{capitals}.",
            "Remove or rename one of them.",
        )
    found.files[name] = file


def _refuse_dangling(folder: Path, paths: list[Path]) -> None:
    lost = [path.name for path in paths if path.is_symlink() and not path.exists()]
    if lost:
        raise UserError(
            f"{counted(len(lost), 'file')} in {folder} {are(len(lost))} only "
            f"link{'s' * (len(lost) > 1)} to files that are not there: {some_of(lost)}.",
            "Fetch the files, for example with “datalad get”, or correct the links.",
        )


def _nothing(folder: Path, kind: Kind, found: SourceFiles) -> UserError:
    if kind == "image" and has_dicom(folder):
        return UserError(
            f"The folder {folder} contains DICOM slices instead of one folder per case.",
            "Move each series to a separate folder with the name of its case.",
        )
    if found.unused:
        reasons = sorted(set(found.unused.values()))
        folders = all((folder / name).is_dir() for name in found.unused)
        return UserError(
            f"The folder {folder} contains no {kind}s that can be used: "
            f"{some_of(list(found.unused))} ({'; '.join(reasons)}).",
            _CHOOSE_ONE
            if folders and any("contains no" not in one for one in reasons)
            else _CONVERT,
        )
    return UserError(
        f"The folder {folder} contains no {kind}s.",
        f"Choose a folder with files of type {', '.join(IMAGES)}.",
    )


def _reason(path: Path, kind: Kind) -> str:
    if has_dicom(path):
        return "a single DICOM slice" if kind == "image" else "DICOM without segments"
    return "format not supported"


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
