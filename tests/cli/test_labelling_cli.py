"""The labelling loop on the command line: the same as in the window, with JSON."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling_cases import MODEL, OTHER_MODEL, box, make_dataset, propose, training_names

from napari_graphflow.cli import main
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.inference.whole_volume import InferenceCancelled
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.training import process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans", count=5, labelled=2)


class Command:
    """Runs a command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object, expect: int = 0) -> str:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        out, err = self.capsys.readouterr()
        assert ended.value.code == expect, err
        return out if expect == 0 else err

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process, which has loaded torch already."""

    class Here:
        def submit(self, job: Job) -> None:
            process.run(job.folder, process._events(job))

    monkeypatch.setattr("napari_graphflow.cli.labelling.runner", lambda _: Here())


def test_a_case_goes_from_its_proposal_to_approval(run: Command, folder: Path) -> None:
    for number in (2, 3, 4):
        propose(Labelling(folder, "Ada"), f"scan_{number}")
    assert run.json("datasets", "status", folder)["counts"]["proposed"] == 3
    [chosen] = run.json("datasets", "next", folder, "--reader", "Ada")
    case = chosen["case"]
    assert chosen["slices"] == [4, 7] and "lesion" in chosen["reason"]
    others = sorted({"scan_2", "scan_3", "scan_4"} - {case})
    done = run.json("datasets", "accept", folder, case, "--reader", "Ada")
    assert done[case]["status"] == "labelled" and done[case]["reader"] == "Ada"
    assert f"{others[0]}: unlabelled" in run("datasets", "reject", folder, others[0])
    flagged = run("datasets", "flag", folder, others[1], "scan_0", "--note", "motion")
    assert flagged.count("flagged") == 2
    run("datasets", "exclude", folder, "scan_0")
    run("datasets", "review", folder, case)
    assert case not in training_names(folder)
    run("datasets", "approve", folder, case, "--reader", "Bea")
    run("datasets", "reopen", folder, others[1])
    found = run.json("datasets", "status", folder)
    statuses = {name: row["status"] for name, row in found["cases"].items()}
    assert statuses == {
        case: "approved", others[0]: "unlabelled", others[1]: "proposed",
        "scan_0": "excluded", "scan_1": "labelled",
    }  # fmt: skip
    assert found["cases"]["scan_0"]["comment"] == "motion"
    assert training_names(folder) == {"scan_1", case}
    assert case in run("datasets", "status", folder)


def test_a_chosen_proposal_is_accepted(run: Command, folder: Path) -> None:
    labelling = Labelling(folder)
    propose(labelling, "scan_2", MODEL, number=0)
    propose(labelling, "scan_2", OTHER_MODEL, number=2)
    run("datasets", "accept", folder, "scan_2", "--proposal", MODEL[:8])
    np.testing.assert_array_equal(labelling.open_case("scan_2").labels, box(0))


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("no case nobody", ["accept", "nobody"]),
        ("unlabelled and cannot be accepted", ["accept", "scan_3"]),
        ("unlabelled and cannot be approved", ["approve", "scan_3"]),
        ("labelled and cannot be reopened", ["reopen", "scan_0"]),
        ("masks of 0 readers", ["agreement", "scan_3"]),
        ("1 readers were named", ["agreement", "scan_3", "Ada"]),
    ],
)
def test_what_a_status_does_not_allow_is_one_sentence_and_exit_code_2(
    run: Command, folder: Path, words: str, arguments: list[str]
) -> None:
    command, *cases = arguments
    text = " ".join(run("datasets", command, folder, *cases, expect=2).split())
    assert words in text and text.startswith("error: ")


def test_two_readers_agree_in_a_table_and_their_consensus_is_proposed(
    run: Command, folder: Path
) -> None:
    for reader, number in (("Ada", 0), ("Bea", 1)):
        labelling = Labelling(folder, reader)
        labelling.save_draft(labelling.open_case("scan_2"), box(number))
    found = run.json("datasets", "agreement", folder, "scan_2", "--consensus", "STAPLE")
    rows = {row["structure"]: row for row in found["agreement"]}
    assert rows["lesion"]["dice"] == 1 and 0.5 < rows["liver"]["dice"] < 1
    assert rows["liver"]["voxels"] == np.count_nonzero(box(0) != box(1))
    assert found["consensus"].startswith("Consensus of Ada, Bea.")
    assert "lesion" in run("datasets", "agreement", folder, "scan_2", "Ada", "Bea")


def test_three_readers_have_a_consensus_and_their_pairs_are_compared(
    run: Command, folder: Path
) -> None:
    for reader, number in (("Ada", 0), ("Bea", 1), ("Eve", 2)):
        labelling = Labelling(folder, reader)
        labelling.save_draft(labelling.open_case("scan_2"), box(number))
    found = run.json("datasets", "agreement", folder, "scan_2", "--consensus", "majority")
    pairs = {tuple(row["readers"]) for row in found["agreement"]}
    assert pairs == {("Ada", "Bea"), ("Ada", "Eve"), ("Bea", "Eve")}
    assert found["consensus"].startswith("Consensus of Ada, Bea, Eve.")


def test_masks_are_taken_from_files_and_written_with_their_provenance(
    run: Command, folder: Path, tmp_path: Path
) -> None:
    mask = folder / "labelsTr" / "scan_1.nii.gz"
    taken = ["datasets", "take-mask", folder, "scan_2", mask]
    assert "not named" in run(*taken, expect=2)
    assert "scan_2: labelled" in run(*taken, "--source", "micro-sam", "--reader", "Ada")
    out = tmp_path / "out.nii.gz"
    found = run.json("datasets", "export-mask", folder, "scan_2", out)
    assert found["written"] == [str(out), str(tmp_path / "out.json")]
    assert "micro-sam" in (tmp_path / "out.json").read_text("utf-8")
    assert "already exist" in run("datasets", "export-mask", folder, "scan_2", out, expect=2)
    run("datasets", "export-mask", folder, "scan_2", out, "--overwrite", "--names")
    assert "Ada" in (tmp_path / "out.json").read_text("utf-8")
    made = run.json("datasets", "provenance", folder, "scan_2")
    assert made["SegmentAlgorithmType"] == "SEMIAUTOMATIC"


def test_accepted_proposals_are_drawn_again_and_compared(run: Command, folder: Path) -> None:
    assert "choose a share" in run("datasets", "reread", folder)
    assert "Nothing was done" in run("datasets", "agreement", folder)
    for name in ("scan_2", "scan_3"):
        propose(Labelling(folder), name)
        run("datasets", "accept", folder, name, "--reader", "Ada")
    found = run.json("datasets", "reread", folder, "--share", "1")
    assert found == {"share": 1.0, "due": ["scan_2", "scan_3"]}
    assert "To be drawn again without the proposal: 2 cases" in run("datasets", "next", folder)
    again = folder / "labelsTr" / "scan_1.nii.gz"
    run("datasets", "reread", folder, "scan_2", again, "--reader", "Bea")
    shown = run.json("datasets", "agreement", folder)
    assert {row["case"] for row in shown["rereads"]} == {"scan_2"}
    assert shown["rereads"][0]["readers"] == ["Ada", "Bea"]
    assert shown["proposals"][0]["accepted"] == 2
    text = run("datasets", "agreement", folder)
    assert "2 accepted untouched" in text and "Drawn again without the proposal: 1 case." in text
    assert run.json("datasets", "reread", folder)["due"] == ["scan_3"]
    assert "does not wait" in run("datasets", "reread", folder, "scan_2", again, expect=2)


def test_a_model_proposes_masks_and_a_case_that_failed_is_tried_again(
    run: Command, blobs: Path, teacher: Path, tmp_path: Path, here: None
) -> None:
    folder = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    (folder / "imagesTr" / "blob_4_0000.nii.gz").write_bytes(b"damaged")
    error = run("propose", folder, "--model", teacher, "--device", "cpu", expect=2)
    assert "blob_4" in error
    (folder / "imagesTr" / "blob_4_0000.nii.gz").write_bytes(
        (blobs / "imagesTr" / "blob_4_0000.nii.gz").read_bytes()
    )
    found = run.json("propose", folder, "--model", teacher, "--device", "cpu")
    assert found["proposed"] == ["blob_4"] and found["known"] == ["blob_2", "blob_3"]
    assert found["failed"] == {} and found["state"] == "done"
    assert "No case waits" in run("propose", folder, "--model", teacher, expect=2)
    labelling = Labelling(folder)
    [made] = labelling.proposals("blob_4")
    assert made.statistics is not None and made.statistics.slices == 20
    assert set(made.statistics.entropy) == {"organ", "lesion"}
    labels = read_labels(labelling.paths.proposal("blob_4", made.sha256)).array
    assert sum(made.statistics.voxels["organ"]) == np.count_nonzero(labels == 1)
    [chosen] = run.json("datasets", "next", folder, "--strategy", "uncertain")
    run("datasets", "accept", folder, chosen["case"])
    assert chosen["case"] in training_names(folder)


def test_a_proposal_can_be_cancelled_between_windows(blobs: Path, teacher: Path) -> None:
    from napari_graphflow.dataset.cases import Dataset
    from napari_graphflow.inference.loading import load_for_inference
    from napari_graphflow.inference.propose import propose as propose_masks

    cases = Dataset.open(blobs).unlabelled("train")
    with pytest.raises(InferenceCancelled):
        list(propose_masks(load_for_inference(teacher), cases, cancelled=lambda: True))


def test_a_round_trains_a_teacher_first_unless_one_is_given_or_the_masks_are_enough(
    run: Command, blobs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Job] = []

    class Waiting:
        def submit(self, job: Job) -> None:
            submitted.append(job)

    # The package exports the group of commands under the same name.
    monkeypatch.setattr(sys.modules["napari_graphflow.cli.rounds"], "runner", lambda _: Waiting())
    folder = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    start = ["rounds", "start", folder, "--steps", "7", "--name", "mine", "--detach"]
    run(*start, "--teacher-network", "unetpp", "--teacher-steps", "9", "--method", "logits")
    run(*start, "--teacher", teacher, "--no-alone")
    found = run.json(*start, "--masks-only")
    assert found["state"] == "created" and found["kind"] == "train"
    full, given, masks = (job.config for job in submitted)
    assert (full.network.network, full.network.steps) == ("enet", 7)
    assert full.network.method.name == "logits" and full.alone
    assert (full.teacher.network, full.teacher.steps) == ("unetpp", 9)
    assert given.teacher is None and given.network.teacher == teacher and not given.alone
    assert masks.network.network == "unet" and masks.teacher is None
    assert [job.kind for job in submitted] == ["round"] * 3
    assert submitted[0].title == "mine, round 1"
    error = run(*start, "--masks-only", "--teacher", teacher, expect=2)
    assert "without a teacher" in error


@pytest.mark.slow
def test_two_rounds_with_real_training_are_judged_and_undone(
    run: Command, blobs: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    small = ["--steps", "8", "--validate-every", "4", "--width", "8", "--patch-size", "16", "16"]
    options = [*small, "16", "--threads", "1", "--device", "cpu", "--batch-size", "1"]
    first = run.json("rounds", "start", folder, *options, "--name", "first", "--masks-only")
    assert first["state"] == "done" and first["verdict"]["outcome"] == "first"
    assert first["frozen"] == ["blob_5"] and first["masks"] == 2
    run("propose", folder, "--model", first["model"], "--device", "cpu")
    before = training_names(folder)
    distilled = [*options, "--teacher-width", "4", "--teacher-min-dice", "0"]
    second = run.json("rounds", "start", folder, *distilled, "--name", "second", "--detach")
    job = Job(Path(second["job"]))
    while job.status().active:
        run("datasets", "status", folder)
        job.wait(5)
    run("datasets", "accept", folder, "blob_2")
    listed = run.json("rounds", "list", folder)
    assert [one["state"] for one in listed["rounds"]] == ["done", "done"]
    sentence = listed["rounds"][1]["verdict"]["sentence"]
    assert "round 1 on 1 frozen case" in sentence and "student without a teacher has" in sentence
    shown = run("rounds", "show", folder, "2")
    assert "blob_5" in shown and "alone" in shown and "teacher" in shown
    undone = run.json("rounds", "undo", folder, "2")
    assert undone["state"] == "undone" and training_names(folder) == before
    assert run.json("rounds", "list", folder)["default"] == 1
    assert "There is no round 7" in run("rounds", "show", folder, "7", expect=2)
