"""Damaged files of a dataset: each command names the file and a remedy, and nothing is drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelling_cases import make_dataset

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.system.files import read_record

NESTED, LONG = b"[" * 100_000, b'{"val": ' + b"9" * 5000 + b"}"


def folder_in_place(path: Path) -> None:
    path.mkdir()


def broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


COMMON = {
    "empty": content(b""), "binary": content(b"\x00\x01"), "nested": content(NESTED),
    "long number": content(LONG), "list": content(b"[]"), "folder": folder_in_place,
}  # fmt: skip
DAMAGE: dict[str, dict[str, Callable[[Path], object]]] = {
    "splits.json": COMMON | {
        "unknown": content(b'{"val": ["nobody"]}'), "text": content(b'{"val": "scan_3"}'),
        "broken link": broken_link,
    },
    "splits_final.json": COMMON | {"other": content(b'[{"train": 1}]'), "broken link": broken_link},
    "sites.csv": COMMON | {
        "cut": content(b"case,site\nscan_0,A\nscan_1"), "other": content(b"name;place\na;b\n"),
        "broken link": broken_link, "utf-16": content("case,site\n".encode("utf-16")),
    },
    "dataset.json": COMMON | {
        "labels": content(b'{"labels": 5}'), "no names": content(b'{"labels": {"a": {}}}'),
        "channels": content(b'{"labels": {"background": 0, "a": 1}, "channel_names": 5}'),
    },
}  # fmt: skip
CASES = [(name, how) for name, ways in DAMAGE.items() for how in ways]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_damaged_file_of_a_dataset_is_named_by_every_command(
    name: str, how: str, tmp_path: Path, capsys: Any
) -> None:
    folder = make_dataset(tmp_path / "scans")
    (folder / name).unlink(missing_ok=True)
    DAMAGE[name][how](folder / name)
    for command in ("datasets check {}", "datasets status {}", "train --dataset {}"):
        with pytest.raises(SystemExit) as ended:
            main(command.format(folder).split())
        assert ended.value.code == 2, command
        error = "".join(capsys.readouterr().err.split())
        assert str(folder / name).replace(" ", "") in error, command
    assert not list_jobs(), "a job was created"


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_damaged_file_of_a_dataset_does_not_open(name: str, how: str, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "scans")
    (folder / name).unlink(missing_ok=True)
    DAMAGE[name][how](folder / name)
    with pytest.raises(UserError) as refused:
        Dataset.open(folder)
    assert name in refused.value.text
    assert refused.value.remedy


@pytest.mark.parametrize("data", [b"", b"[]", NESTED, LONG, b'{"train": "scan_1"}'])
def test_a_damaged_record_of_a_job_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_bytes(data)
    with pytest.raises(UserError, match=r"cases\.json cannot be read"):
        read_record(tmp_path / "cases.json", list)
