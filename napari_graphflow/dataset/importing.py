"""Import folders of images and masks as a dataset, completely or not at all.

Which cases are imported, and into which split:

- With splits, every listed case is imported. Of the other images, those without a mask become
  unlabelled training cases; those with a mask are left out, as in the splits.
- Without splits, a fifth of the labelled cases is drawn for test and a fifth for validation, with a
  fixed seed; all other cases are for training.

How the values of the masks are mapped:

- Class names come from the user, else from the name files of the masks or from the segments of
  DICOM segmentations, which are matched by name.
- Without class names, every value except 0 is a class, in ascending order.
- Binary masks (0 and 255, or 0 and 1) are background and foreground. If a mask contains 255 besides
  other classes, 255 is the value of unannotated voxels and becomes the class ``ignore`` of nnU-Net.
"""

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.case import SPLITS
from napari_graphflow.dataset.cases import Dataset, to_indices
from napari_graphflow.dataset.classes import Classes, Survey, choose_classes, read_mask
from napari_graphflow.dataset.findings import some_of
from napari_graphflow.dataset.sites import write_sites
from napari_graphflow.dataset.sources import Source, find_sources, read_splits
from napari_graphflow.dataset.sparse import find_sparse, without_empty_slices
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.imaging.formats.endings import FLAT, FORMATS, suffix
from napari_graphflow.imaging.formats.reading import sniff
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.destinations import WriteError, require_writable, saying_what_stands
from napari_graphflow.system.files import written_aside

Progress = Callable[[int, int], None]
EmptySlices = Literal["background", "ignore"]
#: Suffixes that nnU-Net reads and that are kept if all images share one.
_KEPT_SUFFIXES = (".nii.gz", ".nrrd", ".mha")
_CT_MAX_LOW = -500
_COPIED_PNG = {(8, 0), (16, 0), (8, 2)}


def import_dataset(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    name: str = "",
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str]] | None = None,
    classes: Mapping[str, int] | None = None,
    mask_suffix: str = "",
    empty_slices: EmptySlices = "background",
    colours: Mapping[str, str] | None = None,
    site_folders: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Import a folder of images and a folder of masks as a dataset in the nnU-Net v2 raw layout.

    Parameters
    ----------
    images
        Folder of volumes (NIfTI, NRRD, MetaImage) or 2D images (PNG, JPEG, TIFF, GIF, BMP, WebP).
        Channels in separate files are numbered ``_0000``, ``_0001``, ... before the suffix. A
        subfolder with a DICOM series is a case as well.
    masks
        Folder of masks with the names of their images, optionally extended (``a_seg.png`` for
        ``a.png``) and with another suffix; None if there are no masks. An image without a mask is
        unlabelled. A DICOM segmentation is a mask as well, as a file or in a folder with the name
        of its case.
    out
        Folder of the new dataset, which must be empty or not exist.
    name
        Name of the dataset; by default that of its folder.
    splits
        JSON file with the lists ``train``, ``val`` and ``test``, or these lists. ``FILE#KEY``
        selects the entry KEY of a file with several datasets.
    classes
        Name and mask value of each class; other values are refused. None uses the class names of
        the masks and all values that occur. ``ignore`` is the value of unannotated voxels.
    mask_suffix
        End of the mask names, if it cannot be inferred.
    empty_slices
        What the empty slices of masks mean that are drawn in some slices only, such as every
        fourth: ``background``, or ``ignore``.
    colours
        Colour of each class, such as ``#e6594c``, for display only.
    site_folders
        Whether the folders in `images` and in `masks` are sites (hospitals, scanners), each with
        the files of its cases. The names of the cases then begin with the site, and ``sites.csv``
        is written.
    progress
        Called with the number of finished steps and the total.

    Raises
    ------
    UserError
        If the images, masks, splits or classes do not fit; nothing is written then.
    """
    out = Path(out)
    require_writable([out])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out} already exists and is not an empty folder.", "Choose another folder."
        )
    given_splits = read_splits(splits)
    sources, record = find_sources(
        Path(images),
        None if masks is None else Path(masks),
        given_splits,
        mask_suffix,
        site_folders=site_folders,
    )
    advance = Steps(progress, sum(source.mask is not None for source in sources) + len(sources))
    survey = survey_masks(sources, advance)
    mapping = choose_classes(survey, classes)
    if survey.unnamed:
        record = {**record, "masks_without_names": survey.unnamed}

    with saying_what_stands(out, "Nothing was written, and the images are unchanged."):
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(out) as temporary:
            temporary.mkdir()
            writer = _Writer(temporary, mapping, sources, empty_slices)
            _for_each(sources, writer.write, advance)
            notes = {**record, **writer.notes()} | ({"colours": dict(colours)} if colours else {})
            if site_folders:
                notes["patients"] = {one.name: one.patient for one in sources}
                write_sites(temporary, {one.name: one.site for one in sources})
            writer.describe(name or out.name, notes)
            _verify(temporary, sources)
    return Dataset.open(out)


class Steps:
    """Count steps for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _for_each(
    sources: Sequence[Source], act: Callable[[Source], None], advance: Callable[[], None]
) -> None:
    """Process every case, and raise one error for all that failed.

    Raises
    ------
    UserError
        With the first error and the names of the other failed cases.
    """
    failed: list[tuple[str, UserError]] = []
    for source in sources:
        try:
            act(source)
        except WriteError:
            raise
        except UserError as error:
            failed.append((source.name, error))
        advance()
    if len(failed) == 1:
        case, first = failed[0]
        raise UserError(f"Case {case} cannot be imported: {first.text}", first.remedy)
    if failed:
        case, first = failed[0]
        others = ", ".join(other for other, _ in failed[1:6]) + (", …" if len(failed) > 6 else "")
        raise UserError(
            f"{len(failed)} cases cannot be imported ({case}, {others}). Case {case}: {first.text}",
            first.remedy,
        )


