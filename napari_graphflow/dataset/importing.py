"""From folders of images and masks to a dataset, or to nothing at all.

Which cases go in, and where:

- With splits given, every case that they name goes in. Of the images that they do not name, those
  without a mask go in as unlabelled training cases; those with a mask are left out, because whoever
  wrote the splits left them out.
- Without splits, a fifth of the labelled cases is drawn for the test and a fifth for the
  validation, always the same ones; everything else is for training.

What becomes of the values of the masks:

- Names of classes come from the user, or else from what lies beside the masks, or from the segments
  of DICOM segmentations, whose numbers are each program's own.
- Without any, every value but 0 is a class, in ascending order.
- Masks of two values, each 0 and 255 or 0 and 1, mean background and foreground. Where a mask holds
  255 beside other classes, it means "nobody has judged" and becomes nnU-Net's class ``ignore``.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.dataset.cases import SPLITS, Dataset, to_indices
from napari_graphflow.dataset.classes import Classes, Survey, choose_classes, read_mask
from napari_graphflow.dataset.sources import Source, find_sources, read_splits
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.imaging.formats import sniff
from napari_graphflow.imaging.formats.endings import FLAT, FORMATS, suffix
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import written_aside

Progress = Callable[[int, int], None]


#: Endings that nnU-Net reads and that are kept where all images share one.
_KEPT = (".nii.gz", ".nrrd", ".mha")


_CT_REACHES = -500


_PLAIN_PNG = {(8, 0), (16, 0), (8, 2)}


def import_dataset(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    name: str = "",
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str]] | None = None,
    classes: Mapping[str, int] | None = None,
    mask_suffix: str = "",
    progress: Progress | None = None,
) -> Dataset:
    """Turn a folder of images and a folder of masks into a dataset in the nnU-Net v2 raw layout.

    Parameters
    ----------
    images
        Folder of volumes (NIfTI, NRRD, MetaImage) or 2D images (PNG, JPEG, TIFF, GIF, BMP, WebP).
        Channels in files of their own end in ``_0000``, ``_0001``, ... before the ending. A folder
        in it with a DICOM series is a case as well.
    masks
        Folder of masks, named as their images, perhaps with more at the end (``a_seg.png`` for
        ``a.png``) and another ending; None if there are none. An image without a mask is
        unlabelled. A DICOM segmentation is a mask as well, alone or in a folder named as its case.
    out
        Folder of the new dataset. It must not exist, or be empty.
    name
        Name of the dataset; that of its folder where empty.
    splits
        JSON file with the lists ``train``, ``val`` and ``test``; ``FILE#KEY`` takes the entry KEY
        of a file with several datasets. Or such lists themselves.
    classes
        Name and value in the masks of each class; values that are not named are refused. None takes
        the names that lie beside the masks and all values that occur. ``ignore`` names the value of
        voxels that nobody has judged.
    mask_suffix
        What names of masks have at the end, where it cannot be told by itself.
    progress
        Called with the number of steps done and their total.

    Raises
    ------
    UserError
        If anything does not fit; nothing is left behind then.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"There is already something at {out}.", "Choose another folder.")
    wanted = read_splits(splits)
    sources, record = find_sources(
        Path(images), None if masks is None else Path(masks), wanted, mask_suffix
    )
    tell = _Steps(progress, sum(source.mask is not None for source in sources) + len(sources))
    meaning = choose_classes(_survey_masks(sources, tell, classes is not None), classes)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(out) as aside:
            aside.mkdir()
            writer = _Writer(aside, meaning, sources)
            _for_each(sources, writer.write, tell)
            writer.describe(name or out.name, record)
            Dataset.open(aside)
    except OSError as error:
        raise UserError(
            f"The dataset cannot be written to {out}: {error.strerror or error}.",
            "Choose another folder or free some space.",
        ) from None
    return Dataset.open(out)


