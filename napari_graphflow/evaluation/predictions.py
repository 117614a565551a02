"""A folder of masks to be scored: which file is of which case, and what its values mean.

Class names beside a mask or inside it decide what its values mean; without names, they are the
stored values of the dataset. `segment` writes names beside its masks. A mask that fits neither is
refused, because a score of 0 would look like a bad network.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, Dataset, to_indices
from napari_graphflow.dataset.findings import are, counted, some_of
from napari_graphflow.dataset.mask_files import match_masks
from napari_graphflow.dataset.names import same_name, same_names
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import described_names, read_class_names
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume


class Predictions:
    """The masks of a folder, by case.

    Parameters
    ----------
    folder
        Masks named like the cases, in any format; also DICOM segmentations, as a file or in a
        folder of the case. nnU-Net's ``dataset.json`` beside them names their classes.
    dataset, cases
        The dataset, and its cases to score.

    Attributes
    ----------
    notes
        What was left out, as sentences; complete once all cases were read.
    warnings
        Warnings of reading the masks, with the names of the cases.

    Raises
    ------
    UserError
        If there is no such folder, or a case has no mask or several.
    """

    def __init__(self, folder: Path, dataset: Dataset, cases: Iterable[Case]) -> None:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}.", "Check the path.")
        self.folder, self.dataset = folder, dataset
        self.files, left = match_masks(folder, [case.name for case in cases])
        self.notes = [_not_scored(folder, left)] if left else []
        self.warnings: dict[str, list[str]] = {}

    def __call__(self, case: Case, image: Volume) -> NDArray[np.integer]:
        """Read the mask of a case as class indices on the grid of its image."""
        path = self.files[case.name]
        names = read_class_names(path) or described_names(self.folder / "dataset.json")
        mask = read_labels(path, image, white=False)
        array = mask.array
        for text in mask.warnings:
            self.warnings.setdefault(f"Mask to score: {text}", []).append(case.name)
        known = self._named(names, path) if names else self._stored()
        known = self._binary(array, known, bool(names))
        unknown = sorted(set(np.unique(array).tolist()) - set(known))
        if unknown:
            raise UserError(
                f"{path.name} holds the value {unknown[0]}, which "
                + (
                    "has no class name, although others have."
                    if names
                    else f"is not one of the dataset's ({_numbers(known)}), and has no class name."
                ),
                f"Write the names to {path.name}.labels.json, or the values of the dataset.",
            )
        return to_indices(array, known, case.name)

    def _stored(self) -> dict[int, int]:
        """Return the classes of the dataset by stored value; ignored voxels are of none."""
        return {
            value: 0 if index == IGNORE else index for value, index in self.dataset.indices.items()
        }

    def _binary(self, array: NDArray[Any], known: dict[int, int], named: bool) -> dict[int, int]:
        """Add what 1 or 255 means in a binary mask: programs write the only foreground as either.

        With several classes, 255 is none if the dataset has an ignore label, else unknown.
        """
        values = set(np.unique(array).tolist()) - {0}
        foreground = {value for value in known if value} - {self.dataset.ignore}
        binary = {IGNORE} if named else {1, IGNORE}
        if len(values) != 1 or not values <= binary or values <= foreground:
            return known
        if len(foreground) == 1:
            return known | dict.fromkeys(values, known[foreground.pop()])
        if values == {IGNORE} and self.dataset.ignore is not None and not named:
            return known | {IGNORE: 0}
        return known

    def _named(self, names: Mapping[str, int], path: Path) -> dict[int, int]:
        """Return the classes of the dataset by the names of the values of a mask."""
        if alike := same_names(names):
            raise UserError(
                f"{alike[0]} and {alike[1]} of {path.name} are the same name.",
                "Give each class its own name.",
            )
        classes = {same_name(name): index for name, index in self.dataset.classes.items()}
        regions = {same_name(name): name for name in self.dataset.regions}
        known, others = {0: 0}, []
        for name, value in names.items():
            index = classes.get(same_name(name), 0)
            if region := regions.get(same_name(name)):
                index = self._outer_part(region, path)
            known[value] = index
            if region is None and same_name(name) not in classes and name != "ignore" and value:
                others.append(name)
        if not any(known.values()) and any(names.values()):
            raise UserError(
                f"The classes of {path.name} ({', '.join(names)}) are none of "
                f"{self.dataset.name} ({', '.join(self.dataset.classes)}).",
                "Use the same names, or score another folder.",
            )
        if others:
            note = (
                f"Not classes of {self.dataset.name}, so counted as background: "
                f"{', '.join(others)}."
            )
            self.notes += [note] * (note not in self.notes)
        return known

    def _outer_part(self, region: str, path: Path) -> int:
        """Return the class of a region outside the regions in it: masks do not overlap."""
        part = f"{region} only"
        if part not in self.dataset.classes:
            raise UserError(
                f"{region} of {path.name} is a region of several classes of {self.dataset.name} "
                f"({', '.join(self.dataset.regions[region])}).",
                "Name the values by these classes.",
            )
        return self.dataset.classes[part]


def _not_scored(folder: Path, left: list[str]) -> str:
    text = f"{counted(len(left), 'file')} of {folder.name} {are(len(left))} not scored, "
    return f"{text}because no case to score has the name: {some_of(left)}."


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))