def survey_masks(sources: Sequence[Source], advance: Callable[[], None]) -> Survey:
    """Collect the values, class names and segments of all masks."""
    survey = Survey()

    def add(source: Source) -> None:
        assert source.mask is not None
        survey.add_mask(source.mask)

    _for_each([source for source in sources if source.mask is not None], add, advance)
    return survey


class _Writer:
    """Write cases one by one, so that only one is in memory."""

    def __init__(
        self, folder: Path, classes: Classes, sources: Sequence[Source], empty_slices: EmptySlices
    ) -> None:
        self.folder, self.classes, self.sources = folder, classes, sources
        self.empty_slices = empty_slices
        self.has_ignore = classes.ignore is not None
        self.ending = ""
        self.first: tuple[str, int, int] | None = None
        self.files = 0
        self.minima: list[float] = []
        self.warnings: dict[str, list[str]] = {}
        for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (folder / part).mkdir()

    def write(self, source: Source) -> None:
        """Check a case and write its image and mask."""
        volumes = [read_volume(path) for path in source.images]
        like = volumes[0]
        for path, other in zip(source.images, volumes, strict=True):
            if not other.same_grid(like, tolerance=0.1 * min(like.spacing)):
                raise UserError(
                    f"The channel {path.name} is not on the grid of the other channels.",
                    "Resample the channels to the same grid.",
                )
        self._check_case(source, volumes)
        self._note(source.name, [text for one in volumes for text in one.warnings])
        part = "Ts" if source.split == "test" else "Tr"
        if source.mask is not None:
            mask = read_mask(source.mask, like, self.classes)
            self._note(source.name, mask.warnings)
            labels = self._labels(mask, source.name)
            label = self.folder / f"labels{part}" / f"{source.name}{self.ending}"
            write_labels(label, labels, like)
        channel = 0
        for path, volume in zip(source.images, volumes, strict=True):
            for one in self._split(volume):
                target = self.folder / f"images{part}" / f"{source.name}_{channel:04d}{self.ending}"
                if one is volume and _as_stored(path, volume, self.ending):
                    _copy(path, target)
                else:
                    write_volume(target, one)
                channel += 1
        self.files = channel

    def _note(self, case: str, warnings: Iterable[str]) -> None:
        for text in dict.fromkeys(warnings):
            self.warnings.setdefault(text, []).append(case)

    def notes(self) -> dict[str, dict[str, list[str]]]:
        """Return the cases of each warning, for the record of the import."""
        return {"warnings": self.warnings} if self.warnings else {}

    def _labels(self, mask: Volume, case: str) -> NDArray[Any]:
        """Return the labels to store; slices that nobody annotated may be ignored."""
        labels = to_indices(mask.array, self.classes.indices, case)
        ignore = len(self.classes.values)
        if self.empty_slices == "background":
            return labels
        sparse = find_sparse(mask.with_array(np.where(labels == ignore, IGNORE, labels)))
        if sparse is None:
            return labels
        self.has_ignore = True
        return without_empty_slices(labels, sparse, ignore)

    def _check_case(self, source: Source, volumes: Sequence[Volume]) -> None:
        """Compare axes and channels with the first case, which also determines the format."""
        like = volumes[0]
        channels = sum(one.array.shape[-1] if one.channels else 1 for one in volumes)
        if self.first is None:
            self.first = (source.name, like.ndim, channels)
            self.ending = _choose_ending(self.sources, like)
        name, ndim, count = self.first
        if like.ndim != ndim:
            kinds = {2: "a 2D image", 3: "a volume"}
            raise UserError(
                f"{source.images[0].name} is {kinds[like.ndim]}, but {name} is {kinds[ndim]}.",
                "Import 2D images and volumes as two datasets.",
            )
        if channels != count:
            raise UserError(
                f"The case has {channels} channel{'s' * (channels > 1)}, but {name} has {count}.",
                "Use images with the same channels.",
            )
        self.minima.append(float(like.array.min()))

    def _split(self, volume: Volume) -> list[Volume]:
        """Split channels into volumes, except 2D colour images, which nnU-Net reads as one file."""
        if not volume.channels or self._natural:
            return [volume]
        last = np.moveaxis(volume.array, -1, 0)
        return [volume.with_array(np.ascontiguousarray(one)) for one in last]

    @property
    def _natural(self) -> bool:
        return self.ending in (".png", ".tif")

    def describe(self, name: str, record: Mapping[str, Any]) -> None:
        """Write ``dataset.json`` and ``splits.json``."""
        assert self.first is not None
        classes, count = self.classes, self.first[2]
        if self._natural and count == 3 and self.files == 1:
            channels = ["R", "G", "B"]
        elif count == 1:
            channels = ["CT" if max(self.minima) < _CT_MAX_LOW else "image"]
        else:
            channels = [f"channel {number}" for number in range(count)]
        labels = {one: index for index, one in enumerate(classes.names)}
        if self.has_ignore:
            labels["ignore"] = len(labels)
        listed = {
            one.name: {
                "images": [f"imagesTr/{one.name}_{i:04d}{self.ending}" for i in range(self.files)],
                "label": f"labelsTr/{one.name}{self.ending}",
            }
            for one in self.sources
            if one.mask is not None and one.split != "test"
        }
        original = dict(zip(classes.names, classes.values, strict=True))
        if classes.ignore is not None:
            original["ignore"] = classes.ignore
        description = {
            "name": name,
            "channel_names": {str(number): one for number, one in enumerate(channels)},
            "labels": labels,
            "numTraining": len(listed),
            "file_ending": self.ending,
            # nnU-Net trains on the listed cases only, so cases without a mask are not listed.
            "dataset": listed,
            "napari_graphflow": {"original_values": original, **record},
        }
        splits = {
            split: [one.name for one in self.sources if one.split == split] for split in SPLITS
        }
        for file, content in (("dataset.json", description), ("splits.json", splits)):
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            (self.folder / file).write_text(text, "utf-8")


