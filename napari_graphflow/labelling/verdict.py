"""Whether the model of a round is better than the last one, on the same frozen cases."""

from typing import Literal

import numpy as np
from pydantic import Field

from napari_graphflow.config.settings import Frozen
from napari_graphflow.evaluation.paired import (
    PairedDifference,
    Scores,
    mean_of_cases,
    paired_difference,
)

Outcome = Literal["first", "better", "worse", "unclear"]


class Verdict(Frozen):
    """The verdict on the model of a round.

    Parameters
    ----------
    outcome
        ``first`` if there was nothing to compare with.
    accepted
        Whether the model becomes the default: not if it is worse on average, nor if one structure
        is clearly worse.
    last
        Number of the round it was compared with; None for the first.
    overall, structures
        PairedDifference of the mean over structures, and of each structure.
    alone
        The student (new) compared with the same student without its teacher (last); None if it was
        not trained.
    teacher
        Mean Dice of the teacher; None without one.
    sentence
        The verdict in words.
    """

    outcome: Outcome
    accepted: bool
    last: int | None = None
    overall: PairedDifference | None = None
    structures: dict[str, PairedDifference] = Field(default_factory=dict)
    alone: PairedDifference | None = None
    teacher: float | None = None
    sentence: str


def judge(
    new: Scores,
    last: Scores,
    last_round: int | None,
    *,
    alone: Scores | None = None,
    teacher: Scores | None = None,
) -> Verdict:
    """Compare the model of a round with the last one, and with the same student on its own.

    Parameters
    ----------
    new, last
        Dice by case and structure.
    last_round
        Number of the round of the last model; None if there is none.
    alone, teacher
        The same of the student without its teacher, and of the teacher.
    """
    verdict = _against_last(new, last, last_round)
    single = None if alone is None else paired_difference(mean_of_cases(new), mean_of_cases(alone))
    known = [value for value in mean_of_cases(teacher or {}).values() if value is not None]
    taught = float(np.mean(known)) if known else None
    parts = []
    if single is not None:
        parts.append(
            f"the same student without a teacher has {single.last:.3f} "
            f"({single.last - single.new:+.3f})"
        )
    if taught is not None:
        parts.append(f"the teacher has {taught:.3f}")
    more = f" For comparison: {', '.join(parts)}." if parts else ""
    return verdict.model_copy(
        update={"alone": single, "teacher": taught, "sentence": verdict.sentence + more}
    )


def _against_last(new: Scores, last: Scores, last_round: int | None) -> Verdict:
    """Compare the scores of two models on the cases that both were scored on.

    Parameters
    ----------
    new, last
        Dice by case and structure.
    last_round
        Number of the round of the last model; None if there is none.
    """
    mean = mean_of_cases(new)
    if last_round is None:
        known = [value for value in mean.values() if value is not None]
        text = "The first model; there is nothing to compare it with."
        if known:
            text = (
                f"The first model: mean Dice {np.mean(known):.3f} on {_cases(len(known))} which no "
                "round trains on."
            )
        return Verdict(outcome="first", accepted=True, sentence=text)
    overall = paired_difference(mean, mean_of_cases(last))
    structures = {}
    for name in sorted({name for scores in new.values() for name in scores}):
        one = paired_difference(
            {case: scores.get(name) for case, scores in new.items()},
            {case: scores.get(name) for case, scores in last.items()},
        )
        if one is not None:
            structures[name] = one
    if overall is None:
        text = "No case was scored with both models, so the last model remains the default."
        return Verdict(outcome="unclear", accepted=False, last=last_round, sentence=text)
    worse = [name for name, one in structures.items() if one.outcome == "worse"]
    accepted = overall.difference >= 0 and not worse
    words = {
        "better": "Better than",
        "worse": "Worse than",
        "unclear": "No clear difference from",
        "first": "",
    }[overall.outcome]
    text = (
        f"{words} round {last_round} on {_cases(overall.cases)}: mean Dice {overall.new:.3f} "
        f"instead of {overall.last:.3f} ({overall.difference:+.3f}{_interval(overall)})."
    )
    if worse:
        text += f" Clearly worse: {', '.join(worse)}."
    if not accepted:
        text += f" The model of round {last_round} remains the default."
    return Verdict(
        outcome=overall.outcome,
        accepted=accepted,
        last=last_round,
        overall=overall,
        structures=structures,
        sentence=text,
    )


def _cases(count: int) -> str:
    return f"{count} frozen case{'s' * (count != 1)}"


def _interval(one: PairedDifference) -> str:
    if one.low is None or one.high is None:
        return ", too few cases for an interval"
    return f", 95 % interval {one.low:+.3f} to {one.high:+.3f}"
