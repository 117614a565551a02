"""Masks proposed by a job: paused, cancelled, resumed, and cases that fail."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelling_cases import make_dataset

from napari_graphflow.errors import UserError
from napari_graphflow.inference import propose as module
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process
from napari_graphflow.labelling import store
from napari_graphflow.labelling.proposing import proposal_jobs, report, start_proposals
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.runners import runner
from napari_graphflow.system.processes import end_process_tree
from napari_graphflow.training import process

CASES = ["blob_2", "blob_3", "blob_4"]


@pytest.fixture
def labelling(blobs: Path, tmp_path: Path) -> Labelling:
    return Labelling(Path(shutil.copytree(blobs, tmp_path / "blobs")), "Ada")


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cases that were segmented, in order."""
    return watched(monkeypatch, lambda _: None)


def watched(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], Any]) -> list[str]:
    """Note the cases that are segmented; `before` is called with their number so far."""
    calls: list[str] = []
    names: list[str] = []
    read, segment = module.read_case, module.segment

    def noted(case: Any) -> Any:
        names.append(case.name)
        return read(case)

    def counted(*arguments: Any, **options: Any) -> Any:
        before(len(calls))
        found = segment(*arguments, **options)
        calls.append(names[-1])
        return found

    monkeypatch.setattr(module, "read_case", noted)
    monkeypatch.setattr(module, "segment", counted)
    return calls


def run(job: Job) -> int:
    return process.run(job.folder, process._events(job))


def test_masks_of_all_waiting_cases_are_proposed_and_the_job_is_found_again(
    labelling: Labelling, teacher: Path, segmented: list[str]
) -> None:
    job = start_proposals(labelling, teacher, device="cpu")
    assert run(job) == 0
    assert segmented == CASES and report(job).proposed == CASES
    assert all(labelling.facts(name).status == "proposed" for name in CASES)
    status = job.status()
    assert (status.state, status.run.step, status.run.total) == ("done", 3, 3)
    assert proposal_jobs(labelling.dataset.folder) == [job]
    assert "blobs" in job.title and job.spec["config"]["dataset"] == str(labelling.dataset.folder)
    assert {entry.who for entry in labelling.entries()} == {"Ada"}


@pytest.mark.parametrize(("request_", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_job_that_is_paused_or_cancelled_continues_without_repeating_cases(
    labelling: Labelling, teacher: Path, monkeypatch: pytest.MonkeyPatch, request_: Any, state: str
) -> None:
    job = start_proposals(labelling, teacher, device="cpu")
    asked: list[int] = []

    def ask(done: int) -> None:
        if done == 1 and not asked:  # in the middle of the second case
            asked.append(done)
            job.request(request_)

    monkeypatch.setattr("napari_graphflow.training.proposing.POLL_INTERVAL", 0.0)
    segmented = watched(monkeypatch, ask)
    run(job)
    assert job.status().state == state and segmented == CASES[:1]
    assert run(job) == 0
    assert segmented == CASES and job.status().state == "done"


def test_a_resumed_job_makes_proposals_again_only_once(
    labelling: Labelling, teacher: Path, segmented: list[str]
) -> None:
    run(start_proposals(labelling, teacher, device="cpu"))
    with pytest.raises(UserError, match="No case waits for a proposal of this model"):
        start_proposals(labelling, teacher)
    for name in CASES:  # as if they were made long before the job
        for path in labelling.paths.proposal_records(name):
            [one] = labelling.proposals(name)
            older = one.model_copy(update={"made": one.made.replace(year=2020)})
            path.write_text(older.model_dump_json(), "utf-8")
    again = start_proposals(labelling, teacher, again=True, cases=CASES[:2], device="cpu")
    events = process._events(again)
    for event in events:
        if event.event == "case":
            break
    events.close()
    del segmented[:]
    assert run(again) == 0 and segmented == CASES[1:2]


def test_a_case_without_its_image_fails_alone_and_is_tried_again(
    labelling: Labelling, teacher: Path
) -> None:
    image = labelling.dataset.folder / "imagesTr" / "blob_3_0000.nii.gz"
    content = image.read_bytes()
    job = start_proposals(labelling, teacher, device="cpu")
    image.write_bytes(b"")
    assert run(job) == 0
    found = report(job)
    assert found.proposed == ["blob_2", "blob_4"] and "blob_3_0000" in found.failed["blob_3"]
    assert labelling.facts("blob_3").status == "unlabelled"
    image.write_bytes(content)
    again = start_proposals(labelling, teacher, device="cpu")
    run(again)
    assert report(again).proposed == ["blob_3"]


def test_a_case_that_was_finished_meanwhile_keeps_its_mask(
    labelling: Labelling, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(done: int) -> None:
        if done == 0:
            opened = labelling.open_case("blob_3")
            opened.labels[5:9] = 1
            labelling.save(opened, opened.labels)

    segmented = watched(monkeypatch, finish)
    run(start_proposals(labelling, teacher, device="cpu"))
    assert segmented == ["blob_2", "blob_4"] and labelling.facts("blob_3").status == "labelled"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_or_a_read_only_share_fails_the_job_which_then_continues(
    labelling: Labelling, teacher: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real, calls = store.store_proposal, []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(code, os.strerror(code), str(labelling.paths.proposals))
        return real(*arguments)

    monkeypatch.setattr(store, "store_proposal", failing)
    job = start_proposals(labelling, teacher, device="cpu")
    assert run(job) != 0
    status = job.status()
    assert status.state == "failed" and status.failure is not None and status.failure.remedy
    assert report(job).proposed == CASES[:1] and labelling.facts("blob_3").status == "unlabelled"
    assert run(job) == 0 and report(job).proposed == CASES


def test_the_same_proposals_are_not_made_by_two_jobs_at_once(
    labelling: Labelling, teacher: Path
) -> None:
    start_proposals(labelling, teacher, device="cpu").enqueue(Process())
    with pytest.raises(UserError, match="is making these proposals"):
        start_proposals(labelling, teacher, device="cpu")


def test_a_model_of_other_classes_is_refused_before_a_job_exists(
    tmp_path: Path, teacher: Path
) -> None:
    other = Labelling(make_dataset(tmp_path / "scans"))
    with pytest.raises(UserError, match="liver"):
        start_proposals(other, teacher)
    assert proposal_jobs(other.dataset.folder) == []


@pytest.mark.slow
def test_a_killed_job_is_resumed_where_it_was(labelling: Labelling, teacher: Path) -> None:
    job = start_proposals(labelling, teacher, device="cpu")
    runner("local").submit(job)
    while not report(job).proposed:
        assert job.status().active
    pid = job.status().process.pid
    assert pid is not None
    end_process_tree(pid, kill=True)
    job.wait(30)
    if job.status().state != "done":  # it was faster than the kill
        assert job.status().state == "lost"
        runner("local").submit(job)
        job.wait(60)
    assert job.status().state == "done" and sorted(report(job).proposed) == CASES
