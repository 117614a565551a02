"""What to label next, from statistics worked out by hand."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from labelling_cases import MODEL, OTHER_MODEL, box, make_dataset, propose

from napari_graphflow.evaluation.uncertainty import (
    SlabStatistics,
    disagreement_by_slab,
    slab_statistics,
)
from napari_graphflow.labelling.overview import count_statuses, list_cases, next_cases
from napari_graphflow.labelling.priority import (
    Candidate,
    foreground_random,
    least_certain,
    model_disagreement,
    rank,
    stratified_entropy,
)
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.store import Labelling


def candidate(case: str, liver: tuple[float, ...], lesion: tuple[float, ...]) -> Candidate:
    statistics = SlabStatistics(
        slices=10,
        thickness=4,
        entropy={"liver": liver, "lesion": lesion},
        voxels={"liver": (0, 9, 9), "lesion": (0, 0, 3)},
    )
    made = datetime.now(UTC)
    proposal = Proposal(case=case, model="m", sha256=MODEL, made=made, statistics=statistics)
    return Candidate(case, (proposal,))


def test_entropy_is_weighted_with_the_probability_of_the_structure() -> None:
    soft = np.zeros((5, 1, 2, 3), np.float32)
    soft[..., 0] = 1
    soft[0, 0, 0] = (0.5, 0.5, 0)  # log 2 / log 3, weight 0.5
    soft[1, 0, 0] = (0, 1, 0)  # certain, weight 1
    soft[4, 0, 1] = (1 / 3, 1 / 3, 1 / 3)
    found = slab_statistics(soft, soft.argmax(-1), {"background": 0, "liver": 1, "lesion": 2}, 2)
    half = np.log(2) / np.log(3)
    assert found.entropy["liver"] == pytest.approx((0.5 * half / 1.5, 0, 1), abs=1e-4)
    assert found.entropy["lesion"] == pytest.approx((0, 0, 1), abs=1e-4)
    assert found.voxels == {"liver": (1, 0, 0), "lesion": (0, 0, 0)}
    assert [found.slab(index) for index in range(3)] == [(0, 1), (2, 3), (4, 4)]


def test_a_2d_image_has_one_slab() -> None:
    soft = np.full((4, 5, 2), 0.5, np.float32)
    found = slab_statistics(soft, soft.argmax(-1), {"background": 0, "cell": 1})
    assert found.entropy == {"cell": (1.0,)} and found.slab(0) == (0, 0)


def test_disagreement_is_shared_out_over_the_slabs() -> None:
    one, other = np.zeros((2, 4, 1, 3), np.uint8)
    one[0] = other[0] = 1  # 3 voxels in common
    one[3, 0, 0] = 1  # 1 voxel of 4
    found = disagreement_by_slab(one, other, {"background": 0, "liver": 1, "lesion": 2}, 2)
    assert found == {"liver": (0.0, 0.25), "lesion": (0.0, 0.0)}


def test_the_structures_take_turns_in_class_stratified_entropy() -> None:
    ranked = stratified_entropy(
        [
            candidate("a", (0.9, 0, 0), (0.1, 0, 0)),
            candidate("b", (0.8, 0, 0), (0, 0, 0.3)),
            candidate("c", (0, 0.7, 0), (0, 0.2, 0)),
        ]
    )
    assert [(one.case, one.structure, one.slices) for one in ranked] == [
        ("a", "liver", (0, 3)), ("b", "lesion", (8, 9)), ("c", "liver", (4, 7)),
    ]  # fmt: skip
    assert ranked[1].reason == "The model is unsure about the lesion here: slices 8 to 9."


def test_every_case_has_a_place_in_class_stratified_entropy() -> None:
    cases = [candidate(f"{n}", (0.5 + n / 100, 0, 0), (0.4, 0, 0)) for n in range(20)]
    assert {one.case for one in stratified_entropy(cases)} == {f"{n}" for n in range(20)}


def test_the_least_certain_structure_decides() -> None:
    first, second = least_certain(
        [candidate("a", (0.2, 0.4, 0), (0, 0, 0.1)), candidate("b", (0.1, 0, 0), (0, 0.6, 0))]
    )
    assert (first.case, first.structure, first.slices) == ("b", "lesion", (4, 7))
    assert (second.case, second.structure, second.score) == ("a", "liver", pytest.approx(0.3))


def test_a_random_choice_is_repeatable_and_keeps_its_order_when_cases_are_done() -> None:
    cases = [candidate(f"{n}", (0, 0, 0), (0, 0, 0)) for n in range(12)]
    order = [one.case for one in foreground_random(cases)]
    assert order != [one.case for one in foreground_random(cases, seed=1)]
    left = [one for one in cases if one.case not in order[:3]]
    assert [one.case for one in foreground_random(left)] == order[3:]
    # The first slab contains no structure.
    assert all(one.slices in ((4, 7), (8, 9)) for one in foreground_random(cases))


def test_cases_without_statistics_come_last_and_are_not_left_out() -> None:
    ranked = rank("entropy", [Candidate("x"), candidate("a", (0.5, 0, 0), (0, 0, 0))])
    assert [one.case for one in ranked] == ["a", "x"]
    assert ranked[1].reason == "The case was drawn at random."


def test_two_models_that_disagree_are_found(tmp_path: Path) -> None:
    labelling = Labelling(make_dataset(tmp_path / "scans"))
    for case in ("scan_2", "scan_3"):
        propose(labelling, case, MODEL, number=0)
        propose(labelling, case, OTHER_MODEL, number=0 if case == "scan_2" else 2)
    [found] = model_disagreement(
        [Candidate(case, tuple(labelling.proposals(case))) for case in ("scan_2", "scan_3")]
    )
    assert found.case == "scan_3" and found.structure == "liver"
    expected = disagreement_by_slab(box(0), box(2), {"background": 0, "liver": 1}, 4)["liver"]
    assert found.score == pytest.approx(sum(expected))
    assert found.reason.startswith("Two models disagree most on the liver: slices 4 to 7")


def test_the_own_draft_comes_first_and_cases_of_others_are_left_out(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "scans", count=8)
    ada, bea = Labelling(folder, "Ada"), Labelling(folder, "Bea")
    ada.save_draft(ada.open_case("scan_7"), box())
    bea.hold("scan_3")
    ada.describe("scan_4", readers=("Bea",))
    ada.step("scan_5", "exclude")
    found = next_cases(ada)
    assert found[0].case == "scan_7" and found[0].reason == "You have begun with this case."
    assert {one.case for one in found} == {"scan_7", "scan_2", "scan_6"}
    propose(ada, "scan_6")
    assert [one.case for one in next_cases(ada)][:2] == ["scan_7", "scan_6"]
    ada.reject("scan_6")
    assert next_cases(ada, "entropy")[1].slices is None


def test_the_list_shows_statuses_proposals_readers_and_problems(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "scans", count=6, labelled=3)
    ada, bea = Labelling(folder, "Ada"), Labelling(folder, "Bea")
    propose(ada, "scan_4")
    ada.save(ada.open_case("scan_1"), box(2))
    (folder / "labelsTr" / "scan_1.nii.gz").unlink()
    (folder / "imagesTr" / "scan_5_0000.nii.gz").write_bytes(b"")
    ada.step("scan_2", "flag", note="motion")
    bea.save_draft(bea.open_case("scan_3"), box())
    bea.hold("scan_3")
    rows = {row.name: row for row in list_cases(ada)}
    assert count_statuses(list(rows.values())) == {
        "unlabelled": 2, "proposed": 1, "in progress": 1, "labelled": 1, "in review": 0,
        "approved": 0, "flagged": 1, "excluded": 0,
    }  # fmt: skip
    assert "removed by another program" in rows["scan_1"].problem
    assert rows["scan_2"].facts.comment == "motion"
    assert rows["scan_3"].drafts == ("Bea",) and rows["scan_3"].holder == "Bea"
    assert rows["scan_4"].uncertainty is not None and rows["scan_4"].uncertainty[0] == "lesion"
