"""A damaged entry of a dataset's labelling is shown as damaged, and the others can be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelling_cases import MODEL, OTHER_MODEL, make_dataset, propose
from round_cases import judged_round

from napari_graphflow.cli import main
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.labelling.overview import list_cases, next_cases
from napari_graphflow.labelling.rounds import get_round, is_default, list_rounds, start, undo
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.rounds_presenter import cells

NESTED = b"[" * 100_000
CONTENTS = [b"", b"\x00\x01", b"[]", b'{"number": 1}', NESTED]


def as_json(capsys: Any, *arguments: object) -> Any:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    assert not ended.value.code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def rounds(tmp_path: Path) -> Labelling:
    """A dataset with two rounds, of which the second is the default."""
    folder = make_dataset(tmp_path / "scans", count=5, labelled=4)
    (folder / "splits.json").write_text('{"val": ["scan_3"]}', "utf-8")
    labelling = Labelling(folder, "Ada")
    for dice in (0.6, 0.8):
        judged_round(labelling, dice)
    return labelling


def folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def copy_of_another(path: Path) -> None:
    other = path.with_name("0002.json" if path.stem.endswith("1") else "0001.json")
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [*(lambda path, one=one: path.write_bytes(one) for one in CONTENTS), folder_in_place,
     copy_of_another],
)  # fmt: skip
def test_a_damaged_round_is_listed_as_damaged_beside_the_others(
    damage: Callable[[Path], None], rounds: Labelling, capsys: Any
) -> None:
    damage(rounds.paths.round(1))
    found = as_json(capsys, "rounds", "list", rounds.dataset.folder)
    bad, good = found["rounds"]
    assert (bad["number"], good["number"], found["default"]) == (1, 2, 2)
    assert str(rounds.paths.round(1)) in bad["problem"]
    assert as_json(capsys, "rounds", "show", rounds.dataset.folder, 2)["number"] == 2
    with pytest.raises(UserError, match="cannot be read"):
        get_round(rounds, 1)


def test_no_round_starts_and_none_is_undone_beside_a_damaged_one(rounds: Labelling) -> None:
    job = Job(Path(list_rounds(rounds)[1].job))
    assert is_default(job)
    rounds.paths.round(2).write_bytes(b"{")
    assert is_default(job), "it may be the default, so that its job is not removed"
    config = TrainingConfig(dataset=rounds.dataset.folder)
    for action in (lambda: start(rounds, config), lambda: undo(rounds, 1)):
        with pytest.raises(UserError) as refused:
            action()
        assert str(rounds.paths.round(2)) in refused.value.text
        assert "backup" in refused.value.remedy


def test_the_window_lists_a_damaged_round_and_undoes_none(rounds: Labelling) -> None:
    from napari_graphflow.labelling.rounds import read_rounds

    rounds.paths.round(1).write_bytes(b"{")
    found, damaged = read_rounds(rounds)
    second, first = cells(found, ["done"], damaged)
    assert (first.number, first.texts[3]) == (1, "damaged")
    assert str(rounds.paths.round(1)) in first.verdict
    assert second.texts[3] == "done"
    assert not second.undoable and not first.undoable


@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_proposal_is_named_and_the_others_can_be_opened(
    content: bytes, tmp_path: Path, capsys: Any
) -> None:
    folder = make_dataset(tmp_path / "scans")
    labelling = Labelling(folder, "Ada")
    propose(labelling, "scan_2", MODEL)
    propose(labelling, "scan_2", OTHER_MODEL, number=1)
    propose(labelling, "scan_3", MODEL)
    bad = labelling.paths.proposal_record("scan_2", MODEL)
    bad.write_bytes(content)
    rows = {row.name: row for row in list_cases(labelling)}
    assert str(bad) in rows["scan_2"].problem
    assert [one.sha256 for one in rows["scan_2"].proposals] == [OTHER_MODEL]
    assert not rows["scan_3"].problem
    assert {one.case for one in next_cases(labelling)} == {"scan_2", "scan_3"}
    opened = labelling.open_case("scan_2")
    assert opened.proposal is not None and opened.proposal.sha256 == OTHER_MODEL
    assert str(bad) in as_json(capsys, "datasets", "status", folder)["cases"]["scan_2"]["problem"]


@pytest.mark.parametrize("content", [*CONTENTS, b'{"status": "done"}'])
def test_a_case_with_a_damaged_record_is_held_back_and_the_others_can_be_labelled(
    content: bytes, tmp_path: Path, capsys: Any
) -> None:
    folder = make_dataset(tmp_path / "scans")
    labelling = Labelling(folder, "Ada")
    for name in ("scan_2", "scan_3"):
        propose(labelling, name)
    record = labelling.paths.case("scan_2")
    record.write_bytes(content)
    labelling = Labelling(folder, "Ada")
    rows = {row.name: row for row in list_cases(labelling)}
    assert rows["scan_2"].status == "excluded"
    assert str(record) in rows["scan_2"].problem
    assert [one.case for one in next_cases(labelling)] == ["scan_3"]
    labelling.accept("scan_3")
    with pytest.raises(UserError, match=r"scan_2\.json"):
        labelling.accept("scan_2")
    assert record.read_bytes() == content
    with pytest.raises(UserError, match=r"scan_2\.json is damaged"):
        Dataset.open(folder)  # as a run does
    as_json(capsys, "datasets", "status", folder)


#: Other files that list something: what is written into them, and what must still work.
FILES: dict[str, tuple[Callable[[LabellingPaths], Path], list[str]]] = {
    "log": (lambda paths: paths.log, ["datasets provenance {} scan_0", "datasets status {}"]),
    "settings": (lambda paths: paths.settings, ["datasets status {}", "datasets next {}"]),
    "lock": (lambda paths: paths.lock("scan_2"), ["datasets status {}", "datasets next {}"]),
    "draft": (
        lambda paths: paths.draft("scan_2", "Ada"),
        ["datasets status {}", "datasets next {}", "datasets accept {} scan_3"],
    ),
}


@pytest.mark.parametrize("content", [b"\x00\x01", NESTED])
@pytest.mark.parametrize("name", FILES)
def test_other_damaged_files_leave_the_lists(
    name: str, content: bytes, tmp_path: Path, capsys: Any
) -> None:
    folder = make_dataset(tmp_path / "scans")
    labelling = Labelling(folder, "Ada")
    labelling.step("scan_0", "flag")
    propose(labelling, "scan_3")
    place, commands = FILES[name]
    path = place(labelling.paths)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for command in commands:
        as_json(capsys, *command.format(folder).split())
