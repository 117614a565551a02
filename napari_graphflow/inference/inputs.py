"""The images to segment at some paths: files, channels in several files, DICOM series."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.dataset.cases import Case, read_case
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.channel_files import case_of_file
from napari_graphflow.imaging.class_names import names_file
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series, choose, has_dicom, list_series
from napari_graphflow.imaging.files import read_volume
from napari_graphflow.imaging.formats.endings import FLAT, IMAGES, split_channel, split_ending
from napari_graphflow.imaging.paths import companions, kind_of, user_errors
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import listing

#: Selects every series of a folder.
EVERY = "all"
_NAMED = 6
MANY = 10_000


@dataclass(frozen=True)
class ImageInput:
    """One image to segment.

    Attributes
    ----------
    name
        Name of the case, from which that of its mask is made.
    ending
        Suffix of the files; empty for a DICOM series.
    paths
        A file with all channels, one file per channel, or the folder of a DICOM series.
    series
        The DICOM series.
    problem
        Why it cannot be read.
    """

    name: str
    ending: str
    paths: tuple[Path, ...]
    series: Series | None = None
    problem: UserError | None = None

    @property
    def path(self) -> Path:
        """The first file, or the folder."""
        return self.paths[0]

    @property
    def is_dicom(self) -> bool:
        return self.series is not None or kind_of(self.path) == "DICOM"

    def files(self) -> list[Path]:
        """Return all files that are read."""
        if self.series is not None:
            return list(self.series.files)
        return [one for path in self.paths for one in (path, *companions(path))]

    def read(self) -> Volume:
        """Read the image; the channels of several files are its last axis."""
        if self.problem is not None:
            raise self.problem
        if self.series is not None:
            return read_series(self.series)
        if len(self.paths) == 1:
            return read_volume(self.path)
        return read_case(Case(self.name, self.paths, None, "test"))


def find_inputs(
    paths: Iterable[Path], channels: int, series: Sequence[str] = ()
) -> list[ImageInput]:
    """Find the images at some paths.

    Parameters
    ----------
    paths
        Files; prefixes of files per channel, such as ``CASE`` for ``CASE_0000.nii.gz``; folders of
        images; or folders of DICOM series.
    channels
        Number of channels of the model. With several, the files ``CASE_0000``, ``CASE_0001``, ...
        are the channels of one image.
    series
        Numbers or descriptions of the DICOM series to segment, or `EVERY`.

    Raises
    ------
    UserError
        If there is no image at a path, or a folder has several DICOM series and none was chosen.
    """
    found = [one for path in paths for one in _at(path, channels, tuple(series))]
    if not found:
        raise UserError("There are no images to segment.", "Choose image files or folders.")
    keys = {(one.paths, one.series.key if one.series else ""): one for one in found}
    return list(keys.values())


def channels_in_vain(inputs: Sequence[ImageInput]) -> str:
    """Return a warning if single files seem to be the channels of one case; empty if not."""
    groups: dict[str, list[int]] = {}
    for one in inputs:
        case, number = split_channel(_stem(one.path))
        if number is not None:
            groups.setdefault(case, []).append(number)
    cases = [name for name, numbers in groups.items() if numbers[:2] == [0, 1]]
    if not cases or len(cases) < len(groups):
        return ""
    return (
        f"The files {cases[0]}_0000, {cases[0]}_0001 look like the channels of one case, but the "
        "model has one channel, so each was segmented by itself."
    )


def masks_left_out(paths: Iterable[Path]) -> str:
    """Return a warning if folders hold masks that were written with class names; empty if not."""
    folders = (path for path in paths if path.is_dir())
    masks = [one for path in folders for one in _images(path) if _is_written_mask(one)]
    if not masks:
        return ""
    many = "files are masks" if len(masks) > 1 else "file is a mask"
    return f"{len(masks)} {many} with class names, such as {masks[0].name}, and left out."


def _images(folder: Path) -> list[Path]:
    return [p for p in listing(folder) if p.is_file() and split_ending(p.name, IMAGES)[1]]


def _is_written_mask(path: Path) -> bool:
    return names_file(path).is_file()


def _at(path: Path, channels: int, series: tuple[str, ...]) -> list[ImageInput]:
    if path.is_file():
        return _with_siblings(path, channels)
    if not path.is_dir():
        siblings = _channel_files(path.parent, path.name) if path.parent.is_dir() else []
        if not siblings:
            raise UserError(f"There is no file or folder {path}.", "Check the path.")
        return _grouped(siblings, channels)
    images = [one for one in _images(path) if not _is_written_mask(one)]
    with user_errors(path):
        # A folder of images is not searched for DICOM headers in vain.
        dicom = list_series(path) if series or not images or has_dicom(path, MANY) else []
    found = [one for one in dicom if not one.is_segmentation]
    if images and found and not series:
        raise UserError(
            f"The folder {path.name} contains {len(found)} DICOM series and other images, such as "
            f"{images[0].name}.",
            "Choose a series with --series, or give the files instead of the folder.",
        )
    if images and not series:
        return _grouped(images, channels)
    return _series_inputs(path, dicom, series)


def _series_inputs(folder: Path, dicom: list[Series], series: tuple[str, ...]) -> list[ImageInput]:
    images = [one for one in dicom if not one.is_segmentation]
    if not images:
        return [ImageInput(folder.resolve().name, "", (folder,))]  # reading it says what is wrong
    if series == (EVERY,):
        chosen = images
    elif len(images) > 1 and not series:
        listed = "; ".join(f"{dicom.index(one) + 1}: {one.summary()}" for one in images[:_NAMED])
        more = "; ..." if len(images) > _NAMED else ""
        raise UserError(
            f"The folder {folder.name} contains {len(images)} DICOM series: {listed}{more}.",
            "Choose some with --series, such as --series 1, or all with --series all.",
        )
    else:
        chosen = [choose(dicom, name) for name in series or ("",)]
    name = folder.resolve().name
    return [
        ImageInput(
            name if len(chosen) == 1 else f"{name}-{dicom.index(one) + 1}", "", (folder,), one
        )
        for one in chosen
    ]


def _with_siblings(path: Path, channels: int) -> list[ImageInput]:
    """Return the image of a file; of a model with several channels, with those beside it."""
    case, number = split_channel(_stem(path))
    if channels == 1 or number is None:
        return [_single(path)]
    return _grouped(_channel_files(path.parent, case), channels, only=path)


def _grouped(files: Sequence[Path], channels: int, only: Path | None = None) -> list[ImageInput]:
    """Group the files of the channels of an image; `only` keeps the image of one file."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        stem = split_channel(_stem(path))[0] if channels > 1 else _stem(path)
        groups.setdefault((stem, split_ending(path.name, IMAGES)[1]), []).append(path)
    found = [
        one
        for (stem, ending), group in groups.items()
        for one in _images_of(stem, ending, sorted(group), channels)
    ]
    return [one for one in found if only is None or only in one.paths]


