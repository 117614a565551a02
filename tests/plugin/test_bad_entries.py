"""A damaged entry of a list is shown as damaged, and the others can be used."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_cases import new_job
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_graphflow.cli import main
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.jobs.trust import is_known
from napari_graphflow.plugin.dataset.readers_presenter import known_reader
from napari_graphflow.plugin.jobs.finished import FinishedJobs
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.viewer import autosave
from napari_graphflow.plugin.viewer.autosave_files import ENDING, unsaved_masks
from napari_graphflow.plugin.viewer.default_reader import is_default
from napari_graphflow.plugin.widgets import keys
from napari_graphflow.plugin.widgets.recent import recent, remember
from napari_graphflow.system.folders import jobs_root, models_root

NESTED = "[" * 100_000
#: Contents of ``job.json`` that are no settings.
NO_JOBS = {
    "nested": NESTED,
    "list": "[1, 2]",
    "kind": '{"kind": ["train"], "created": "2026-01-01"}',
    "created": '{"kind": "train", "created": "0001-01-01T00:00:00+14:00", "config": {}}',
    "binary": "\x00\x01",
}
#: Contents of ``status.json`` that are none.
NO_STATUSES = ('{"run": {"best": "high"}}', '{"run": {"eta_s": NaN}, "state": "running"}', NESTED)
RECENT = (
    "",
    "{",
    "[]",
    NESTED,
    '{"models": 5}',
    '{"models": [5, null, "\\u0000", "%s"]}' % ("x" * 5000),
)


def break_jobs(tmp_path: Path) -> Any:
    good = new_job(tmp_path, "good")
    for name, text in NO_JOBS.items():
        folder = jobs_root() / f"bad-{name}"
        folder.mkdir()
        JobPaths(folder).spec_file.write_text(text, "utf-8")
    for number, text in enumerate(NO_STATUSES):
        JobPaths(new_job(tmp_path, f"status {number}").folder).status_file.write_text(text, "utf-8")
    return good


def test_jobs_that_cannot_be_read_are_named_and_the_others_listed(
    view: JobsWidget, tmp_path: Path
) -> None:
    good = break_jobs(tmp_path)
    view.choose(good)
    assert view.selected() == good
    assert len(view.jobs()) == 1 + len(NO_STATUSES)
    assert view.empty.isVisible()
    assert "cannot be read: bad-binary, bad-created, bad-kind, bad-list, ..." in view.empty.text()
    for job in view.jobs():
        view.choose(job)


def test_the_command_names_jobs_that_cannot_be_read(tmp_path: Path, capsys: Any) -> None:
    good = break_jobs(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["jobs", "list", "--json"])
    assert not ended.value.code
    rows = json.loads(capsys.readouterr().out)
    assert str(good.folder) in [row["folder"] for row in rows]
    assert sum("problem" in row for row in rows) == len(NO_JOBS)
    assert len(list_jobs()) == len(rows) - len(NO_JOBS)


def break_model(make_model: Callable[..., Path]) -> Path:
    bad = make_model("bad")
    card = json.loads((bad / "model.json").read_text())
    card["provenance"] = {
        "dataset": "x", "labelled_cases": 1, "unlabelled_cases": 0, "run": None,
        "best_validation_dice": "high",
    }  # fmt: skip
    (bad / "model.json").write_text(json.dumps(card))
    return bad


def test_a_model_that_cannot_be_read_is_greyed_with_the_reason(
    viewer: Viewer, make_model: Callable[..., Path], qtbot: QtBot
) -> None:
    good, bad = make_model("good"), break_model(make_model)
    (models_root() / "nested").mkdir()
    (models_root() / "nested" / "model.json").write_text(NESTED)
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    combo = widget.model.combo
    entries = {combo.itemText(n): combo.model().item(n).isEnabled() for n in range(combo.count())}
    assert widget.model.folder() == good
    (text,) = [text for text in entries if text.startswith(f"{bad.name}: ")]
    assert "best_validation_dice" in text
    assert not entries[text]
    assert any(text.startswith("nested: ") and not on for text, on in entries.items())


def test_the_list_of_models_names_one_that_cannot_be_read(
    make_model: Callable[..., Path], capsys: Any
) -> None:
    make_model("good")
    break_model(make_model)
    with pytest.raises(SystemExit) as ended:
        main(["models", "list", "--json"])
    assert not ended.value.code
    bad, good = sorted(json.loads(capsys.readouterr().out), key=lambda row: row["name"])
    assert "best_validation_dice" in bad["problem"]
    assert "problem" not in good


@pytest.mark.parametrize("content", RECENT)
def test_a_damaged_list_of_recent_folders_is_replaced(
    content: str, home: Path, make_model: Callable[..., Path]
) -> None:
    (home / "recent.json").write_text(content, "utf-8")
    assert recent("models") == []
    model = make_model("elsewhere")
    remember("models", model)
    assert recent("models") == [model.resolve()]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x1f\x8bgarbage", gzip.compress(b"5\n"), gzip.compress(NESTED.encode() + b"\n"),
        gzip.compress(b'{"name": "mask", "saved": "x", "place": 3, "classes": 4}\nno array'),
        gzip.compress(b'{"name": "mask", "image": {"path": 5}}\n'),
    ],
)  # fmt: skip
def test_a_damaged_autosave_is_listed_and_the_others_are_restored(
    viewer: Viewer, home: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "autosave" / "old"
    folder.mkdir(parents=True)
    (folder / f"1{ENDING}").write_bytes(content)
    (saved,) = unsaved_masks()
    assert saved.title()
    reports: list[str] = []
    monkeypatch.setattr(autosave, "show_error", reports.append)
    kept = autosave.Autosave(viewer, 3600)
    assert not autosave._restore(kept, saved)
    assert "was not restored" in reports[0]
    assert len(viewer.layers) == 0


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"5", b"[]", NESTED.encode(), b'{"reader": 5, "default": 5}']
)
def test_damaged_preferences_are_those_of_the_beginning(content: bytes, home: Path) -> None:
    for name in ("keys", "labelling", "reader", "trusted", "jobs-seen"):
        (home / f"{name}.json").write_bytes(content)
    assert keys.chosen("dataset_keys") == keys.KEYS["dataset_keys"]
    assert known_reader() == ""
    assert is_default() is None
    assert not is_known("addresses", "http://elsewhere")
    assert FinishedJobs().update({}) == []
