"""Where the finished mask of a case comes from, for DICOM SEG and as JSON beside a mask."""

from typing import Any, Literal

from napari_graphflow import __version__
from napari_graphflow.config.settings import Frozen
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import Origin
from napari_graphflow.labelling.layout import SHORT
from napari_graphflow.labelling.log import Entry
from napari_graphflow.labelling.masks import content_hash, mask_path
from napari_graphflow.labelling.steps import CaseSteps

#: As in DICOM's Segment Algorithm Type.
AlgorithmType = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL", ""]


class Provenance(Frozen):
    """Where a mask comes from.

    Parameters
    ----------
    mask
        SHA-256 of the file of the mask.
    algorithm_type
        ``AUTOMATIC`` for an accepted proposal that nobody changed, ``SEMIAUTOMATIC`` for one that
        was edited or a mask from another program, ``MANUAL`` for one that was drawn. Empty if the
        mask was not made here, so that nothing is known.
    algorithm, version
        Name of the model or program, and the begin of the SHA-256 of the model's weights.
    reader
        Who finished it; empty unless names are asked for.
    time
        When, UTC; empty if it was there before.
    images
        Its images, relative to the dataset's folder.
    """

    mask: str
    algorithm_type: AlgorithmType
    algorithm: str = ""
    version: str = ""
    reader: str = ""
    time: str = ""
    images: tuple[str, ...]

    def sidecar(self) -> dict[str, Any]:
        """Return the JSON beside a mask, with the keys of BIDS derivatives."""
        made_by: list[dict[str, Any]] = [{"Name": "napari-graphflow", "Version": __version__}]
        if self.algorithm:
            made_by.insert(0, {"Name": self.algorithm, "Version": self.version})
        if self.reader:
            made_by.append({"Name": self.reader, "Description": "reader"})
        return {
            "GeneratedBy": made_by,
            "Sources": [f"bids:raw:{image}" for image in self.images],
            "SegmentAlgorithmType": self.algorithm_type or None,
            "SHA256": self.mask,
            "Date": self.time,
        }

    def origin(self) -> Origin:
        """Return the same for DICOM SEG, which requires a type also if nothing is known."""
        if not self.algorithm_type:
            return Origin("SEMIAUTOMATIC", "", "", network=False)
        network = bool(self.version)
        return Origin(self.algorithm_type, self.algorithm, self.version, network, self.reader)


def provenance(steps: CaseSteps, name: str, *, names: bool = False) -> Provenance:
    """Return where the finished mask of a case comes from, by the log.

    Parameters
    ----------
    names
        Whether to include the name of the reader.

    Raises
    ------
    UserError
        If the case has no finished mask.
    """
    case = steps.case(name)
    # Another program may have replaced the mask that is recorded.
    mask = content_hash(mask_path(steps.dataset, case)) or steps.facts(name).mask
    if not mask:
        raise UserError(f"The case {name} has no finished mask.", "Save its mask first.")
    made: Entry | None = None
    for entry in steps.entries():
        known = entry.case == name and entry.to_mask == mask
        if known and entry.what in ("save", "accept", "found"):
            made = entry
    folder = steps.dataset.folder
    images = tuple(
        (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
        for path in case.images
    )
    if made is None or made.what == "found":
        return Provenance(mask=mask, algorithm_type="", images=images)
    kind: AlgorithmType = "AUTOMATIC" if made.what == "accept" else "MANUAL"
    if made.what == "save" and (made.proposal or made.source):
        kind = "SEMIAUTOMATIC"
    return Provenance(
        mask=mask,
        algorithm_type=kind,
        algorithm=made.source or made.model,
        version=made.proposal[:SHORT],
        reader=made.who if names else "",
        time=made.time.isoformat(),
        images=images,
    )
