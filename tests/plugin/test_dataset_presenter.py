"""What the Dataset dock decides, without a window."""

from datetime import UTC, datetime

import pytest

from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.labelling.records import CaseFacts
from napari_graphflow.labelling.statuses import STATUSES, allowed
from napari_graphflow.plugin.dataset import presenter
from napari_graphflow.plugin.dataset.loading import focus


def row(name: str = "scan_1", status: str = "unlabelled", **facts: object) -> CaseRow:
    record = CaseFacts(status=status, **facts)  # type: ignore[arg-type]
    return CaseRow(name, "train", record, (), (), "", "")


def test_every_status_has_a_colour_of_its_own() -> None:
    assert set(presenter.COLOURS) == set(STATUSES)
    assert len(set(presenter.COLOURS.values())) == len(STATUSES)


@pytest.mark.parametrize("status", STATUSES)
def test_only_allowed_steps_are_enabled(status: str) -> None:
    found = presenter.buttons(CaseFacts(status=status))  # type: ignore[arg-type]
    steps = set(allowed(status))  # type: ignore[arg-type]
    assert found - {"finish"} <= steps
    assert ("finish" in found) == bool(steps & {"save", "accept"})
    assert presenter.buttons(CaseFacts(status=status), editable=False) == set()  # type: ignore[arg-type]


def test_without_a_case_nothing_is_enabled() -> None:
    assert presenter.buttons(None) == set()


def test_a_row_shows_volumes_reader_and_date_or_a_dash() -> None:
    empty = presenter.cells(row())
    assert (empty.volumes, empty.who, empty.when) == ("–", "", "")
    changed = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    known = row(status="labelled", reader="Ada", changed=changed, comment="dark", difficulty=3)
    shown = presenter.cells(known, {"liver": 1234.4, "lesion": 0.5216})
    assert shown.volumes == "liver 1234 ml, lesion 0.522 ml"
    assert shown.who == "Ada"
    assert "2024-02-29" in shown.when
    assert "difficulty 3 of 3" in shown.tip and "dark" in shown.tip


def test_the_search_finds_words_in_name_status_reader_and_comment() -> None:
    one = row(status="flagged", reader="Ada", comment="motion artefact")
    assert presenter.matches(one, "ada motion", None)
    assert presenter.matches(one, "SCAN", "flagged")
    assert not presenter.matches(one, "scan liver", None)
    assert not presenter.matches(one, "", "labelled")


def test_the_neighbour_of_the_open_case_follows_the_list() -> None:
    names = ["a", "b", "c"]
    assert presenter.neighbour(names, "b", 1) == "c"
    assert presenter.neighbour(names, "a", -1) == ""
    assert presenter.neighbour(names, "", 1) == "a"
    assert presenter.neighbour([], "a", 1) == ""


def test_counts_are_in_words() -> None:
    rows = [row("a"), row("b"), row("c", "labelled")]
    assert presenter.counts_text(presenter.counts(rows)) == "2 unlabelled · 1 labelled"


def test_the_case_to_look_at_is_the_largest_slice_of_each_axis() -> None:
    import numpy as np

    labels = np.zeros((6, 7, 8), np.uint8)
    labels[4, 2:5, 3:6] = 1
    labels[1, 2, 3] = 2
    labels[0] = 255  # ignored slices do not count
    assert focus(labels) == (4, 2, 3)
    assert focus(np.zeros((6, 7), np.uint8)) == (3, 3)