def _choose_ending(sources: Sequence[Source], first: Volume) -> str:
    """Choose one suffix for all files: their own if suitable, else a default."""
    files = [path for source in sources for path in source.images]
    endings = {"" if path.is_dir() else suffix(path) for path in files}
    if len(endings) == 1 and endings <= set(_KEPT_SUFFIXES):
        return endings.pop()
    if first.ndim == 3 or not endings <= set(FLAT):
        return ".nii.gz"
    fits = first.array.dtype in ((np.uint8,) if first.channels else (np.uint8, np.uint16))
    colours = not first.channels or first.array.shape[-1] == 3
    return ".png" if fits and colours and first.spacing == (1.0, 1.0) else ".tif"


def _as_stored(path: Path, volume: Volume, ending: str) -> bool:
    """Whether a file can be copied unchanged: its format is kept and it caused no warning."""
    kind = "" if path.is_dir() else sniff(path)
    known = FORMATS[kind].endings if kind in FORMATS else ()
    if suffix(path) != ending or ending not in known or volume.warnings:
        return False
    if kind == "PNG":
        with path.open("rb") as file:
            start = file.read(26)
        return (start[24], start[25]) in _COPIED_PNG
    return ending in _KEPT_SUFFIXES and not volume.channels


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a link instead would change one file when the other is edited."""
    shutil.copyfile(source, target)
    if not filecmp.cmp(source, target, shallow=False):
        raise UserError(
            f"{source.name} was not copied correctly.", "Check the disks, and import again."
        )


def _verify(folder: Path, sources: Sequence[Source]) -> None:
    """Check that the new dataset has every case, with files that are there.

    Raises
    ------
    UserError
        If it has not, as on a disk that changes file names.
    """
    lost = [path.name for path in sorted(folder.rglob("*")) if path.is_symlink()]
    try:
        dataset = Dataset.open(folder)
    except UserError:
        lost.append("dataset.json")
    else:
        wanted = {(one.name, one.split, one.mask is not None) for one in sources}
        found = {(one.name, one.split, one.label is not None) for one in dataset.cases}
        lost += [name for name, _, _ in sorted(wanted ^ found)]
        files = [path for one in dataset.cases for path in one.images]
        lost += [path.name for path in files if not path.is_file()]
    if lost:
        raise UserError(
            f"{some_of(lost)} cannot be read back from the new dataset, so nothing was imported.",
            "Import to another disk.",
        )
