"""Masks of a dataset as files: read, write, keep every one that ever counted, list for nnU-Net."""

import hashlib
import json
import shutil
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, Dataset, read_case_labels
from napari_graphflow.dataset.label_values import labels_with_ignore
from napari_graphflow.dataset.nnunet_layout import entry_name
from napari_graphflow.dataset.splits import NNUNET, OWN, case_name, read_json
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_labels
from napari_graphflow.imaging.labels import IGNORE, values_of
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.locks import guarded
from napari_graphflow.system.files import replace_file, written_aside
from napari_graphflow.system.regular_file import open_regular


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file; empty if there is none."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def mask_path(dataset: Dataset, case: Case) -> Path:
    """Return where training finds the mask of a case, always inside the dataset's folder."""
    if case.label is not None and case.label.resolve().is_relative_to(dataset.folder.resolve()):
        return case.label
    part = "Ts" if case.images[0].parent.name == "imagesTs" else "Tr"
    return dataset.folder / f"labels{part}" / f"{case.name}{dataset.file_ending}"


def read_mask(dataset: Dataset, case: Case, path: Path, image: Volume) -> NDArray[Any]:
    """Read a mask of a case as class indices, with `IGNORE` in voxels without annotation.

    Raises
    ------
    UserError
        If it cannot be read, is on another grid than the image, or contains an unknown value.
    """
    return read_case_labels(dataset, replace(case, label=path), image).array


def stored_values(dataset: Dataset, labels: NDArray[Any], image: Volume) -> NDArray[Any]:
    """Return the values that the dataset stores for class indices.

    Raises
    ------
    UserError
        If the array has another size than the image, or contains a value that is not a class.
    """
    if labels.shape != image.shape:
        found, wanted = (" x ".join(map(str, shape)) for shape in (labels.shape, image.shape))
        raise UserError(
            f"The mask has the shape {found}, but the image {wanted}.",
            "Choose the mask that was drawn on this image.",
        )
    if dataset.further_values:
        raise UserError(
            f"The dataset {dataset.name} merges several stored values into one class, so a changed "
            "mask cannot be written back without loss.",
            "Give each stored value a class of its own in dataset.json.",
        )
    lookup = np.full(IGNORE + 1, -1, np.int64)
    lookup[: len(dataset.values)] = dataset.values
    if dataset.ignore is not None:
        lookup[IGNORE] = dataset.ignore
    unknown = [int(v) for v in values_of(labels) if not 0 <= v <= IGNORE or lookup[v] < 0]
    if unknown:
        raise UserError(
            f"The mask contains the value {unknown[0]}, which is not one of the classes "
            f"({', '.join(dataset.classes)}).",
            "Correct the mask, or add the class.",
        )
    values: NDArray[Any] = lookup.astype(np.min_scalar_type(int(lookup.max())))[labels]
    return values


def write_mask(dataset: Dataset, path: Path, labels: NDArray[Any], image: Volume) -> None:
    """Write class indices with the stored values of the dataset and the geometry of the image.

    Raises
    ------
    UserError
        As for `stored_values`, or if the file cannot be written.
    """
    values = stored_values(dataset, labels, image)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, values, image)


def keep_new_version(
    paths: LabellingPaths, dataset: Dataset, case: Case, labels: NDArray[Any], image: Volume
) -> str:
    """Write a mask to the versions and return its SHA-256."""
    aside = paths.new_version(case.name, uuid4().hex[:8])
    try:
        write_mask(dataset, aside, labels, image)
        sha256 = content_hash(aside)
        aside.replace(paths.version(sha256))
    finally:
        aside.unlink(missing_ok=True)
    return sha256


def keep_version(paths: LabellingPaths, mask: Path) -> str:
    """Copy the file of a mask to the versions, and return its SHA-256; empty if there is none."""
    sha256 = content_hash(mask)
    if sha256 and content_hash(paths.version(sha256)) != sha256:
        paths.versions.mkdir(parents=True, exist_ok=True)
        with written_aside(paths.version(sha256)) as aside:
            shutil.copyfile(mask, aside)
    return sha256


def put_version(paths: LabellingPaths, sha256: str, mask: Path) -> None:
    """Make a file the mask with this content, or remove it if `sha256` is empty.

    Raises
    ------
    UserError
        If the version is missing or damaged; the file is then unchanged.
    """
    if content_hash(mask) == sha256:
        return
    if not sha256:
        mask.unlink()
        return
    version = paths.version(sha256)
    if content_hash(version) != sha256:
        raise UserError(
            f"{version} is missing or damaged.", "Restore it from a backup of the dataset."
        )
    mask.parent.mkdir(parents=True, exist_ok=True)
    for left in mask.parent.glob(f".{escape(mask.name)}.*.part"):  # by a process that was killed
        left.unlink(missing_ok=True)
    # A copy, because other programs may write into the file in place.
    with written_aside(mask) as aside:
        shutil.copyfile(version, aside)