def _images_of(stem: str, ending: str, group: list[Path], channels: int) -> list[ImageInput]:
    numbers = [number for path in group if (number := split_channel(_stem(path))[1]) is not None]
    if channels == 1 or not numbers:
        return [_single(path) for path in group]
    complete = numbers == list(range(channels))
    if complete and ending not in FLAT:
        return [ImageInput(stem, ending, tuple(group))]
    if _channel_count(group[0]) == channels:  # a numbered series of images with all channels
        return [_single(path) for path in group]
    problem = None
    if not complete:
        wanted = ", ".join(f"_{number:04}" for number in range(channels))
        problem = UserError(
            f"The model needs {channels} channels ({wanted}), but the case {stem} has "
            f"{len(group)} file{'s' * (len(group) > 1)}: {', '.join(p.name for p in group)}.",
            "Add the missing files, or choose another model.",
        )
    return [ImageInput(stem, ending, tuple(group), problem=problem)]


def _channel_count(path: Path) -> int:
    try:
        volume = read_volume(path)
    except UserError:
        return 0
    return volume.array.shape[-1] if volume.channels else 1


def _single(path: Path) -> ImageInput:
    stem, ending = split_ending(path.name, IMAGES)
    # nnU-Net names images CASE_0000 and masks CASE; its other channels keep their numbers.
    name = case_of_file(path) if split_channel(stem)[1] == 0 else stem
    return ImageInput(name, ending, (path,))


def _channel_files(folder: Path, stem: str) -> list[Path]:
    """Return the files STEM_0000, STEM_0001, ... of a folder."""
    return [
        path
        for path in listing(folder)
        if split_ending(path.name, IMAGES)[1]
        and (parts := split_channel(_stem(path)))[1] is not None
        and parts[0] == stem
    ]


def _stem(path: Path) -> str:
    return split_ending(path.name, IMAGES)[0]
