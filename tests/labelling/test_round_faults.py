"""Rounds that are killed at any moment, a full disk, a read-only share, an image that is gone."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelling_cases import box, contents, dies_at_change, make_dataset, propose
from round_cases import end, finish, scorer

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling import rereads
from napari_graphflow.labelling.rounds import get_round, list_rounds, start, undo
from napari_graphflow.labelling.store import Labelling

#: What a round may change before it is undone.
ASIDE = ("rounds", "versions", "locks", "log.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset ``scans`` and its jobs; the tests work on copies."""
    root = tmp_path_factory.mktemp("whole")
    folder = make_dataset(root / "scans", count=5, labelled=4)
    (folder / "splits.json").write_text('{"val": ["scan_3"]}', "utf-8")
    Labelling(folder).step("scan_2", "flag")
    return root


def copied(whole: Path, target: Path) -> Path:
    return Path(shutil.copytree(whole, target))


def open_scans(root: Path) -> Labelling:
    return Labelling(root / "scans", "Ada")


def begin(root: Path) -> Job:
    config = TrainingConfig(dataset=root / "scans")
    return start(open_scans(root), config, root / "jobs")[1]


def test_a_start_that_is_killed_at_any_change_leaves_the_dataset_and_can_be_repeated(
    whole: Path, tmp_path: Path
) -> None:
    before = contents(whole / "scans", *ASIDE)
    for count in range(0, 60, 2):
        root = copied(whole, tmp_path / f"{count}")
        died = dies_at_change(root, count, lambda root=root: begin(root))
        assert contents(root / "scans", *ASIDE) == before
        found = list_rounds(open_scans(root))
        assert [one.state for one in found] in ([], ["started"])
        job = begin(root)
        end(job)
        one = finish(open_scans(root), len(found) + 1, scorer(0.8))
        assert one.state == "done" and set(one.masks) == {"scan_0", "scan_1"}
        for number in range(one.number, 0, -1):
            undo(open_scans(root), number)
        assert contents(root / "scans", *ASIDE) == before
        if not died:
            break
    else:
        pytest.fail("the start never ended")
    assert count > 8


def test_a_verdict_that_is_killed_is_written_as_a_whole_or_not_at_all(
    whole: Path, tmp_path: Path
) -> None:
    for count in range(20):
        root = copied(whole, tmp_path / f"{count}")
        end(begin(root))
        died = dies_at_change(
            root, count, lambda root=root: finish(open_scans(root), 1, scorer(0.8))
        )
        one = get_round(open_scans(root), 1)
        assert (one.state == "done") == (one.verdict is not None)
        if one.state == "started":
            one = finish(open_scans(root), 1, scorer(0.8))
        assert one.verdict is not None and one.verdict.accepted
        if not died:
            break
    assert not died and count > 1


def started_and_ended(root: Path) -> None:
    end(begin(root))


def judged(root: Path) -> None:
    started_and_ended(root)
    finish(open_scans(root), 1, scorer(0.8))
    labelling = open_scans(root)
    labelling.save(labelling.open_case("scan_4"), box(1))


def accepted(root: Path) -> None:
    propose(open_scans(root), "scan_4")
    open_scans(root).accept("scan_4")
    rereads.set_share(open_scans(root), 1.0)


def draw_again(root: Path) -> None:
    labelling = open_scans(root)
    rereads.save_blind(labelling, rereads.open_blind(labelling, "scan_4"), box(1))


@pytest.mark.parametrize(
    ("prepare", "action"),
    [
        (lambda root: None, begin),
        (started_and_ended, lambda root: finish(open_scans(root), 1, scorer(0.8))),
        (judged, lambda root: undo(open_scans(root), 1)),
        (accepted, draw_again),
        (accepted, lambda root: rereads.set_share(open_scans(root), 0.5)),
    ],
    ids=["start", "verdict", "undo", "re-read", "share"],
)
def test_a_full_disk_is_one_sentence_and_the_step_can_be_repeated(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], Any],
    action: Callable[[Path], Any],
) -> None:
    real = os.fsync
    # Always in the same place, because a round names the folder of its job.
    root, kept = copied(whole, tmp_path / "root"), tmp_path / "kept"
    prepare(root)
    shutil.copytree(root, kept)
    action(root)
    after = outcome(root)
    for count in range(60):
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        left = [count]

        def full(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            failure = failure_of(action, root)
        if failure is None:
            break
        assert "disk" in str(failure).lower() and failure.remedy.endswith(".")
        failure_of(action, root)  # again; it may have been completed since
        assert outcome(root) == after
    else:
        pytest.fail("the disk was full for ever")
    assert count > 0


def failure_of(action: Callable[[Path], Any], root: Path) -> UserError | None:
    try:
        action(root)
    except UserError as error:
        return error
    return None


def outcome(root: Path) -> tuple[Any, ...]:
    """What must be the same after a step was repeated; a start may leave a round without a job."""
    labelling = open_scans(root)
    rounds = list_rounds(labelling)
    last = (rounds[-1].state, rounds[-1].verdict) if rounds else None
    return last, contents(root / "scans", *ASIDE, "cases"), rereads.reread_agreement(labelling)


def test_a_round_on_a_read_only_share_is_refused_in_one_sentence(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copied(whole, tmp_path / "root")
    before = contents(root / "scans")

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(root / "scans" / "labelling"))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refused)
        with pytest.raises(UserError, match="scans"):
            begin(root)
    assert contents(root / "scans") == before and not (root / "jobs").exists()


def test_a_case_whose_image_is_gone_is_named_before_a_round_exists(
    whole: Path, tmp_path: Path
) -> None:
    root = copied(whole, tmp_path / "root")
    (root / "scans" / "imagesTr" / "scan_1_0000.nii.gz").unlink()
    with pytest.raises(UserError, match=r"image scan_1_0000\.nii\.gz of case scan_1 is gone"):
        begin(root)
    assert list_rounds(open_scans(root)) == []
    open_scans(root).step("scan_1", "exclude")
    begin(root)
    assert set(get_round(open_scans(root), 1).masks) == {"scan_0"}
