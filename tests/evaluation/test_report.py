"""The report of a comparison, and its verdict."""

import csv
import json
import math
from pathlib import Path

import pytest

from napari_graphflow.evaluation.report import Picture, score_rows, write_report
from napari_graphflow.evaluation.study import Cost, Role, Side, Study
from napari_graphflow.evaluation.verdict import verdict

METRICS = {
    "dice_score": 0.9, "surface_dice": 0.8, "hausdorff_distance_95": 2.0,
    "average_surface_distance": 1.0, "absolute_volume_error": 0.1, "relative_volume_error": -0.1,
    "prediction_ml": 90.0, "reference_ml": 100.0,
}  # fmt: skip


def side(role: Role, *dice: float, letter: str = "", seconds: float | None = None) -> Side:
    return Side(
        letter=letter,
        role=role,
        name=f"{role} <&> net",
        cost=Cost(parameters=1_234_567, model_bytes=5_000_000, seconds=seconds),
        scores={f"Doe^{n}": {"liver": METRICS | {"dice_score": one}} for n, one in enumerate(dice)},
    )


def study(*sides: Side) -> Study:
    return Study(sides=sides, tolerance=2.0, dataset="livers", split="test")


TEACHER = side("teacher", 0.90, 0.80, 0.85, letter="A", seconds=14.0)
STUDENT = side("student", 0.88, 0.79, 0.80, letter="B", seconds=1.0)
ALONE = side("alone", 0.80, 0.75, 0.74)


def test_a_verdict_states_what_is_kept_with_and_without_distillation() -> None:
    assert verdict(study(TEACHER, STUDENT, ALONE)) == (
        "The student keeps 97 % of the teacher's Dice at 1/14 of the time; without distillation "
        "it would keep 90 % (95 % interval of the difference 4.0 to 8.0 points, 3 cases)."
    )


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (side("alone", 0.95, 0.90, 0.89), "Distillation made it worse."),
        (side("alone", 0.80, 0.85, 0.80), "Whether distillation helped is unclear"),
    ],
)
def test_a_verdict_does_not_claim_a_gain_that_is_none(alone: Side, words: str) -> None:
    assert words in verdict(study(TEACHER, STUDENT, alone))


def test_a_verdict_without_the_student_alone_claims_nothing_of_distillation() -> None:
    assert "What distillation contributed is not known" in verdict(study(TEACHER, STUDENT))


def test_one_case_allows_no_general_statement() -> None:
    a, b = side("mask", 0.9, letter="A"), side("mask", 0.8, letter="B")
    assert verdict(study(a, b)).endswith("(one case, which allows no general statement).")


def test_missed_and_absent_structures_are_counted() -> None:
    missed = METRICS | {"dice_score": 0.0, "hausdorff_distance_95": math.inf}
    absent = METRICS | {"dice_score": math.nan, "hausdorff_distance_95": math.nan}
    scores = {"a": {"liver": METRICS}, "b": {"liver": missed}, "c": {"liver": absent}}
    one, other = (Side(letter=letter, role="mask", name="", scores=scores) for letter in "AB")
    again = Study.model_validate_json(study(one, other).model_dump_json())
    row, _ = score_rows(again)
    assert (row.n, row.missed, row.absent) == (2, 1, 1)
    assert row.cells[0][0] == pytest.approx(0.45) and row.cells[2][0] == 2.0


def test_a_report_is_escaped_and_complete_and_needs_no_network(tmp_path: Path) -> None:
    found = study(TEACHER, STUDENT.model_copy(update={"curve": ((100, 0.5), (200, 0.8))}), ALONE)
    picture = Picture("Doe^0", "Doe^0 <script>: worst", b"png")
    classes = {"background": 0, "liver": 1}
    files = write_report(
        tmp_path / "r.html", found, title="A & B", pictures=[picture], classes=classes
    )
    page = files[0].read_text("utf-8")
    assert "A &amp; B" in page and "teacher &lt;&amp;&gt; net" in page and "<script" not in page
    assert "http" not in page and "1,234,567" in page and "<polyline" in page and "<rect" in page
    rows = list(csv.DictReader(files[1].read_text("utf-8").splitlines()))
    assert len(rows) == 9 and rows[0]["side"] == "Teacher" and rows[0]["dice_score"] == "0.9"
    data = json.loads(files[2].read_text("utf-8"))
    assert data["verdict"] == verdict(found)
    (student, *_) = [one for one in data["differences"] if one["what"].endswith("alone")]
    assert student["cases"] == 3


def test_names_of_cases_and_masks_are_left_out_of_an_unnamed_report(tmp_path: Path) -> None:
    masks = [side("mask", 0.9, 0.8, letter=letter) for letter in "AB"]
    noted = study(*masks).model_copy(update={"notes": ("Doe^9.nii.gz is not scored.",)})
    for file in write_report(tmp_path / "r.html", noted.unnamed()):
        text = file.read_text("utf-8")
        assert "Doe" not in text and "net" not in text.replace("network", "")
        assert "case 1" in text
