"""Steps that are killed at any moment, a full disk, a share that is read-only."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling_cases import (
    box,
    dies_at_change,
    make_dataset,
    propose,
    stored,
    training_names,
)

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.store import Labelling

STEPS: dict[str, Callable[[Labelling], Any]] = {
    "save": lambda one: one.save(one.open_case("scan_2"), box(2)),
    "save some slices": lambda one: one.save(one.open_case("scan_2"), box(2), slices=[3]),
    "save a draft": lambda one: one.save_draft(one.open_case("scan_2"), box(2)),
    "save again": lambda one: one.save(one.open_case("scan_0"), box(2)),
    "accept": lambda one: one.accept("scan_3"),
    "reject": lambda one: one.reject("scan_3"),
    "flag": lambda one: one.step("scan_1", "flag"),
    "approve": lambda one: one.step("scan_1", "approve"),
    "describe": lambda one: one.describe("scan_1", difficulty=2),
    "propose": lambda one: propose(one, "scan_2"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a proposal for ``scan_3``; the tests work on copies."""
    folder = make_dataset(tmp_path_factory.mktemp("whole") / "scans")
    propose(Labelling(folder, "Ada"), "scan_3")
    return folder


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def done(folder: Path, what: str) -> Path:
    STEPS[what](Labelling(folder, "Ada"))
    return folder


def again(folder: Path, what: str) -> None:
    """Repeat a step that was interrupted; it may have been done before."""
    with suppress(UserError):
        done(folder, what)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(one, marks=() if one in ("save", "accept") else pytest.mark.slow)
        for one in STEPS
    ],
)
def test_a_step_that_is_killed_at_any_change_is_done_as_a_whole_or_not_at_all(
    what: str, whole: Path, tmp_path: Path
) -> None:
    before = state(whole)
    after = state(done(copied(whole, tmp_path / "whole"), what))
    # Killed before the first change, the second, ..., until the step is not killed any more.
    for count in range(60):
        folder = copied(whole, tmp_path / f"{count}")
        if not dies_at_change(folder, count, lambda folder=folder: done(folder, what)):
            break
        Dataset.open(folder)  # as training and nnU-Net find it
        assert state(folder) in (before, after)
        again(folder, what)
        assert state(folder) == after
    else:
        pytest.fail("the step never ended")
    assert count > (1 if what == "describe" else 4), "the step was killed at too few points"


def state(folder: Path) -> dict[str, Any]:
    """What a crash must not divide: statuses, masks, what nnU-Net finds, and the log."""
    labelling = Labelling(folder, "Eve")
    statuses = {f"scan_{n}": labelling.facts(f"scan_{n}").status for n in range(4)}
    counted = {name for name, status in statuses.items() if status in ("labelled", "approved")}
    assert training_names(folder) == counted
    masks = {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").glob("[!.]*")}
    assert masks == counted
    description = json.loads((folder / "dataset.json").read_text("utf-8"))
    if "dataset" in description:
        assert set(description["dataset"]) == masks
        assert description["numTraining"] == len(masks)
    for name in masks:
        if sha256 := labelling.facts(name).mask:
            kept = labelling.paths.version(sha256).read_bytes()
            assert kept == (folder / "labelsTr" / f"{name}.nii.gz").read_bytes()
    ids = [entry.id for entry in labelling.entries()]
    assert len(ids) == len(set(ids))
    return {"statuses": statuses, "masks": {name: stored(folder, name).tobytes() for name in masks}}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(one, marks=() if one in ("save", "accept", "propose") else pytest.mark.slow)
        for one in STEPS
    ],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_half_written(
    what: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    before = state(whole)
    after = state(done(copied(whole, tmp_path / "whole"), what))
    for count in range(30):
        folder = copied(whole, tmp_path / f"{count}")
        left = [count]

        def full(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            failure = outcome(folder, what)
        if failure is None:
            break
        assert "disk" in str(failure).lower() and failure.remedy.endswith(".")
        assert state(folder) in (before, after)
        again(folder, what)
        assert state(folder) == after
    else:
        pytest.fail("the disk was full for ever")
    assert count > (0 if what == "describe" else 1)


def outcome(folder: Path, what: str) -> UserError | None:
    try:
        done(folder, what)
    except UserError as error:
        return error
    return None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_share_can_be_looked_at_and_says_why_it_cannot_be_labelled(
    tmp_path: Path,
) -> None:
    folder = make_dataset(tmp_path / "scans")
    folder.chmod(0o555)
    try:
        labelling = Labelling(folder, "Ada")
        opened = labelling.open_case("scan_0")
        np.testing.assert_array_equal(opened.labels, box(0))
        with pytest.raises(UserError, match="permission"):
            labelling.save(opened, box(1))
    finally:
        folder.chmod(0o755)


def test_a_read_only_share_says_why_a_case_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dataset(tmp_path / "scans")
    labelling = Labelling(folder, "Ada")

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder / "labelling"))

    monkeypatch.setattr(Path, "mkdir", refused)
    for attempt in (
        lambda: labelling.save(labelling.open_case("scan_0"), box(1)),
        lambda: labelling.step("scan_0", "flag"),
        lambda: labelling.hold("scan_0"),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(folder) in str(caught.value)
