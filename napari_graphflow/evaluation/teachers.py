"""Which cases tell whether a teacher is good enough to teach, and the refusal if it is not."""

import numpy as np

from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.system.events import TeacherScored

#: Number of cases that are scored at most, spread over all.
MOST_CASES = 10
#: A class with a smaller Dice in several cases is missed, if another one has a good Dice.
_MISSED, _GOOD, _SEVERAL = 0.05, 0.5, 2
#: Where a user finds the setting, in the window and on the command line.
_SETTING = "smallest Dice of the teacher under Advanced, --teacher-min-dice; 0 turns the check off"


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


def missed_classes(scores: TeacherScored) -> list[str]:
    """Return the classes that are not found in several cases, although others are found well."""
    dice = {name: value for name, value in scores.dice.items() if value is not None}
    if max(dice.values(), default=0.0) < _GOOD:
        return []
    return [
        name
        for name, value in dice.items()
        if value < _MISSED and scores.present.get(name, 0) >= _SEVERAL
    ]


def is_poor(scores: TeacherScored, bound: float) -> bool:
    """Whether a teacher has a smaller mean Dice than `bound`, or misses a class; never for 0."""
    small = scores.mean is not None and scores.mean < bound
    return bound > 0 and (small or bool(missed_classes(scores)))


def refuse_poor(name: str, scores: TeacherScored, bound: float) -> None:
    """Refuse a teacher with a smaller mean Dice than `bound`, or one that misses a class.

    With a bound of 0 none is refused.

    Raises
    ------
    UserError
        If it has.
    """
    if not is_poor(scores, bound):
        return
    cause = f" {scores.cause}" if scores.cause else ""
    if scores.mean is not None and scores.mean < bound:
        listed = str(scores).removeprefix("Teacher: ").removesuffix(".")
        raise UserError(
            f"{name} is too poor to teach: {listed}, and at least {bound:g} is required.{cause}",
            "Train it longer; or check orientation, axes, intensity and classes in its model.json; "
            f"or require less ({_SETTING}).",
            "poor_model",
        )
    listed = ", ".join(f"{name} {scores.dice[name]:.2f}" for name in missed_classes(scores))
    raise UserError(
        f"{name} finds other classes, but not these (mean Dice): {listed}.{cause}",
        "Small structures need longer training; the model.json of a model from elsewhere may have "
        f"its classes in another order. Or require less ({_SETTING}).",
        "poor_model",
    )
