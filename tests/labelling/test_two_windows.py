"""Two windows, or two readers, with one case."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from labelling_cases import box, make_dataset, stored

from napari_graphflow.errors import UserError
from napari_graphflow.labelling import locks
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans")


def test_a_mask_that_another_reader_saved_meanwhile_is_not_overwritten(folder: Path) -> None:
    ada, bea = Labelling(folder, "Ada"), Labelling(folder, "Bea")
    mine, theirs = ada.open_case("scan_2"), bea.open_case("scan_2")
    bea.save(theirs, box(1))
    with pytest.raises(UserError, match=r"changed by Bea since .* Both are kept") as caught:
        ada.save(mine, box(2))
    np.testing.assert_array_equal(stored(folder, "scan_2"), box(1))
    again = ada.open_case("scan_2")
    assert again.origin == "draft"
    np.testing.assert_array_equal(again.labels, box(2))
    entry = list(ada.entries())[-1]
    assert entry.what == "conflict" and ada.paths.version(entry.to_mask).is_file()
    assert entry.to_mask in caught.value.text
    ada.save(again, again.labels)
    np.testing.assert_array_equal(stored(folder, "scan_2"), box(2))


def test_a_draft_of_the_same_reader_in_another_window_is_not_overwritten(folder: Path) -> None:
    one, two = Labelling(folder, "Ada"), Labelling(folder, "Ada")
    first, second = one.open_case("scan_2"), two.open_case("scan_2")
    first = one.save_draft(first, box(0))
    first = one.save_draft(first, box(1))
    with pytest.raises(UserError, match="another window of Ada") as caught:
        two.save_draft(second, box(2))
    np.testing.assert_array_equal(two.open_case("scan_2").labels, box(1))
    kept = [path for path in two.paths.versions.iterdir() if path.name in caught.value.text]
    assert len(kept) == 1
    one.save(first, box(1))


def test_drafts_of_two_readers_stand_beside_each_other(folder: Path) -> None:
    for reader, number in {"Ada": 0, "Bea B.": 1, "../Çelik": 2}.items():
        labelling = Labelling(folder, reader)
        labelling.save_draft(labelling.open_case("scan_2"), box(number))
    readers = Labelling(folder).paths.readers("scan_2")
    assert set(readers) == {"Ada", "Bea B.", "../Çelik"}
    assert all(path.parent == folder / "labelling" / "drafts" for path in readers.values())
    np.testing.assert_array_equal(Labelling(folder, "Bea B.").open_case("scan_2").labels, box(1))


def test_cases_whose_names_begin_alike_do_not_share_drafts(folder: Path) -> None:
    labelling = Labelling(folder, "Ada")
    (labelling.paths.drafts).mkdir(parents=True)
    for name in ("scan", "scan.2"):
        labelling.paths.draft(name, "Ada").touch()
    assert list(labelling.paths.readers("scan")) == ["Ada"]
    assert labelling.paths.readers("scan") != labelling.paths.readers("scan.2")


def test_a_case_open_in_another_window_is_refused_with_the_name_of_its_reader(
    folder: Path,
) -> None:
    ada, bea = Labelling(folder, "Ada"), Labelling(folder, "Bea")
    ada.hold("scan_2")
    opened = bea.open_case("scan_2")  # looking is allowed
    for attempt in (
        lambda: bea.hold("scan_2"),
        lambda: bea.save(opened, box()),
        lambda: bea.save_draft(opened, box()),
        lambda: bea.step("scan_2", "exclude"),
    ):
        with pytest.raises(UserError, match="is open in another window by Ada"):
            attempt()
    ada.save(ada.open_case("scan_2"), box())
    ada.release("scan_2")
    bea.hold("scan_2")


def test_a_case_can_be_taken_over_and_the_other_window_is_told(folder: Path) -> None:
    ada, bea = Labelling(folder, "Ada"), Labelling(folder, "Bea")
    ada.hold("scan_2")
    bea.hold("scan_2", take_over=True)
    with pytest.raises(UserError, match="by Bea"):
        ada.beat()
    ada.release("scan_2")
    assert locks.holder(bea.paths.lock("scan_2")).reader == "Bea"


HOLDER = """
import sys
from pathlib import Path
from napari_graphflow.labelling.store import Labelling
Labelling(Path(sys.argv[1]), "Eve").hold("scan_2")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_case_of_a_window_that_was_killed_is_free_at_once(folder: Path) -> None:
    window = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with window:
        assert window.stdout is not None and window.stdout.readline() == b"held\n"
        ada = Labelling(folder, "Ada")
        with pytest.raises(UserError, match="by Eve"):
            ada.hold("scan_2")
        window.kill()
        window.wait(30)
        ada.hold("scan_2")


def test_a_window_on_another_computer_counts_as_gone_without_heartbeats(folder: Path) -> None:
    ada = Labelling(folder, "Ada")
    ada.hold("scan_2")
    note = locks.holder(ada.paths.lock("scan_2"))
    for age, free in ((0.0, False), (locks.SILENT + 1, True)):
        elsewhere = note.model_copy(update={"host": "elsewhere", "beat": time.time() - age})
        ada.paths.lock("scan_2").write_text(elsewhere.model_dump_json(), "utf-8")
        assert (locks.holder(ada.paths.lock("scan_2")) is None) is free


def test_a_damaged_note_of_a_lock_does_not_block_a_case(folder: Path) -> None:
    ada = Labelling(folder, "Ada")
    ada.hold("scan_2")
    ada.paths.lock("scan_2").write_text("{", "utf-8")
    Labelling(folder, "Bea").hold("scan_2")


SAVER = """
import sys
from pathlib import Path
import numpy as np
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.store import Labelling
labelling = Labelling(Path(sys.argv[1]), sys.argv[2])
saved = 0
for number in range(8):
    opened = labelling.open_case("scan_2")
    opened.labels[:] = 0
    opened.labels[number % 10, int(sys.argv[3])] = 1
    try:
        labelling.save(opened, opened.labels)
        saved += 1
    except UserError as error:
        assert "Both are kept" in str(error), error
print(saved)
"""


def test_two_processes_that_save_one_case_lose_no_mask(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), name, row],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, row in (("A", "0"), ("B", "1"))
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in processes]
    labelling = Labelling(folder, "C")
    entries = list(labelling.entries())
    saves = [one for one in entries if one.what == "save"]
    assert len(saves) == sum(counts)
    assert len(saves) + sum(one.what == "conflict" for one in entries) == 16
    # The finished masks are one chain, and each of them still exists.
    for before, after in itertools.pairwise(saves):
        assert after.from_mask == before.to_mask
    assert all(labelling.paths.version(one.to_mask).is_file() for one in entries)
    assert labelling.facts("scan_2").mask == saves[-1].to_mask
