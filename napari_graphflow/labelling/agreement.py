"""Two readers: how far their masks agree, and a consensus as a proposal."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import read_case
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.comparison import disagreement
from napari_graphflow.evaluation.metrics import evaluate_case
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.labelling.masks import mask_path, read_mask
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.records import now
from napari_graphflow.labelling.store import Labelling

Method = Literal["STAPLE", "majority"]
#: The finished mask, among the names of readers.
FINISHED = "finished mask"


@dataclass(frozen=True)
class Agreement:
    """How far two masks of a case agree on one structure.

    Attributes
    ----------
    case, structure
        Names.
    readers
        The two readers.
    dice
        0 to 1; NaN if neither has the structure.
    hausdorff_distance_95
        mm; infinite if only one has the structure.
    voxels
        Voxels that only one of both masks contains.
    worst_slice
        The slice, from 0 along the first axis, with the most of these voxels; None without any.
    """

    case: str
    structure: str
    readers: tuple[str, str]
    dice: float
    hausdorff_distance_95: float
    voxels: int
    worst_slice: int | None


def readers_of(labelling: Labelling, case: str) -> list[str]:
    """Return the readers with a draft, and `FINISHED` if there is a finished mask."""
    drafts = list(labelling.paths.readers(case))
    finished = mask_path(labelling.dataset, labelling.case(case)).is_file()
    return drafts + [FINISHED] * finished


def agreement(
    labelling: Labelling, case: str, readers: tuple[str, str] | None = None
) -> tuple[list[Agreement], NDArray[np.uint8]]:
    """Compare the masks of two readers.

    Parameters
    ----------
    readers
        The two readers; None chooses the only two.

    Returns
    -------
    rows, map
        A row per structure, and where the masks differ, see
        :func:`napari_graphflow.evaluation.comparison.disagreement`.

    Raises
    ------
    UserError
        If there are not two masks to compare.
    """
    known = readers_of(labelling, case)
    pair = list(readers or known)
    missing = [reader for reader in pair if reader not in known]
    if missing or len(pair) != 2:
        raise UserError(
            f"The case {case} has no mask of {missing[0]}."
            if missing
            else f"The case {case} has masks of {len(known)} readers, but two are compared.",
            f"Choose two of: {', '.join(known)}." if known else "Have it annotated by two readers.",
        )
    image = read_case(labelling.case(case))
    a, b = (mask_of(labelling, case, reader, image) for reader in pair)
    classes = labelling.dataset.classes
    return compare_masks(case, (pair[0], pair[1]), a, b, classes, image.spacing), disagreement(a, b)


def compare_masks(
    case: str,
    readers: tuple[str, str],
    a: NDArray[Any],
    b: NDArray[Any],
    classes: Mapping[str, int],
    spacing: Sequence[float],
) -> list[Agreement]:
    """Return how far two masks of class indices agree, structure by structure."""
    scores = evaluate_case(a, b, dict(classes), tuple(spacing), ignore=None)
    rows = []
    for name, metrics in scores.items():
        differs = (a == classes[name]) ^ (b == classes[name])
        slices = differs.reshape(len(differs), -1).sum(1) if differs.ndim == 3 else [differs.sum()]
        worst = int(np.argmax(slices))
        rows.append(
            Agreement(
                case,
                name,
                readers,
                metrics["dice_score"],
                metrics["hausdorff_distance_95"],
                int(np.count_nonzero(differs)),
                worst if slices[worst] else None,
            )
        )
    return rows


def store_consensus(
    labelling: Labelling, case: str, method: Method = "STAPLE", readers: Sequence[str] = ()
) -> Proposal:
    """Make the consensus of several readers a proposal for the case.

    Parameters
    ----------
    method
        ``STAPLE`` weighs readers by their estimated performance; ``majority`` counts them.
    readers
        The readers; by default all with a draft.

    Raises
    ------
    UserError
        If there are fewer than two masks.
    """
    names = list(readers) or list(labelling.paths.readers(case))
    known = readers_of(labelling, case)
    missing = [name for name in names if name not in known]
    if missing or len(names) < 2:
        what = f"no mask of {missing[0]}" if missing else f"masks of {len(names)} readers"
        raise UserError(
            f"The case {case} has {what}, and a consensus needs two.",
            "Have it annotated by two readers.",
        )
    image = read_case(labelling.case(case))
    masks = [mask_of(labelling, case, name, image) for name in names]
    labels, undecided = consensus(masks, method)
    note = f"Consensus of {', '.join(names)}."
    if undecided:
        note += f" {undecided} voxels without a decision are background."
    described = Proposal(
        case=case,
        model=f"{method} of {len(names)} readers",
        sha256=hashlib.sha256(labels.tobytes()).hexdigest(),
        method=method,
        made=now(),
        note=note,
    )
    return labelling.propose(described, labels)


def consensus(
    masks: Sequence[NDArray[Any]], method: Method = "STAPLE"
) -> tuple[NDArray[np.uint8], int]:
    """Return the consensus of masks, and the number of voxels without a decision (background).

    Parameters
    ----------
    masks
        Class indices, of equal shape.
    """
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    undecided = int(np.max(masks)) + 1
    # STAPLE estimates nothing where all agree, and divides by zero if they agree everywhere.
    if all(np.array_equal(mask, masks[0]) for mask in masks[1:]):
        return masks[0].astype(np.uint8), 0
    if method == "majority":
        found = sitk.LabelVoting(images, undecided)
    else:
        found = sitk.MultiLabelSTAPLE(images, undecided)
    labels = sitk.GetArrayFromImage(found).astype(np.uint8)
    open_voxels = labels == undecided
    labels[open_voxels] = 0
    return labels, int(np.count_nonzero(open_voxels))


def as_table(rows: Sequence[Agreement]) -> list[Mapping[str, Any]]:
    """Return rows for JSON, without NaN and infinity."""
    return [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(row).items()
        }
        for row in rows
    ]


def mask_of(labelling: Labelling, case: str, reader: str, image: Any) -> NDArray[Any]:
    """Return the draft of a reader, or the finished mask for `FINISHED`, on the grid of `image`.

    Raises
    ------
    UserError
        If the mask is damaged or on another grid.
    """
    one = labelling.case(case)
    path = labelling.paths.draft(case, reader)
    if reader == FINISHED:
        path = mask_path(labelling.dataset, one)
    return read_mask(labelling.dataset, one, path, image)
