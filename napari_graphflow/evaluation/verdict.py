"""The verdict on a comparison, in one sentence or two."""

import math

from napari_graphflow.evaluation.paired import PairedDifference
from napari_graphflow.evaluation.study import Cost, Side, Study


def verdict(study: Study) -> str:
    """Say what was gained and lost.

    The interval is that of the paired difference in mean Dice over the cases, in points (1 point
    is 0.01). A difference whose interval contains 0 is called unclear.
    """
    if study.against == "A":
        return _against_a(study)
    teacher, student = study.of_role("teacher"), study.of_role("student")
    alone = study.of_role("alone")
    if teacher and student and not math.isnan(teacher.mean_dice + student.mean_dice):
        return _distilled(study, teacher, student, alone)
    if student and alone:
        return _with_and_without(study, student, alone)
    return _pair(study)


def _distilled(study: Study, teacher: Side, student: Side, alone: Side | None) -> str:
    text = f"The student keeps {_kept(study, student, teacher)} of the teacher's Dice"
    text += _cost(student.cost, teacher.cost)
    if alone is None:
        return (
            f"{text} ({_cases(study)}). What distillation contributed is not known: the same "
            "student without distillation was not compared."
        )
    found = study.difference(student, alone)
    if found is None:
        return f"{text}. No case was scored with the student alone."
    kept = _kept(study, alone, teacher)
    text += f"; without distillation it would keep {kept} ({_interval(found)})."
    return text + _meaning(found)


def _with_and_without(study: Study, student: Side, alone: Side) -> str:
    found = study.difference(student, alone)
    if found is None:
        return "No case was scored with both."
    return (
        f"With distillation the student has a mean Dice of {found.new:.3f}, without "
        f"{found.last:.3f} ({_interval(found)}).{_meaning(found)}"
    )


def _pair(study: Study) -> str:
    a, b = study.sides[:2]
    found = study.difference(b, a)
    first, second = study.heading(a), study.heading(b)
    if found is None:
        return f"{first} and {second} have no structure in common to score."
    text = f"{second} has a mean Dice of {found.new:.3f}, {first} {found.last:.3f}"
    if found.cases == 1:
        return f"{text} (one case, which allows no general statement)."
    outcome = {
        "better": f"{second} is better.",
        "worse": f"{first} is better.",
        "unclear": "The difference is unclear: the interval contains 0.",
    }[found.outcome]
    return f"{text} ({_interval(found)}). {outcome}"


def _against_a(study: Study) -> str:
    b = study.sides[1]
    if math.isnan(b.mean_dice):
        return "Neither A nor B contains a structure."
    return (
        f"A and B agree with a mean Dice of {b.mean_dice:.3f} ({_cases(study)}). Without a "
        "reference this says how alike they are, not which is better."
    )


def _kept(study: Study, side: Side, teacher: Side) -> str:
    found = study.difference(side, teacher)
    if found is None or not found.last:
        return "an unknown share"
    return f"{100 * found.new / found.last:.0f} %"


def _cost(student: Cost | None, teacher: Cost | None) -> str:
    ours, theirs = (cost.seconds if cost else None for cost in (student, teacher))
    if not ours or not theirs:
        return ""
    ratio = theirs / ours
    if ratio >= 1.5:
        return f" at 1/{ratio:.0f} of the time" if ratio >= 2 else " at two thirds of the time"
    return " in about the same time" if ratio > 0.8 else f" in {1 / ratio:.1f} times the time"


def _interval(found: PairedDifference) -> str:
    if found.low is None or found.high is None:
        return f"{_count(found.cases)}, too few for an interval"
    low, high = 100 * found.low, 100 * found.high
    return f"95 % interval of the difference {low:.1f} to {high:.1f} points, {_count(found.cases)}"


def _meaning(found: PairedDifference) -> str:
    if found.low is None or found.outcome == "better":
        return ""
    if found.outcome == "worse":
        return " Distillation made it worse."
    return " Whether distillation helped is unclear: the interval contains 0."


def _cases(study: Study) -> str:
    return _count(len(study.cases))


def _count(cases: int) -> str:
    return f"{cases} case{'s' * (cases != 1)}"