class _Steps:
    """Counts steps for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _for_each(
    sources: Sequence[Source], act: Callable[[Source], None], tell: Callable[[], None]
) -> None:
    """Do something with every case, and speak of all that failed in one sentence."""
    failed: list[tuple[str, UserError]] = []
    for source in sources:
        try:
            act(source)
        except UserError as error:
            failed.append((source.name, error))
        tell()
    if len(failed) == 1:
        case, first = failed[0]
        raise UserError(f"Case {case} cannot be imported: {first.text}", first.remedy)
    if failed:
        case, first = failed[0]
        others = ", ".join(other for other, _ in failed[1:6]) + (", …" if len(failed) > 6 else "")
        raise UserError(
            f"{len(failed)} cases cannot be imported ({case}, {others}); of {case}: {first.text}",
            first.remedy,
        )


def _survey_masks(sources: Sequence[Source], tell: Callable[[], None], named: bool) -> Survey:
    """What occurs in the masks."""
    survey = Survey()

    def look(source: Source) -> None:
        assert source.mask is not None
        survey.look_at(source.mask, named)

    _for_each([source for source in sources if source.mask is not None], look, tell)
    return survey


class _Writer:
    """Writes cases one after the other, so that only one is in memory."""

    def __init__(self, folder: Path, classes: Classes, sources: Sequence[Source]) -> None:
        self.folder, self.classes, self.sources = folder, classes, sources
        self.ending = ""
        self.first: tuple[str, int, int] | None = None
        self.files = 0
        self.reaches: list[float] = []
        for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (folder / part).mkdir()

    def write(self, source: Source) -> None:
        """Check a case and write it."""
        volumes = [read_volume(path) for path in source.images]
        like = volumes[0]
        for path, other in zip(source.images, volumes, strict=True):
            if not other.same_grid(like, tolerance=0.1 * min(like.spacing)):
                raise UserError(
                    f"The channel {path.name} does not lie on the grid of the others.",
                    "Resample its channels to one grid.",
                )
        self._compare(source, volumes)
        part = "Ts" if source.split == "test" else "Tr"
        if source.mask is not None:
            mask = read_mask(source.mask, like, self.classes)
            labels = to_indices(mask.array, self.classes.indices, source.name)
            label = self.folder / f"labels{part}" / f"{source.name}{self.ending}"
            write_labels(label, labels, like)
        channel = 0
        for path, volume in zip(source.images, volumes, strict=True):
            for one in self._split(volume):
                target = self.folder / f"images{part}" / f"{source.name}_{channel:04d}{self.ending}"
                if one is volume and _as_stored(path, volume, self.ending):
                    _link(path, target)
                else:
                    write_volume(target, one)
                channel += 1
        self.files = channel

    def _compare(self, source: Source, volumes: Sequence[Volume]) -> None:
        """Hold a case against the first one, which also decides on the format."""
        like = volumes[0]
        channels = sum(one.array.shape[-1] if one.channels else 1 for one in volumes)
        if self.first is None:
            self.first = (source.name, like.ndim, channels)
            self.ending = _choose_ending(self.sources, like)
        name, ndim, count = self.first
        if like.ndim != ndim:
            kinds = {2: "a 2D picture", 3: "a volume"}
            raise UserError(
                f"{source.images[0].name} is {kinds[like.ndim]}, but {name} is {kinds[ndim]}.",
                "Import pictures and volumes as two datasets.",
            )
        if channels != count:
            raise UserError(
                f"The case has {channels} channel{'s' * (channels > 1)}, but {name} has {count}.",
                "Give all images the same channels.",
            )
        self.reaches.append(float(like.array.min()))

    def _split(self, volume: Volume) -> list[Volume]:
        """Files of one channel each, but for pictures in colour, which nnU-Net reads from one."""
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
            channels = ["CT" if max(self.reaches) < _CT_REACHES else "image"]
        else:
            channels = [f"channel {number}" for number in range(count)]
        labels = {one: index for index, one in enumerate(classes.names)}
        if classes.ignore is not None:
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
            # nnU-Net takes these as its training cases and passes over those without a mask.
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
    """One ending for all files of the dataset: theirs where it is fit, or the usual one."""
    files = [path for source in sources for path in source.images]
    endings = {"" if path.is_dir() else suffix(path) for path in files}
    if len(endings) == 1 and endings <= set(_KEPT):
        return endings.pop()
    if first.ndim == 3 or not endings <= set(FLAT):
        return ".nii.gz"
    fits = first.array.dtype in ((np.uint8,) if first.channels else (np.uint8, np.uint16))
    colours = not first.channels or first.array.shape[-1] == 3
    return ".png" if fits and colours and first.spacing == (1.0, 1.0) else ".tif"


def _as_stored(path: Path, volume: Volume, ending: str) -> bool:
    """Whether the bytes of a file can stay: it was read as it is, without a remark."""
    kind = "" if path.is_dir() else sniff(path)
    known = FORMATS[kind].endings if kind in FORMATS else ()
    if suffix(path) != ending or ending not in known or volume.warnings:
        return False
    if kind == "PNG":
        with path.open("rb") as file:
            start = file.read(26)
        return (start[24], start[25]) in _PLAIN_PNG
    return ending in _KEPT and not volume.channels


def _link(source: Path, target: Path) -> None:
    """Share the bytes where the disk allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
