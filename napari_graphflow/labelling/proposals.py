"""``labelling/proposals``: masks that models propose, with how certain they are."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.uncertainty import SlabStatistics, disagreement_by_slab
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.masks import content_hash, read_mask, write_mask
from napari_graphflow.labelling.records import now
from napari_graphflow.system.files import replace_file


class Proposal(Frozen):
    """The description of a proposed mask.

    Parameters
    ----------
    case
        Name of the case.
    model
        Name of the model, or of the method that made a consensus of readers.
    sha256
        SHA-256 of the model's weights; of a consensus, of its mask.
    method
        How it was made, such as ``model``, ``STAPLE`` or ``majority``.
    folder
        Folder of the model; empty for a consensus.
    mask
        SHA-256 of the file of the mask.
    made
        When it was made.
    seconds
        Time of the computation.
    statistics
        Uncertainty and voxels per structure and slab; None for a consensus.
    disagreement
        By the SHA-256 of each other model with a proposal for the case, see
        :func:`napari_graphflow.evaluation.uncertainty.disagreement_by_slab`.
    note
        A sentence for the reader, such as the number of voxels without a majority.
    """

    case: str
    model: str
    sha256: str
    method: str = "model"
    folder: str = ""
    mask: str = ""
    made: datetime
    seconds: float = 0.0
    statistics: SlabStatistics | None = None
    disagreement: dict[str, dict[str, tuple[float, ...]]] = Field(default_factory=dict)
    note: str = ""


def store_proposal(
    paths: LabellingPaths,
    dataset: Dataset,
    case: Case,
    image: Volume,
    labels: NDArray[Any],
    described: Proposal,
) -> Proposal:
    """Write a proposed mask and its description; one of the same model is replaced.

    Parameters
    ----------
    labels
        Class indices on the grid of the image.
    described
        The description, to which the hash of the mask and the disagreement with other models are
        added.
    """
    mask = paths.proposal(case.name, described.sha256)
    write_mask(dataset, mask, labels, image)
    differs: dict[str, dict[str, tuple[float, ...]]] = {}
    if described.statistics is not None:
        for other in read_proposals(paths, case.name):
            if other.sha256 != described.sha256 and other.statistics is not None:
                theirs = read_mask(dataset, case, paths.proposal(case.name, other.sha256), image)
                differs[other.sha256] = disagreement_by_slab(
                    labels, theirs, dataset.classes, described.statistics.thickness
                )
    stored = described.model_copy(
        update={"mask": content_hash(mask), "disagreement": differs, "made": now()}
    )
    # Written last: a mask without a description is no proposal.
    record = paths.proposal_record(case.name, described.sha256)
    replace_file(record, stored.model_dump_json(indent=1).encode() + b"\n")
    return stored


def read_proposals(paths: LabellingPaths, case: str) -> list[Proposal]:
    """Return the proposals for a case, the newest first."""
    return read_described(paths, paths.proposal_records(case))


def read_described(paths: LabellingPaths, records: Sequence[Path]) -> list[Proposal]:
    """Return the proposals that some files describe, the newest first, without damaged ones."""
    found = [
        one
        for path in records
        if isinstance(one := _read(paths, path), Proposal)
        and paths.proposal(one.case, one.sha256).is_file()
    ]
    return sorted(found, key=lambda one: (one.made, one.sha256), reverse=True)


def damaged_proposals(paths: LabellingPaths, records: Sequence[Path]) -> list[str]:
    """Return why each damaged description cannot be read."""
    return [str(one) for path in records if isinstance(one := _read(paths, path), UserError)]


def _read(paths: LabellingPaths, path: Path) -> Proposal | UserError:
    try:
        found = read_config(Proposal, path)
    except UserError as error:
        return error
    if paths.proposal_record(found.case, found.sha256) != path:
        return UserError(f"{path} cannot be read: it describes another proposal.")
    return found


def open_proposal(
    proposals: list[Proposal], rejected: tuple[str, ...], model: str = ""
) -> Proposal | None:
    """Return the newest proposal that was not rejected; `model` is the begin of a SHA-256."""
    for one in proposals:
        if one.sha256.startswith(model) and (model or one.sha256 not in rejected):
            return one
    return None
