"""Verdicts on made-up scores."""

import numpy as np
import pytest

from napari_graphflow.evaluation.paired import Scores
from napari_graphflow.labelling.verdict import judge


def scores(*values: float) -> Scores:
    return {f"case {n}": {"liver": value} for n, value in enumerate(values)}


def test_a_verdict_states_what_the_student_alone_and_the_teacher_have() -> None:
    verdict = judge(scores(0.8, 0.9), {}, None, alone=scores(0.7, 0.9), teacher=scores(0.95, 0.85))
    assert verdict.sentence == (
        "The first model: mean Dice 0.850 on 2 frozen cases which no round trains on. For "
        "comparison: the same student without a teacher has 0.800 (-0.050), the teacher has 0.900."
    )
    assert verdict.alone is not None and verdict.alone.difference == pytest.approx(0.05)
    assert verdict.teacher == pytest.approx(0.9)


def test_a_student_that_is_worse_than_alone_may_still_be_the_default_but_says_so() -> None:
    verdict = judge(scores(0.8, 0.8), scores(0.7, 0.7), 1, alone=scores(0.9, 0.9))
    assert verdict.accepted and "without a teacher has 0.900 (+0.100)" in verdict.sentence


def test_one_clearly_worse_structure_keeps_the_last_model() -> None:
    last: Scores = {f"{n}": {"liver": 0.5, "lesion": 0.6} for n in range(4)}
    new: Scores = {f"{n}": {"liver": 0.9, "lesion": 0.5 - n / 100} for n in range(4)}
    verdict = judge(new, last, 3)
    assert verdict.outcome == "better" and not verdict.accepted
    assert "Clearly worse: lesion. The model of round 3 remains" in verdict.sentence


def test_structures_that_neither_mask_contains_are_left_out_of_the_pairs() -> None:
    new: Scores = {"a": {"liver": 0.8, "lesion": None}, "b": {"liver": 0.6, "lesion": 0.4}}
    last: Scores = {"a": {"liver": 0.7, "lesion": None}, "b": {"liver": 0.6, "lesion": 0.2}}
    verdict = judge(new, last, 1)
    assert verdict.overall is not None and verdict.structures["lesion"].cases == 1
    assert verdict.overall.new == pytest.approx(np.mean([0.8, 0.5]))
    assert verdict.structures["lesion"].low is None
