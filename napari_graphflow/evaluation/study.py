"""A finished comparison of two or three masks, models or readers, on one case or many."""

import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.settings import Frozen
from napari_graphflow.evaluation.metrics import CaseResult, summarise
from napari_graphflow.evaluation.paired import PairedDifference, mean_of_cases, paired_difference
from napari_graphflow.evaluation.sites import CodeMap

#: What is compared. `alone` is a student that was trained without its teacher.
Role = Literal["teacher", "student", "alone", "mask"]
_HEADINGS: dict[Role, str] = {
    "teacher": "Teacher", "student": "Student", "alone": "Student alone", "mask": "Mask",
}  # fmt: skip
#: The columns of tables: metric, title, digits. Sizes have another name in 2D.
COLUMNS = (
    ("dice_score", "Dice", 3),
    ("surface_dice", "NSD", 3),
    ("hausdorff_distance_95", "HD95 mm", 1),
    ("average_surface_distance", "ASSD mm", 2),
)


class Cost(Frozen):
    """What a model costs on this computer; None where it was not measured.

    Parameters
    ----------
    parameters
        Number of weights.
    model_bytes
        Size of its file of weights.
    seconds
        Median seconds per case, without loading the model.
    peak_bytes
        Peak memory of a fresh process that segments one case, its libraries included; of the GPU
        where one is used.
    device
        Device and library.
    """

    parameters: int | None = None
    model_bytes: int | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    device: str = ""


