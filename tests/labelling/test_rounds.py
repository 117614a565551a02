"""Rounds without a network: what they record, judge and undo, with jobs that tests end."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling_cases import (
    OTHER_MODEL,
    box,
    contents,
    dies_at_change,
    make_dataset,
    propose,
    training_names,
    volume,
)
from round_cases import end, finish, judged_round, scorer

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import Dataset, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.labelling.masks import content_hash
from napari_graphflow.labelling.rounds import (
    default_round,
    get_round,
    is_default,
    list_rounds,
    offered_round,
    start,
    undo,
)
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def labelling(tmp_path: Path) -> Labelling:
    return Labelling(make_dataset(tmp_path / "scans", count=9, labelled=6), "Ada")


def test_a_round_records_masks_and_validation_cases_that_are_drawn_once(
    labelling: Labelling,
) -> None:
    folder = labelling.dataset.folder
    record, job = start(labelling, TrainingConfig(dataset=folder))
    assert job.config.dataset == folder and record.job == str(job.folder)
    frozen = set(record.validation)
    assert len(frozen) == 2 and not frozen & set(record.masks)
    assert frozen | set(record.masks) == {f"scan_{n}" for n in range(6)}
    splits = json.loads((folder / "splits.json").read_text("utf-8"))
    assert set(splits["val"]) == frozen
    for name, sha256 in (record.masks | record.validation).items():
        kept = labelling.paths.version(sha256).read_bytes()
        assert kept == (folder / "labelsTr" / f"{name}.nii.gz").read_bytes()
    end(job)
    finish(labelling, 1, scorer(0.8))
    for number in (6, 7, 8):
        labelling.save(labelling.open_case(f"scan_{number}"), box(number))
    second = judged_round(labelling, 0.9)
    assert set(second.validation) == frozen
    assert set(second.masks) == {f"scan_{n}" for n in range(9)} - frozen


def test_all_cases_of_a_patient_are_on_one_side(tmp_path: Path) -> None:
    patients = {f"scan_{n}": f"patient {n // 3}" for n in range(9)}
    record = {"napari_graphflow": {"patients": patients}}
    folder = make_dataset(tmp_path / "scans", count=9, labelled=8, **record)
    labelling = Labelling(folder)
    start(labelling, TrainingConfig(dataset=folder))
    sides = {case.name: case.split for case in Dataset.open(folder).cases}
    assert len(set(sides.values())) == 2
    for patient in range(3):
        assert len({sides[f"scan_{n}"] for n in range(3 * patient, 3 * patient + 3)}) == 1


def test_validation_cases_of_the_dataset_are_taken_over(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "scans", count=6, labelled=6)
    (folder / "splits.json").write_text(json.dumps({"val": ["scan_1", "scan_4"]}), "utf-8")
    before = contents(folder)
    record, _ = start(Labelling(folder), TrainingConfig(dataset=folder))
    assert list(record.validation) == ["scan_1", "scan_4"]
    assert contents(folder, "labelling") == before


def test_a_drawn_split_stays_when_masks_are_added(labelling: Labelling) -> None:
    folder = labelling.dataset.folder
    drawn = {case.name for case in labelling.dataset.labelled("val")}
    first = judged_round(labelling, 0.8)
    assert set(first.validation) == drawn
    for number in (6, 7, 8):
        labelling.save(labelling.open_case(f"scan_{number}"), box(number))
    assert {case.name for case in Dataset.open(folder).labelled("val")} == drawn


def test_a_validation_case_moved_to_training_is_refused(labelling: Labelling) -> None:
    judged_round(labelling, 0.8)
    (labelling.dataset.folder / "splits.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match="frozen validation case but is now in train"):
        start(labelling, TrainingConfig(dataset=labelling.dataset.folder))


def test_the_first_model_is_the_default_and_a_worse_one_is_not(labelling: Labelling) -> None:
    first = judged_round(labelling, 0.8)
    assert first.verdict is not None and first.verdict.outcome == "first"
    assert first.weights and Path(first.model).is_dir()
    better = judged_round(labelling, 0.9)
    assert better.verdict is not None and better.verdict.outcome == "better"
    assert better.verdict.sentence == (
        "Better than round 1 on 2 frozen cases: mean Dice 0.900 instead of 0.800 "
        "(+0.100, 95 % interval +0.100 to +0.100)."
    )
    worse = judged_round(labelling, 0.85)
    assert worse.verdict is not None and worse.verdict.outcome == "worse"
    assert worse.verdict.last == 2
    assert "The model of round 2 remains the default." in worse.verdict.sentence
    default = default_round(list_rounds(labelling))
    assert default is not None and default.number == 2


def test_a_corrected_frozen_mask_has_the_last_model_scored_again(labelling: Labelling) -> None:
    first = judged_round(labelling, 0.8)
    name = next(iter(first.validation))
    labelling.save(labelling.open_case(name), box(7))
    scored = []
    record, job = start(labelling, TrainingConfig(dataset=labelling.dataset.folder))
    end(job)

    def score(model: Path, cases: Any) -> Any:
        scored.append(model)
        return {case.name: {"liver": 0.5 + len(scored) / 10} for case in cases}

    second = finish(labelling, record.number, score)
    assert scored == [job.model, Path(first.model)]
    assert second.verdict is not None and second.verdict.overall is not None
    assert second.verdict.overall.last == pytest.approx(0.7)
    assert "scored again on the corrected masks" in second.note


def test_a_last_model_that_was_removed_is_compared_on_unchanged_masks(
    labelling: Labelling,
) -> None:
    first = judged_round(labelling, 0.8)
    shutil.rmtree(first.model)
    assert judged_round(labelling, 0.7).verdict.last == 1  # its scores are kept
    labelling.save(labelling.open_case(next(iter(first.validation))), box(7))
    second = judged_round(labelling, 0.9)
    assert second.verdict.overall.cases == 1 and second.verdict.last == 1
    assert "was removed" in second.note and "1 case with unchanged masks" in second.note


def test_a_round_that_is_running_failed_or_cancelled_is_not_half_counted(
    labelling: Labelling,
) -> None:
    config = TrainingConfig(dataset=labelling.dataset.folder)
    record, job = start(labelling, config)
    job.enqueue(Status().process)
    with pytest.raises(UserError, match="Round 1 is still running"):
        start(labelling, config)
    with pytest.raises(UserError, match="still running"):
        undo(labelling, 1)
    job.cancel()
    assert get_round(labelling, record.number).verdict is None
    assert default_round(list_rounds(labelling)) is None
    assert judged_round(labelling, 0.8).number == 2


def test_the_job_of_a_round_reads_the_masks_of_its_start(labelling: Labelling) -> None:
    record, job = start(labelling, TrainingConfig(dataset=labelling.dataset.folder))
    changed = next(iter(record.masks))
    old = labelling.open_case(changed).labels.copy()
    labelling.save(labelling.open_case(changed), box(7))
    labelling.save(labelling.open_case("scan_7"), box(1))
    labelling.step("scan_8", "exclude")
    frozen = Dataset.open(job.frozen)
    assert frozen.name == labelling.dataset.name
    training = {case.name: case for case in frozen.labelled("train")}
    assert set(training) == set(record.masks)
    np.testing.assert_array_equal(read_case_labels(frozen, training[changed]).array, old)
    assert {case.name for case in frozen.labelled("val")} == set(record.validation)
    assert {case.name for case in frozen.unlabelled("train")} == {"scan_6", "scan_7", "scan_8"}


def test_masks_that_are_listed_outside_of_the_dataset_are_trained(
    labelling: Labelling, tmp_path: Path
) -> None:
    folder = labelling.dataset.folder
    labelling.save(labelling.open_case("scan_6"), box(1))  # dataset.json now lists the masks
    described = json.loads((folder / "dataset.json").read_text("utf-8"))
    outside = tmp_path / "elsewhere.nii.gz"
    (folder / "labelsTr" / "scan_6.nii.gz").unlink()
    write_volume(outside, volume(np.flip(box(1), 1).copy()))
    described["dataset"]["scan_6"]["label"] = str(outside)
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8")
    record, job = start(Labelling(folder), TrainingConfig(dataset=folder))
    assert record.masks["scan_6"] == content_hash(outside)
    frozen = {case.name: case.label for case in Dataset.open(job.frozen).labelled("train")}
    assert set(frozen) == set(record.masks) and frozen["scan_6"] == outside


def test_frozen_cases_without_any_mask_are_refused(labelling: Labelling) -> None:
    first = judged_round(labelling, 0.8)
    names = list(first.validation)
    labelling.step(names[0], "review")
    second = judged_round(labelling, 0.8)
    assert "1 frozen case had no finished mask and was left out." in second.note
    labelling.step(names[1], "review")
    with pytest.raises(UserError, match="None of the frozen validation cases"):
        start(labelling, TrainingConfig(dataset=labelling.dataset.folder))
    assert len(list_rounds(labelling)) == 2


def test_undo_brings_back_labels_statuses_and_default_model_bit_for_bit(
    labelling: Labelling,
) -> None:
    folder = labelling.dataset.folder
    judged_round(labelling, 0.8)
    labelling.step("scan_6", "flag", note="motion")
    before = contents(folder, "versions", "log.jsonl", "rounds", "proposals", "locks", "drafts")
    judged_round(labelling, 0.9)
    propose(labelling, "scan_7", OTHER_MODEL)
    labelling.accept("scan_7")
    labelling.save(labelling.open_case("scan_8"), box(1), slices=[2, 3])
    training = sorted(training_names(folder))
    labelling.save(labelling.open_case(training[0]), box(2))
    labelling.step(training[1], "exclude")
    labelling.step("scan_6", "reopen")
    kept = contents(folder / "labelling" / "versions")
    undone = undo(labelling, 2)
    assert undone.state == "undone"
    after = contents(folder, "versions", "log.jsonl", "rounds", "proposals", "locks", "drafts")
    assert after == before
    default = default_round(list_rounds(labelling))
    assert default is not None and default.number == 1
    assert kept.items() <= contents(folder / "labelling" / "versions").items()
    assert [entry.what for entry in labelling.entries()][-1] == "undo"
    assert labelling.facts("scan_6").status == "flagged"
    # The state that was left is recorded, too.
    assert undone.after is not None and undone.after.masks["scan_7"]
    labelling.save(labelling.open_case("scan_7"), box(1))


def test_cases_added_since_are_not_touched_by_an_undo(labelling: Labelling) -> None:
    folder = labelling.dataset.folder
    judged_round(labelling, 0.8)
    for part, name in (("imagesTr", "new_0000"), ("labelsTr", "new")):
        source = folder / part / ("scan_0_0000.nii.gz" if part == "imagesTr" else "scan_0.nii.gz")
        (folder / part / f"{name}.nii.gz").write_bytes(source.read_bytes())
    labelling.reload()
    labelling.step("new", "approve")
    undo(labelling, 1)
    assert Labelling(folder).facts("new").status == "approved"
    assert "new" in training_names(folder)


def test_rounds_are_undone_from_the_newest(labelling: Labelling) -> None:
    judged_round(labelling, 0.8)
    judged_round(labelling, 0.9)
    with pytest.raises(UserError, match="Round 2 came after round 1"):
        undo(labelling, 1)
    undo(labelling, 2)
    undo(labelling, 1)
    with pytest.raises(UserError, match="undone already"):
        undo(labelling, 1)
    assert default_round(list_rounds(labelling)) is None
    with pytest.raises(UserError, match="no round 9"):
        get_round(labelling, 9)


def test_an_undo_is_refused_while_a_case_is_open_elsewhere(labelling: Labelling) -> None:
    judged_round(labelling, 0.8)
    Labelling(labelling.dataset.folder, "Bea").hold("scan_3")
    with pytest.raises(UserError, match="open in another window by Bea"):
        undo(labelling, 1)
    assert get_round(labelling, 1).state == "done"


def test_an_undo_that_is_killed_is_completed_by_the_next_look(
    labelling: Labelling, tmp_path: Path
) -> None:
    folder, aside = labelling.dataset.folder, ("versions", "log.jsonl", "rounds", "locks")
    labelling.step("scan_2", "flag")
    judged_round(labelling, 0.8)
    clean = contents(folder, *aside)
    labelling.save(labelling.open_case("scan_7"), box(1))
    labelling.step("scan_2", "reopen")
    labelling.step("scan_3", "exclude")
    before = contents(folder, *aside)
    for count in range(0, 200, 5):
        copy = Path(shutil.copytree(folder, tmp_path / f"{count}"))
        died = dies_at_change(copy, count, lambda copy=copy: undo(Labelling(copy, "Ada"), 1))
        state = get_round(Labelling(copy, "Ada"), 1).state
        assert contents(copy, *aside) == {"done": before, "undone": clean}[state]
        entries = [one for one in Labelling(copy).entries() if one.what == "undo"]
        assert len(entries) == (state == "undone")
        if not died:
            break
    else:
        pytest.fail("the undo never ended")
    assert state == "undone" and count >= 25


def test_a_dataset_without_masks_cannot_be_learned_from(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "scans", labelled=0)
    with pytest.raises(UserError, match="No training case of scans has a finished mask"):
        start(Labelling(folder), TrainingConfig(dataset=folder))
    assert list_rounds(Labelling(folder)) == []


def test_the_interval_of_a_verdict_covers_the_true_difference() -> None:
    from napari_graphflow.evaluation.paired import bootstrap_interval

    assert bootstrap_interval([0.1]) == (None, None)
    low, high = bootstrap_interval(np.array([0.0, 0.1, 0.2, 0.1]))
    assert low is not None and high is not None and 0.0 < low < 0.1 < high < 0.2


def test_a_default_model_that_was_deleted_with_its_job_is_no_longer_offered(
    labelling: Labelling,
) -> None:
    first, second = (judged_round(labelling, dice) for dice in (0.8, 0.9))
    assert [is_default(Job(Path(one.job))) for one in (first, second)] == [False, True]
    shutil.rmtree(second.model)
    offered = offered_round(list_rounds(labelling))
    assert offered is not None and offered.number == first.number
    assert is_default(Job(Path(first.job)))
