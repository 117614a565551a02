"""The log of a dataset: append-only, readable after a crash, written by several processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from napari_graphflow.labelling.log import Entry, append, read
from napari_graphflow.labelling.records import now


def entry(case: str, **values: object) -> Entry:
    return Entry(time=now(), who="Ada", what="save", case=case, **values)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_entries_are_read_as_they_were_written(log: Path) -> None:
    written = [entry("a", voxels=3, status=("proposed", "labelled")), entry("b", note="ü “x”")]
    for one in written:
        append(log, log.with_name(".guard"), one)
    assert list(read(log)) == written


def test_a_torn_last_line_is_skipped_and_the_next_entry_is_whole(log: Path) -> None:
    first, second = entry("a"), entry("b")
    append(log, log.with_name(".guard"), first)
    with log.open("ab") as file:
        file.write(entry("lost").model_dump_json().encode()[:40])
    assert list(read(log)) == [first]
    append(log, log.with_name(".guard"), second)
    assert list(read(log)) == [first, second]


def test_an_entry_is_written_once_if_asked(log: Path) -> None:
    one = entry("a")
    for _ in range(3):
        append(log, log.with_name(".guard"), one, once=True)
    assert list(read(log)) == [one]


def test_a_dataset_without_a_log_has_no_entries(log: Path) -> None:
    assert list(read(log)) == []


WRITER = """
import sys
from pathlib import Path
from napari_graphflow.labelling.log import Entry, append
from napari_graphflow.labelling.records import now
log = Path(sys.argv[1])
for number in range(50):
    one = Entry(time=now(), who=sys.argv[2], what="save", case=f"{number}", note="x" * 5000)
    append(log, log.with_name(".guard"), one)
"""


def test_processes_that_write_at_once_lose_no_entry(log: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(log), name]) for name in ("A", "B")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = [(one.who, int(one.case)) for one in read(log)]
    assert len(found) == 100
    for who in ("A", "B"):
        assert [number for name, number in found if name == who] == list(range(50))
