"""A folder of masks made by any program, as a teacher without a network.

A mask per case (its names beside it, inside it, or in a ``dataset.json``), a folder per case with a
mask per structure, as TotalSegmentator writes them, or nnU-Net's masks with ``CASE.npz`` beside.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import PREDICTIONS, ModelCard, Purpose
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.answers import (
    Answers,
    names_in_archive,
    read_array,
    write_answer,
    write_list,
)
from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.dataset.compatibility import modality_of_channels
from napari_graphflow.dataset.mask_files import is_mask, match_masks, prediction_of_case
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import described_names, read_class_names
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.formats.endings import READ, split_ending
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.segments import is_segmentation
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.importing.classes import map_classes
from napari_graphflow.models.importing.files import read_json
from napari_graphflow.models.importing.nnunet import labels_of
from napari_graphflow.system.files import listing, replace_file, written_aside

T = TypeVar("T")
#: Smallest share of the voxels of structures in which probabilities and the mask beside them have
#: the same class; the background alone would hide any other order of axes.
_SAME = 0.9
#: Largest deviation of a probability from 0 to 1, and of their sum from 1.
_ROUNDING = 0.01


@dataclass(frozen=True)
class _Source:
    """What another program wrote for a case.

    Attributes
    ----------
    path
        A mask, or a folder with a mask per structure.
    values
        Value of each structure by its name in lower case, with the background; of a folder, 0 for
        all.
    files
        Mask of each structure by its name in lower case, if the path is a folder.
    soft
        File of probabilities, if there is one.
    """

    path: Path
    values: Mapping[str, int]
    files: Mapping[str, Path] = field(default_factory=dict)
    soft: Path | None = None


def read_predictions(
    folder: Path, out: Path, dataset: Dataset, table: Mapping[str, Sequence[str]], name: str
) -> GivenTeacher:
    """Save the predictions of a folder as a teacher for a dataset.

    Parameters
    ----------
    folder
        Masks or folders of masks, named like the cases.
    out
        Folder of the teacher; must not exist.
    dataset
        The dataset; every training case and every labelled validation case needs a prediction.
    table
        As for :func:`napari_graphflow.models.importing.classes.map_classes`.
    name
        Name of the teacher; empty for that of the folder.

    Raises
    ------
    UserError
        If a case has no prediction, one is on another grid than its image, or a name is unknown.
    """
    needed = [one for one in dataset.cases if one.split == "train"] + dataset.labelled("val")
    stems = {split_ending(one.name, READ)[0] for one in listing(folder)}
    cases = [one for one in dataset.cases if one in needed or one.name in stems]
    paths, _ = match_masks(folder, [case.name for case in cases], prediction_of_case)
    spelled = {"background": "background"}
    sources = {case: _source(path, folder, dataset, spelled) for case, path in paths.items()}
    known = list(spelled.values())
    classes, mapping = map_classes(known, table, dataset.classes)
    own = [classes[mapping[one]] for one in known] if mapping else range(len(classes))
    indices = dict(zip(spelled, own, strict=True))
    for named, source in sources.items():
        _require_names(source, named, [spelled[one] for one, index in indices.items() if index])
    image: Volume | None = None
    with written_aside(out) as aside:
        aside.mkdir(parents=True)
        hashes = {}
        for case in cases:
            image = read_case(case)
            answer = _answer(sources[case.name], case, image, indices, len(classes))
            hashes[case.name] = write_answer(aside, case.name, answer, image)
        write_list(aside, hashes)
        assert image is not None
        card = ModelCard(
            name=name or folder.resolve().name,
            role="teacher",
            network=PREDICTIONS,
            dims=3 if image.ndim == 3 else 2,
            in_channels=image.array.shape[-1] if image.channels else 1,
            classes=classes,
            mapping=mapping,
            patch_size=(64,) * image.ndim,
            preprocessing=Preprocessing(),
            purpose=Purpose(modality=modality_of_channels(dataset.channel_names)),
        )
        replace_file(aside / "model.json", card.model_dump_json(indent=2).encode())
    return GivenTeacher(card, out, Answers.open(out))


def _source(path: Path, folder: Path, dataset: Dataset, spelled: dict[str, str]) -> _Source:
    """Return what there is for a case; its names are added to `spelled`, by their lower case."""
    if path.is_dir():
        masks = [(split_ending(one.name, READ)[0], one) for one in listing(path) if is_mask(one)]
        files = _by_lower(masks, path, spelled)
        return _Source(path, {"background": 0} | dict.fromkeys(files, 0), files)
    names = read_class_names(path) or _beside(folder)
    stored = {one: dataset.values[index] for one, index in dataset.classes.items()}
    listed = [(one, value) for one, value in (names or stored).items() if value and one != "ignore"]
    values = {"background": 0} | _by_lower(listed, path, spelled)
    soft = path.with_name(f"{split_ending(path.name, READ)[0]}.npz")
    return _Source(path, values, soft=soft if soft.is_file() else None)


def _by_lower(named: Iterable[tuple[str, T]], path: Path, spelled: dict[str, str]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, one in named:
        if name.lower() in found:
            raise UserError(
                f"{path} has {name} twice, by different endings or upper and lower case.",
                "Keep one of them.",
            )
        found[spelled.setdefault(name.lower(), name).lower()] = one
    return found


def _beside(folder: Path) -> dict[str, int]:
    """Return the names in ``dataset.json``, of regions in the order in which they are painted."""
    path = folder / "dataset.json"
    content = read_json(path) if path.is_file() else {}
    if not content.get("regions_class_order"):
        return described_names(path)
    try:
        return labels_of(content).classes
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not valid: {error}.", "Copy the file again.") from None


def _require_names(source: _Source, case: str, names: Sequence[str]) -> None:
    """Refuse a case without the name of a structure, which would become background in silence.

    Masks with segments of their own may lack one that is not in the image.
    """
    missing = [name for name in names if name.lower() not in source.values]
    if not missing or (source.path.is_file() and is_segmentation(source.path)):
        return
    if source.path.is_dir():
        raise UserError(
            f"The predictions of {case} have no mask of {missing[0]}, which others have.",
            "Predict the case again, with all structures.",
        )
    raise UserError(
        f"The names of {case} lack {missing[0]}, which others have.",
        f"Add it to the names of {source.path.name}, with a value that its mask need not hold.",
    )


def _answer(
    source: _Source, case: Case, image: Volume, indices: Mapping[str, int], classes: int
) -> NDArray[Any]:
    """Return labels (*spatial) or probabilities (K, *spatial) on the grid of the image."""
    if source.path.is_dir():
        return _painted(source, case, image, indices)
    try:
        mask = read_labels(source.path, image).array
    except UserError as error:
        raise error.of_case(case.name) from None
    values = {value: indices[name] for name, value in source.values.items()}
    present = np.unique(mask)
    if unknown := sorted(set(present.tolist()) - set(values)):
        if unknown == [IGNORE]:
            raise UserError(
                f"The prediction of {case.name} has voxels without a class: the value {IGNORE} or "
                "negative ones.",
                "Predict a class in each voxel, or write the background there.",
            )
        raise UserError(
            f"The prediction of {case.name} holds the value {unknown[0]}, which has no name.",
            f"Write the names to {source.path.name}.labels.json, or to a dataset.json beside it.",
        )
    if source.soft is None:
        own = np.array([values[value] for value in present.tolist()], np.uint8)
        labels: NDArray[np.uint8] = own[np.searchsorted(present, mask)]
        return labels
    soft = _probabilities(source, case, image, mask)
    grouped = np.zeros((classes, *image.shape), np.float32)
    for own, name in zip(soft, _by_value(source.values), strict=True):
        grouped[indices[name]] += own
    return grouped


def _painted(
    source: _Source, case: Case, image: Volume, indices: Mapping[str, int]
) -> NDArray[np.uint8]:
    """Paint one mask per structure over each other."""
    labels = np.zeros(image.shape, np.uint8)
    for name, index in indices.items():
        if not index:
            continue
        try:
            mask = read_labels(source.files[name], image).array
        except UserError as error:
            raise error.of_case(case.name) from None
        if len(values := np.unique(mask[mask > 0])) > 1:
            raise UserError(
                f"{case.name}: {source.files[name].name} holds the values {values[0]} and "
                f"{values[1]}, so that it is not the mask of one structure.",
                f"Name a mask of several structures like its case, in {source.path.parent}.",
            )
        labels[mask > 0] = index
    return labels


def _by_value(values: Mapping[str, int]) -> list[str]:
    return sorted(values, key=values.__getitem__)


def _probabilities(
    source: _Source, case: Case, image: Volume, mask: NDArray[Any]
) -> NDArray[np.float32]:
    """Read probabilities as nnU-Net saves them, and compare them with the mask beside them."""
    assert source.soft is not None
    names = _by_value(source.values)
    key = "softmax" if "softmax" in names_in_archive(source.soft) else "probabilities"
    flat = image.ndim == 2
    shape = (len(names), *([1] * flat), *image.shape)
    soft: NDArray[np.float32] = read_array(source.soft, key, shape).astype(np.float32)
    soft = soft[:, 0] if flat else soft
    sums = np.abs(soft.sum(0) - 1).max()
    if soft.min() < -_ROUNDING or sums > _ROUNDING or not np.isfinite(soft).all():
        raise UserError(
            f"{source.soft.name} does not hold probabilities: they are not from 0 to 1, or their "
            "sum is not 1.",
            "Remove the .npz files to teach with the masks alone.",
        )
    values = np.array([source.values[name] for name in names])
    hard = values[soft.argmax(0)]
    inside = (hard > 0) | (mask > 0)
    share = float((hard[inside] == mask[inside]).mean()) if inside.any() else 1.0
    if share < _SAME:
        raise UserError(
            f"The probabilities of {case.name} are those of its mask in {share:.0%} of the voxels "
            "of structures only: their axes have another order.",
            "Remove the .npz files to teach with the masks alone.",
        )
    return soft