def ensure_ignore(paths: LabellingPaths, dataset: Dataset) -> Dataset:
    """Return the dataset with an ignore label, which nnU-Net wants to be the highest value."""
    if dataset.ignore is not None:
        return dataset
    with guarded(paths.description_guard):
        description, path = _description(dataset)
        description["labels"], _ = labels_with_ignore(description["labels"])
        _write_json(path, description)
    return Dataset.open(dataset.folder, hold_damaged=True)


def refreshed(dataset: Dataset) -> Dataset:
    """Return the dataset, read again if another window has changed whether it ignores voxels."""
    labels = _description(dataset)[0].get("labels", {})
    ignores = "ignore" in labels or "ignore" in labels.values()
    return (
        dataset
        if ignores == (dataset.ignore is not None)
        else Dataset.open(dataset.folder, hold_damaged=True)
    )


def list_mask(paths: LabellingPaths, dataset: Dataset, case: Case, mask: Path) -> None:
    """List the mask of a case in ``dataset.json``, or remove it from there if it is gone.

    nnU-Net trains with the listed cases; without a list, with all images of ``imagesTr``.
    """
    with guarded(paths.description_guard):
        description, path = _description(dataset)
        if isinstance(description.get("training"), list):
            changed = _list_in_decathlon(description, dataset, case, mask)
        else:
            changed = _list_in_nnunet(description, dataset, case, mask)
        if changed:
            _write_json(path, description)
        _list_in_folds(dataset, case, mask)


def _list_in_folds(dataset: Dataset, case: Case, mask: Path) -> None:
    """Add a case to the training lists of nnU-Net's folds, which leave out all others."""
    folds = dataset.folder / NNUNET
    if (dataset.folder / OWN).is_file() or not folds.is_file() or not mask.is_file():
        return
    content = read_json(folds)
    changed = False
    for fold in content if mask.parent.name != "labelsTs" else []:
        listed = {case_name(one) for names in fold.values() for one in names}
        if case.name not in listed:
            fold["train"] = [*fold.get("train", []), case.name]
            changed = True
    if changed:
        _write_json(folds, content)


def _list_in_nnunet(description: dict[str, Any], dataset: Dataset, case: Case, mask: Path) -> bool:
    """Change the listed cases; return whether anything changed."""
    if mask.parent.name == "labelsTs":
        return False
    listed = description.get("dataset")
    if listed is None:
        # The first change: list what has had a mask before.
        every = [*dataset.cases, *dataset.held_back]
        listed = {
            one.name: _entry(dataset, one, one.label)
            for one in every
            if one.label is not None and one.label.is_file() and one.label.parent.name != "labelsTs"
        }
    listed = dict(listed)
    if mask.is_file():
        known = listed.get(case.name) or {}
        listed[case.name] = _entry(dataset, case, mask) | (
            {"images": known["images"]} if known.get("images") else {}
        )
    else:
        listed.pop(case.name, None)
    listed = dict(sorted(listed.items()))
    new = {"numTraining": len(listed), "dataset": listed}
    if all(description.get(key) == value for key, value in new.items()):
        return False
    description |= new
    return True


def _list_in_decathlon(
    description: dict[str, Any], dataset: Dataset, case: Case, mask: Path
) -> bool:
    changed = False
    label = f"./{_relative(dataset, mask)}"
    for index, entry in enumerate(description["training"]):
        one = entry if isinstance(entry, dict) else {"image": entry}
        if entry_name(one) == case.name and mask.is_file() and one.get("label") != label:
            description["training"][index] = one | {"label": label}
            changed = True
    return changed


def _entry(dataset: Dataset, case: Case, mask: Path) -> dict[str, Any]:
    return {
        "images": [_relative(dataset, path) for path in case.images],
        "label": _relative(dataset, mask),
    }


def _relative(dataset: Dataset, path: Path) -> str:
    inside = path.is_relative_to(dataset.folder)
    return (path.relative_to(dataset.folder) if inside else path).as_posix()


def _description(dataset: Dataset) -> tuple[dict[str, Any], Path]:
    path = dataset.folder / "dataset.json"
    return read_json(path), path


def _write_json(path: Path, content: Any) -> None:
    replace_file(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