class Side(Frozen):
    """One of the masks or models that are compared.

    Parameters
    ----------
    letter
        ``A``, ``B``, or empty for the student alone that was added for the verdict.
    role, name
        What it is, and its name.
    cost
        Of a model.
    scores
        By case and structure, see :func:`napari_graphflow.evaluation.metrics.evaluate_case`.
    worst_slices
        By case, the slice with the most voxels that differ from the reference; None where none
        differ, or for 2D images.
    curve
        Step and validation Dice of its training, where they are known.
    facts
        How it was trained, by name.
    """

    # Infinite distances (a missed structure) and NaN must survive in JSON.
    model_config = ConfigDict(ser_json_inf_nan="strings", defer_build=True)

    letter: str
    role: Role
    name: str
    cost: Cost | None = None
    scores: dict[str, CaseResult] = Field(default_factory=dict)
    worst_slices: dict[str, int | None] = Field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    facts: dict[str, str] = Field(default_factory=dict)

    def dice(self, structure: str | None = None) -> dict[str, float | None]:
        """Return the Dice of each case, of one structure or the mean over structures."""
        by_case: dict[str, dict[str, float | None]] = {
            case: {
                name: None if math.isnan(metrics["dice_score"]) else metrics["dice_score"]
                for name, metrics in structures.items()
            }
            for case, structures in self.scores.items()
        }
        if structure is None:
            return mean_of_cases(by_case)
        return {case: values.get(structure) for case, values in by_case.items()}

    @property
    def mean_dice(self) -> float:
        """Mean over cases of the mean over structures; NaN without any."""
        known = [value for value in self.dice().values() if value is not None]
        return float(np.mean(known)) if known else math.nan

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the statistics of every structure and metric."""
        return summarise(self.scores)


class Study(Frozen):
    """What was compared with what, and all scores.

    Parameters
    ----------
    sides
        The masks or models, A and B first. Without a reference B alone has scores, against A.
    against
        What the scores are measured against: ``reference`` or ``A``.
    dataset, split
        Of the cases; empty for a single case.
    tolerance
        Of the surface Dice, in mm.
    dims
        2 for 2D images.
    made
        Date and time, ISO 8601.
    versions
        Versions of the libraries, by name.
    notes
        What was left out, as sentences.
    sites
        Site of each case; empty with fewer than two sites.
    codes
        How networks that know the codes of their training images describe those of each site.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings", defer_build=True)

    sides: tuple[Side, ...]
    against: Literal["reference", "A"] = "reference"
    dataset: str = ""
    split: str = ""
    tolerance: float
    dims: int = 3
    made: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sites: dict[str, str] = Field(default_factory=dict)
    codes: tuple[CodeMap, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if len(self.sides) < 2 or not self.scored:
            raise ValueError("a comparison has two sides, and scores")
        every = (
            one for side in self.scored for case in side.scores.values() for one in case.values()
        )
        if any("dice_score" not in metrics for metrics in every):
            raise ValueError("a score has no dice_score")
        if any(not 0 <= one.side < len(self.sides) for one in self.codes):
            raise ValueError("codes are of a side that is not there")
        return self

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(case for side in self.sides for case in side.scores))

    @property
    def structures(self) -> list[str]:
        return list(
            dict.fromkeys(
                name
                for side in self.sides
                for structures in side.scores.values()
                for name in structures
            )
        )

    @property
    def scored(self) -> list[Side]:
        """The sides that have scores."""
        return [side for side in self.sides if side.scores]

    @property
    def unit(self) -> str:
        """Unit of sizes in the names of metrics."""
        return "ml" if self.dims == 3 else "mm2"

    def heading(self, side: Side) -> str:
        """Return what a side is called: by its role, with its letter where that says more."""
        title = _HEADINGS[side.role]
        same = [one for one in self.sides if one.role == side.role]
        if side.letter and (side.role == "mask" or len(same) > 1):
            return f"{title} {side.letter}"
        return title

    def of_role(self, role: Role) -> Side | None:
        """Return the only side of a role; None if there is none, or several."""
        found = [side for side in self.scored if side.role == role]
        return found[0] if len(found) == 1 else None

    def difference(
        self, new: Side, last: Side, structure: str | None = None
    ) -> PairedDifference | None:
        """Return the paired difference in Dice of two sides."""
        return paired_difference(new.dice(structure), last.dice(structure))

    def unnamed(self) -> "Study":
        """Return the study with numbers in place of the names of cases, masks and sites."""
        places = {one: f"site {n}" for n, one in enumerate(sorted(set(self.sites.values())), 1)}
        numbers = {case: f"case {number}" for number, case in enumerate(self.cases, start=1)}
        sides = [
            side.model_copy(
                update={
                    "name": "" if side.role == "mask" else side.name,
                    "scores": {numbers[case]: found for case, found in side.scores.items()},
                    "worst_slices": {numbers[one]: z for one, z in side.worst_slices.items()},
                }
            )
            for side in self.sides
        ]
        count = len(self.notes)
        many = f"{count} remarks name files" if count > 1 else "One remark names files"
        hidden = (f"{many}: see the report with names.",) if count else ()
        sites = {numbers[case]: places[site] for case, site in self.sites.items()}
        codes = tuple(one.renamed(places) for one in self.codes)
        return self.model_copy(
            update={"sides": tuple(sides), "notes": hidden, "sites": sites, "codes": codes}
        )


def role_of(card: ModelCard) -> Role:
    """Return what a model is in a comparison; a student of unknown origin counts as distilled."""
    if card.role == "teacher":
        return "teacher"
    made = card.provenance
    return "alone" if made is not None and made.teacher is None else "student"


def versions() -> dict[str, str]:
    """Return the versions of the libraries that compute masks and scores."""
    found = {"Python": platform.python_version()}
    for name in ("napari-graphflow", "torch", "openvino", "numpy", "scipy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def worst_slice(mask: np.ndarray, reference: np.ndarray, ignore: int) -> int | None:
    """Return the slice (first axis) with the most voxels that differ; None without any, or in 2D.

    Voxels with the value `ignore` in the reference do not count.
    """
    if mask.ndim != 3:
        return None
    differs = ((mask != reference) & (reference != ignore)).reshape(len(mask), -1).sum(1)
    worst = int(differs.argmax())
    return worst if differs[worst] else None


def cases_by_dice(side: Side) -> list[str]:
    """Return the cases with a score, the worst first."""
    known: Mapping[str, float | None] = side.dice()
    scored = {case: value for case, value in known.items() if value is not None}
    return sorted(scored, key=scored.__getitem__)
