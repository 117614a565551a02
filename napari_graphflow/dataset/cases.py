"""A dataset on disk: its cases, masks, classes and splits.

The layout is the raw one of nnU-Net v2 (``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``,
``dataset.json``), plus ``splits.json`` with the cases of ``train``, ``val`` and ``test``. A case
without a mask is unlabelled. The ``dataset.json`` of the Medical Segmentation Decathlon is read as
well.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.statuses import HELD_BACK, recorded_statuses
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.paths import companions
from napari_graphflow.imaging.volume import Volume

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
LARGEST_VALUE = 65535


@dataclass(frozen=True)
class Case:
    """One scan or 2D image, with its mask if labelled.

    Attributes
    ----------
    name
        File name without channel number and suffix.
    images
        One file per channel, or a single file with all channels.
    label
        The mask, or None if the case is unlabelled.
    split
        Split of the case.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    split: Split


@dataclass(frozen=True)
class Dataset:
    """A folder of cases.

    Attributes
    ----------
    folder
        Folder of the dataset.
    name
        Name of the dataset.
    classes
        Class index 0..K-1 by name; the background is 0.
    channel_names
        Names of the image channels, in order.
    file_ending
        Suffix of images and masks, such as ``.nii.gz``.
    cases
        All cases that may be used, training cases first.
    values
        Stored label value of each class, by class index.
    ignore
        Stored value of the ignore label, or None.
    record
        Record of the import: ``original_values`` by class, and names of omitted files.
    held_back
        Flagged and excluded cases, which are used for nothing.
    reference, licence
        Where the images come from, and their licence; empty if not stated.
    """

    folder: Path
    name: str
    classes: dict[str, int]
    channel_names: tuple[str, ...]
    file_ending: str
    cases: tuple[Case, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    held_back: tuple[Case, ...] = ()
    reference: str = ""
    licence: str = ""

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Read ``dataset.json`` and list the cases, without opening images.

        Raises
        ------
        UserError
            If the folder is not a dataset, or its ``dataset.json`` is not valid.
        """
        folder = Path(folder)
        description = _read_json(folder / "dataset.json")
        if not isinstance(description, dict) or "labels" not in description:
            raise UserError(
                f"{folder / 'dataset.json'} does not describe a dataset: it has no labels.",
                "Import the images again with “napari-graphflow datasets import”.",
            )
        decathlon = isinstance(description.get("training"), list)
        try:
            values, ignore = _label_values(description["labels"], decathlon)
            channels = description.get("channel_names") or description.get("modality") or {}
            names = tuple(str(channels[key]) for key in sorted(channels, key=int))
            listed = (_decathlon_cases if decathlon else _nnunet_cases)(folder, description)
            ending = str(description.get("file_ending") or ".nii.gz")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{folder / 'dataset.json'} is not valid: its labels, channels or cases are not in "
                "the format of nnU-Net or the Decathlon.",
                "Compare it with the dataset format of nnU-Net v2.",
            ) from None
        name = re.sub(r"^Dataset\d{3}_", "", str(description.get("name") or folder.resolve().name))
        order = sorted(values, key=lambda one: values[one])
        cases, held_back = _by_status(_with_splits(listed, folder / "splits.json"), folder)
        return cls(
            folder,
            name,
            {one: index for index, one in enumerate(order)},
            names or ("image",),
            ending,
            cases,
            tuple(values[one] for one in order),
            ignore,
            description.get("napari_graphflow") or {},
            held_back,
            str(description.get("reference") or ""),
            str(description.get("licence") or description.get("license") or ""),
        )

    def labelled(self, split: Split) -> list[Case]:
        """Return the cases of a split with a mask."""
        return [case for case in self.cases if case.split == split and case.label is not None]

    def unlabelled(self, split: Split) -> list[Case]:
        """Return the cases of a split without a mask."""
        return [case for case in self.cases if case.split == split and case.label is None]


def read_case(case: Case) -> Volume:
    """Read the image of a case; channels are stacked as the last axis.

    Raises
    ------
    UserError
        If a file cannot be read, or the channels are not on the same grid.
    """
    volumes = [read_volume(path) for path in case.images]
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for path, other in zip(case.images, volumes, strict=True):
        if not other.same_grid(first, tolerance=0.1 * min(first.spacing)):
            raise UserError(
                f"The channels of case {case.name} are not on the same grid: {path.name} differs "
                f"from {case.images[0].name}.",
                "Resample the channels to the same grid.",
            )
    parts = [one.array if one.channels else one.array[..., None] for one in volumes]
    return first.with_array(np.concatenate(parts, axis=-1), channels=True)


def read_case_labels(dataset: Dataset, case: Case, like: Volume | None = None) -> Volume:
    """Read the mask of a case as class indices 0..K-1, with `IGNORE` in unannotated voxels.

    Parameters
    ----------
    dataset
        The dataset, which maps stored values to classes.
    case
        A labelled case.
    like
        The image of the case; the mask must be on its grid.

    Raises
    ------
    UserError
        If the file cannot be read, is on another grid, or contains a value that is not a class.
    """
    if case.label is None:
        raise UserError(f"The case {case.name} has no mask.", "Choose a labelled case.")
    known = dict(zip(dataset.values, range(len(dataset.values)), strict=True))
    if dataset.ignore is not None:
        known[dataset.ignore] = IGNORE
    if IGNORE in known:
        labels = read_stored_labels(case.label, like)
    else:
        labels = read_labels(case.label, like)
    return labels.with_array(to_indices(labels.array, known, case.name))


def read_stored_labels(path: Path, like: Volume | None = None) -> Volume:
    """Read a mask with its stored values, without mapping 255 to 1 in masks of 0 and 255."""
    labels = read_labels(path, like)
    if labels.array.max(initial=0) != 1:
        return labels
    stored = read_volume(path)
    if stored.channels or stored.array.max() <= 1:
        return labels
    return labels.with_array(labels.array * np.uint8(IGNORE))


def to_indices(labels: NDArray[Any], known: Mapping[int, int], case: str) -> NDArray[Any]:
    """Map the values of a mask to indices by `known`.

    Raises
    ------
    UserError
        If the mask contains a value that is not in `known`.
    """
    largest = int(labels.max(initial=0))
    if largest > max(known):
        raise _unknown(largest, known, case)
    if all(value == index for value, index in known.items()) and len(known) == max(known) + 1:
        return labels
    lookup = np.full(max(known) + 1, -1, np.int16)
    lookup[list(known)] = list(known.values())
    indices: NDArray[np.int16] = lookup[labels]
    if indices.min() < 0:
        raise _unknown(int(labels[indices < 0].min()), known, case)
    return indices.astype(np.uint8)


def _unknown(value: int, known: Mapping[int, int], case: str) -> UserError:
    return UserError(
        f"The mask of case {case} contains the value {value}, which is not one of the classes "
        f"({', '.join(map(str, sorted(known)))}).",
        "Correct the mask, or add the class.",
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent} is not a dataset: it contains no {path.name}.",
            "Create one with “napari-graphflow datasets import”, or choose another folder.",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(
            f"{path} is damaged: it is not valid JSON.", "Import the images again."
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the folder and the disk."
        ) from None


def _label_values(labels: Mapping[str, Any], decathlon: bool) -> tuple[dict[str, int], int | None]:
    """Return the values by class name, and the value of the ignore label."""
    if any(isinstance(value, list) for value in labels.values()):
        raise UserError(
            "The dataset defines regions of several labels, which are not supported.",
            "List each label separately in dataset.json.",
        )
    pairs = ((name, key) for key, name in labels.items()) if decathlon else labels.items()
    values = {str(name): int(value) for name, value in pairs}
    ignore = values.pop("ignore", None)
    if 0 not in values.values():
        values = {"background": 0, **values}
    check_values([*values.values(), ignore or 0])
    return values, ignore


def check_values(values: Sequence[int]) -> None:
    """Refuse more classes, or larger values, than are supported."""
    if len(values) > IGNORE or max(values) > LARGEST_VALUE:
        raise UserError(
            f"The masks have {len(values)} classes with values up to {max(values)}, but at most "
            f"{IGNORE} classes with values up to {LARGEST_VALUE} are supported.",
            "Renumber or merge the classes.",
        )


def _nnunet_cases(folder: Path, description: Mapping[str, Any]) -> list[Case]:
    ending = description["file_ending"]
    cases = {}
    parts: tuple[tuple[str, Split], ...] = (("Tr", "train"), ("Ts", "test"))
    for part, split in parts:
        channels: dict[str, list[Path]] = {}
        for path in _files(folder / f"images{part}", ending):
            stem = path.name.removesuffix(ending)
            if re.search(r"_\d{4}$", stem):
                channels.setdefault(stem[:-5], []).append(path)
        masks = {path.name: path for path in _files(folder / f"labels{part}", ending)}
        for name, paths in channels.items():
            cases[part, name] = Case(name, tuple(paths), masks.get(name + ending), split)
    for name, files in (description.get("dataset") or {}).items():
        images = tuple(_resolve(folder, one) for one in files["images"])
        cases["Tr", name] = Case(name, images, _mask(folder, files["label"]), "train")
    return list(cases.values())


def _decathlon_cases(folder: Path, description: Mapping[str, Any]) -> list[Case]:
    cases = []
    for entry in description["training"]:
        image = _resolve(folder, entry["image"])
        cases.append(
            Case(split_ending(image.name)[0], (image,), _mask(folder, entry.get("label")), "train")
        )
    for entry in description.get("test") or []:
        image = _resolve(folder, entry["image"] if isinstance(entry, dict) else entry)
        label = _mask(folder, f"labelsTs/{image.name}")
        cases.append(Case(split_ending(image.name)[0], (image,), label, "test"))
    return cases


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(ending) and path.name[0] != "."
    )


def _resolve(folder: Path, path: str) -> Path:
    """Resolve a path as nnU-Net does: relative to the dataset, with environment variables."""
    return folder / os.path.expandvars(path)


def _mask(folder: Path, path: str | None) -> Path | None:
    """Resolve the path of a mask; None if the file does not exist: the case is unlabelled."""
    mask = _resolve(folder, path) if path else None
    return mask if mask is not None and mask.is_file() else None


def _with_splits(cases: list[Case], path: Path) -> tuple[Case, ...]:
    """Assign the splits of the file to the cases."""
    if not path.is_file():
        return _in_order(cases)
    named = _read_json(path)
    if not isinstance(named, dict) or not all(
        isinstance(named.get(split, []), list) for split in SPLITS
    ):
        raise UserError(
            f"{path} is not a valid list of splits.",
            'Write {"train": [...], "val": [...], "test": [...]} with names of cases.',
        )
    by_split = {split: {str(one) for one in named.get(split, [])} for split in SPLITS}
    missing = set().union(*by_split.values()) - {case.name for case in cases}
    if missing:
        raise UserError(
            f"{path} lists {len(missing)} case{'s' * (len(missing) > 1)} that the dataset does "
            f"not have, such as {min(missing)}.",
            "Remove the names, or add the images.",
        )
    result = []
    for case in cases:
        splits = {split for split in SPLITS if case.name in by_split[split]} or {case.split}
        # Test images stay in the test split, so that a check finds a case listed twice.
        splits |= {case.split} & {"test"}
        result += [Case(case.name, case.images, case.label, split) for split in splits]
    return _in_order(result)


def _by_status(cases: Iterable[Case], folder: Path) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Return the cases in use and those held back; a mask in review does not count."""
    statuses = recorded_statuses(folder)
    used: list[Case] = []
    held_back: list[Case] = []
    for case in cases:
        status = statuses.get(case.name)
        unseen = replace(case, label=None) if status == "in review" else case
        (held_back if status in HELD_BACK else used).append(unseen)
    return tuple(used), tuple(held_back)


def _in_order(cases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: (SPLITS.index(case.split), case.name)))


def data_files(labelled: Iterable[Case], unlabelled: Iterable[Case]) -> list[Path]:
    """Return the files of the images, and of the masks of the labelled cases."""
    files = [path for case in unlabelled for path in case.images]
    for case in labelled:
        files += [*case.images, *([case.label] if case.label else [])]
    return list(dict.fromkeys([*files, *(data for path in files for data in companions(path))]))
