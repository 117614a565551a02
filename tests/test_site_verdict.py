"""The verdict of benchmarks/generalisable, on rows that are made up."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "generalisable" / "verdict.py"
CASES = [f"case_{number}" for number in range(8)]


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("site_verdict", PATH)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def row(kind: str, dice: float, seed: int = 0, teacher: str | None = None) -> dict[str, Any]:
    cases = {case: dice + 0.001 * number for number, case in enumerate(CASES)}
    mean = sum(cases.values()) / len(cases)
    return {
        "row": f"shift-{kind}-{seed}",
        "teacher": teacher,
        "sites": {
            "here": {"role": "source", "mean": 0.9, "cases": {}},
            "there": {"role": "target", "mean": mean, "cases": cases},
        },
    }


def kinds(ours: float, teacher: float = 0.8, **rivals: float) -> dict[str, list[dict[str, Any]]]:
    rows = {"generalisable": [row("generalisable", ours, teacher="teacher_gin")],
            "teacher_gin": [row("teacher_gin", teacher)]}  # fmt: skip
    return rows | {kind: [row(kind, dice)] for kind, dice in rivals.items()}


def test_the_rival_is_the_row_with_the_highest_dice_on_the_target(module) -> None:
    found = module.outcome(kinds(0.78, logits=0.7, dist=0.75), ("logits", "dist", "emkd"))
    assert (found.rival, found.absent, found.seeds) == ("dist", ["emkd"], [0])
    assert found.difference.difference == pytest.approx(0.03)
    assert found.difference.outcome == "better"
    assert found.kept == pytest.approx(0.7835 / 0.8035)
    assert found.reached


@pytest.mark.parametrize(("ours", "rival"), [(0.72, 0.7), (0.78, 0.79)])
def test_a_shift_is_lost_below_the_teacher_or_below_the_rival(module, ours, rival) -> None:
    assert not module.outcome(kinds(ours, logits=rival), ("logits",)).reached


def test_only_seeds_that_both_have_are_compared(module) -> None:
    rows = kinds(0.7, logits=0.6)
    rows["logits"] += [row("logits", 0.9, seed=1)]
    assert module.outcome(rows, ("logits",)).difference.last == pytest.approx(0.6035)


def test_without_rows_of_the_method_nothing_is_decided(module) -> None:
    assert module.outcome({"logits": [row("logits", 0.7)]}) is None
    assert "not decided" in module.sentence("phantom", None, {})


@pytest.mark.parametrize(
    ("won", "expected"),
    [
        (2, "The goal is reached on 2 of 3 shifts."),
        (1, "on 1 of 3 shifts only, 2 are wanted. What keeps more Dice on the target: DIST."),
    ],
)
def test_the_verdict_counts_the_shifts(module, won: int, expected: str) -> None:
    tasks = {f"s{k}": kinds(0.8 if k < won else 0.6, dist=0.7) for k in range(3)}
    rivals = dict.fromkeys(tasks, ("dist",))
    text = module.verdict(tasks, {"dist": "DIST"}, rivals)
    assert text.endswith(expected)
    assert "neither" not in text
    assert "less than DIST (0.703; difference -10.0 points [-10.0, -10.0], 8 cases, seed 0)" in text


def test_missing_rows_leave_the_verdict_open(module) -> None:
    tasks = {"one": kinds(0.8, dist=0.7), "two": {}}
    text = module.verdict(tasks, {"dist": "DIST"}, dict.fromkeys(tasks, ("dist",)))
    assert text.endswith("**Partial**: rows are missing, so that there is no verdict yet.")
