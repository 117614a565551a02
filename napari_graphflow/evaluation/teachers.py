"""Which cases tell whether a teacher is good enough to teach, and the refusal if it is not."""

import numpy as np

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.system.events import TeacherScored

#: Number of cases that are scored at most, spread over all.
MOST_CASES = 10


def cases_to_score(dataset: Dataset) -> tuple[list[Case], TeacherScored]:
    """Return the cases to score, and empty scores with their numbers.

    They are validation cases, or training cases if none of those has a mask.

    Raises
    ------
    UserError
        If no case has a mask.
    """
    validation = dataset.labelled("val")
    cases = validation or dataset.labelled("train")
    if not cases:
        raise UserError(
            f"The dataset {dataset.name} has no labelled case.",
            "Annotate at least one case, or import the dataset with masks.",
        )
    picks = np.linspace(0, len(cases) - 1, min(MOST_CASES, len(cases))).round().astype(int)
    empty = TeacherScored(
        dice={},
        mean=None,
        cases=len(picks),
        available=len(cases),
        split="val" if validation else "train",
    )
    return [cases[pick] for pick in picks], empty


def refuse_poor(name: str, scores: TeacherScored, bound: float) -> None:
    """Refuse a teacher with a smaller mean Dice than `bound`.

    Raises
    ------
    UserError
        If it has.
    """
    if scores.mean is not None and scores.mean < bound:
        listed = str(scores).removeprefix("Teacher: ").removesuffix(".")
        raise UserError(
            f"{name} is too poor to teach: {listed}, and at least {bound:g} is required.",
            "Check orientation, axes and intensity in its model.json, and its classes; or set "
            "teacher_min_dice lower (0 turns the check off).",
        )
