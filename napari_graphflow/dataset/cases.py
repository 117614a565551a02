"""A dataset on disk: its cases, masks, classes and splits.

The layout is the raw one of nnU-Net v2 (``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``,
``dataset.json``), plus ``splits.json`` with the cases of ``train``, ``val`` and ``test``. A case
without a mask is unlabelled. The ``dataset.json`` of the Medical Segmentation Decathlon and of
nnU-Net v1, and nnU-Net's ``splits_final.json``, are read as well.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.case import SPLITS, Case, Split
from napari_graphflow.dataset.findings import Finding, are, counted, listed
from napari_graphflow.dataset.label_values import read_label_values
from napari_graphflow.dataset.nnunet_layout import file_ending, list_cases
from napari_graphflow.dataset.sites import about_sites, of_sources, read_sites, with_sites
from napari_graphflow.dataset.splits import assign_splits, read_json
from napari_graphflow.dataset.statuses import HELD_BACK, Status, recorded_statuses
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.imaging.labels import IGNORE, only_white
from napari_graphflow.imaging.paths import companions
from napari_graphflow.imaging.volume import Volume

if TYPE_CHECKING:  # it scans the installed packages for methods
    from napari_graphflow.config.run import TrainingConfig

__all__ = ["SPLITS", "Case", "Dataset", "Split"]


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
        Record of the import: ``original_values`` by class, names of omitted files, and possibly
        ``patients``: the patient of each case.
    held_back
        Flagged and excluded cases, which are used for nothing.
    reference, licence
        Where the images come from, and their licence; empty if not stated.
    regions
        Names of the classes of each region of several labels, such as those of BraTS.
    further_values
        Class index of further stored values: labels that are in the same regions.
    findings
        What was noticed when it was opened: the split, files that no case uses.
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
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    further_values: Mapping[int, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        fold: int = 0,
        test_images: bool = False,
        sources: Sequence[str] = (),
        hold_damaged: bool = False,
    ) -> Self:
        """Read ``dataset.json`` and list the cases, without opening images.

        Parameters
        ----------
        folder
            Folder of the dataset.
        fold
            Fold of nnU-Net's ``splits_final.json``.
        test_images
            Use the images of ``imagesTs`` that have no mask as unlabelled training cases.
        sources
            Sites whose cases are used; those of other sites are left out. All by default.
        hold_damaged
            Hold back cases whose recorded status is damaged, for lists that show them; otherwise
            they are refused, because they might be excluded.

        Raises
        ------
        UserError
            If the folder is not a dataset, its ``dataset.json`` is not valid, or the sources do not
            fit its ``sites.csv``.
        """
        folder = Path(folder)
        description = read_json(folder / "dataset.json")
        if not isinstance(description, dict) or "labels" not in description:
            raise UserError(
                f"{folder / 'dataset.json'} does not describe a dataset: it has no labels.",
                "Import the images again with “napari-graphflow datasets import”.",
            )
        try:
            labels = read_label_values(description["labels"])
            channels = _channel_names(
                description.get("channel_names") or description.get("modality") or {}
            )
            found, findings = list_cases(folder, description)
            ending = file_ending(str(description.get("file_ending") or ".nii.gz"))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{folder / 'dataset.json'} is not valid: its labels, channels or cases are not in "
                "the format of nnU-Net or the Decathlon.",
                "Compare it with the dataset format of nnU-Net v2.",
            ) from None
        if test_images:
            found, more = _with_test_images(found)
            findings += more
        used, held_back = _by_status(found, recorded_statuses(folder, hold_damaged=hold_damaged))
        record = description.get("napari_graphflow") or {}
        known, patients = {case.name for case in [*used, *held_back]}, record.get("patients")
        used = list(with_sites(used, read_sites(folder)))
        findings += about_sites(used)
        if sources:
            inside, more = of_sources(used, sources, patients)
            used, findings = list(inside), findings + more
        cases, more = assign_splits(
            folder, used, fold, known - {case.name for case in used}, patients
        )
        name = re.sub(r"^Dataset\d{3}_", "", str(description.get("name") or folder.resolve().name))
        return cls(
            folder,
            name,
            {one: index for index, one in enumerate(labels.names)},
            channels or ("image",),
            ending,
            cases,
            tuple(values[0] for values in labels.values),
            labels.ignore,
            record,
            tuple(held_back),
            str(description.get("reference") or ""),
            str(description.get("licence") or description.get("license") or ""),
            labels.regions,
            {one: index for index, some in enumerate(labels.values) for one in some[1:]},
            (*findings, *more, *_about_regions(labels.regions)),
        )

    @classmethod
    def of_run(cls, config: "TrainingConfig") -> Self:
        """Open the dataset of a run, with its fold and its unlabelled cases.

        Raises
        ------
        UserError
            As :meth:`open`.
        """
        from napari_graphflow.config.run import DistillationConfig

        more = isinstance(config, DistillationConfig) and config.test_images
        return cls.open(config.dataset, fold=config.fold, test_images=more, sources=config.sources)

    @property
    def indices(self) -> dict[int, int]:
        """Class index of every stored value, `IGNORE` for the ignore label."""
        known = {value: index for index, value in enumerate(self.values)} | {**self.further_values}
        return known if self.ignore is None else {**known, self.ignore: IGNORE}

    def labelled(self, split: Split) -> list[Case]:
        """Return the cases of a split with a mask."""
        return [case for case in self.cases if case.split == split and case.label is not None]

    def unlabelled(self, split: Split) -> list[Case]:
        """Return the cases of a split without a mask."""
        return [case for case in self.cases if case.split == split and case.label is None]


def _channel_names(channels: Any) -> tuple[str, ...]:
    if isinstance(channels, list):
        return tuple(map(str, channels))
    return tuple(str(channels[key]) for key in sorted(channels, key=int))


def _with_test_images(cases: list[Case]) -> tuple[list[Case], list[Finding]]:
    """Use test images without a mask for training; those with a mask stay for the test."""
    used = [case for case in cases if case.split == "test" and case.label is None]
    text = (
        f"{counted(len(used), 'image')} of imagesTs {are(len(used))} used as unlabelled training "
        "cases."
    )
    if not used:
        # A packed job lists them for training already.
        packed = any(one.images[0].parent.name == "imagesTs" for one in cases if not one.label)
        text = "imagesTs contains no image without a mask, so none of it is used for training."
        return cases, [] if packed else [Finding("warning", "", text)]
    moved = [replace(one, split="train") if one in used else one for one in cases]
    return moved, [Finding("info", "", text)]


def _about_regions(regions: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    if not regions:
        return []
    parts = "; ".join(f"{name}: {listed(inside)}" for name, inside in regions.items())
    text = (
        f"Classes are regions of several labels ({parts}). As in nnU-Net's masks, each voxel is "
        "trained as the innermost region that contains it; whole regions are scored as well."
    )
    return [Finding("info", "", text)]


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
    stacked = first.with_array(np.concatenate(parts, axis=-1), channels=True)
    said = dict.fromkeys(text for one in volumes for text in one.warnings)
    return replace(stacked, warnings=tuple(said))


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
    labels = read_labels(case.label, like, ignore=dataset.ignore, white=False)
    known = known_values(dataset, labels.array)
    return labels.with_array(to_indices(labels.array, known, case.name))


def known_values(dataset: Dataset, labels: NDArray[Any]) -> dict[int, int]:
    """Return the class index of every value of a mask of a dataset.

    In a mask of 0 and 255 alone, 255 is the only foreground class; if there are several, it is the
    ignore label, if there is one.
    """
    known = dataset.indices
    if IGNORE not in known and only_white(labels):
        if len(dataset.classes) == 2:
            known[IGNORE] = 1
        elif dataset.ignore is not None:
            known[IGNORE] = IGNORE
    return known


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
    lookup = np.full(max(known) + 1, -1, np.int32)
    lookup[list(known)] = list(known.values())
    indices: NDArray[np.int32] = lookup[labels]
    if indices.min(initial=0) < 0:
        raise _unknown(int(labels[indices < 0].min()), known, case)
    return indices.astype(np.min_scalar_type(max(known.values())))


def _unknown(value: int, known: Mapping[int, int], case: str) -> UserError:
    return UserError(
        f"The mask of case {case} contains the value {value}, which is not one of the classes "
        f"({', '.join(map(str, sorted(known)))}).",
        "Correct the mask, or add the class.",
    )


def _by_status(
    cases: Iterable[Case], statuses: Mapping[str, Status]
) -> tuple[list[Case], list[Case]]:
    """Return the cases in use and those held back; a mask in review does not count."""
    used: list[Case] = []
    held_back: list[Case] = []
    for case in cases:
        status = statuses.get(case.name)
        unseen = replace(case, label=None) if status == "in review" else case
        (held_back if status in HELD_BACK else used).append(unseen)
    return used, held_back


def data_files(labelled: Iterable[Case], unlabelled: Iterable[Case]) -> list[Path]:
    """Return the files of the images, and of the masks of the labelled cases."""
    files = [path for case in unlabelled for path in case.images]
    for case in labelled:
        files += [*case.images, *([case.label] if case.label else [])]
    return list(dict.fromkeys([*files, *(data for path in files for data in companions(path))]))
