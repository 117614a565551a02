"""Agreement and consensus of two readers."""

from pathlib import Path

import numpy as np
import pytest
from labelling_cases import SHAPE, box, make_dataset

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.agreement import (
    FINISHED,
    agreement,
    as_table,
    consensus,
    readers_of,
    store_consensus,
)
from napari_graphflow.labelling.store import Labelling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans")


def draft(folder: Path, reader: str, labels: np.ndarray) -> None:
    labelling = Labelling(folder, reader)
    labelling.save_draft(labelling.open_case("scan_2"), labels)


def test_two_readers_are_compared_structure_by_structure(folder: Path) -> None:
    ours = np.zeros(SHAPE, np.uint8)
    ours[2:6, 1:3, 1:3] = 1  # 16 voxels
    theirs = ours.copy()
    theirs[5] = 0  # 12 of them
    theirs[9, 6, 5] = 2
    draft(folder, "Ada", ours)
    draft(folder, "Bea", theirs)
    rows, where = agreement(Labelling(folder), "scan_2")
    liver, lesion = rows
    assert liver.readers == ("Ada", "Bea")
    assert liver.dice == pytest.approx(2 * 12 / 28)
    assert (liver.voxels, liver.worst_slice) == (4, 5)
    # The end that is missing is one slice of 3 mm.
    assert liver.hausdorff_distance_95 == pytest.approx(3.0)
    assert (lesion.dice, lesion.voxels, lesion.worst_slice) == (0.0, 1, 9)
    assert np.count_nonzero(where) == 5
    table = as_table(rows)
    assert table[1]["hausdorff_distance_95"] is None


def test_a_draft_can_be_compared_with_the_finished_mask(folder: Path) -> None:
    labelling = Labelling(folder, "Ada")
    labelling.save_draft(labelling.open_case("scan_0"), box(0))
    assert readers_of(labelling, "scan_0") == ["Ada", FINISHED]
    rows, _ = agreement(labelling, "scan_0")
    assert [row.dice for row in rows] == [1.0, 1.0]


def test_a_comparison_needs_two_masks_and_says_whose_there_are(folder: Path) -> None:
    draft(folder, "Ada", box())
    labelling = Labelling(folder)
    with pytest.raises(UserError, match="masks of 1 readers"):
        agreement(labelling, "scan_2")
    with pytest.raises(UserError, match="no mask of Eve") as caught:
        agreement(labelling, "scan_2", ("Ada", "Eve"))
    assert "Ada" in caught.value.remedy
    with pytest.raises(UserError, match="needs two"):
        store_consensus(labelling, "scan_2")


@pytest.mark.parametrize("method", ["STAPLE", "majority"])
def test_a_consensus_follows_two_of_three_readers(method: str) -> None:
    masks = [box(0), box(0), np.zeros(SHAPE, np.uint8)]
    labels, undecided = consensus(masks, method)
    np.testing.assert_array_equal(labels, box(0))
    assert undecided == 0


def test_a_tie_of_two_readers_is_background_and_counted() -> None:
    labels, undecided = consensus([box(0), box(1)], "majority")
    agreed = box(0) == box(1)
    np.testing.assert_array_equal(labels[agreed], box(0)[agreed])
    assert undecided == np.count_nonzero(~agreed) and not labels[~agreed].any()


@pytest.mark.parametrize("method", ["STAPLE", "majority"])
def test_equal_masks_are_their_own_consensus(method: str) -> None:
    for mask in (box(1), np.zeros(SHAPE, np.uint8)):
        labels, undecided = consensus([mask, mask], method)
        np.testing.assert_array_equal(labels, mask)
        assert undecided == 0


def test_a_consensus_is_a_proposal_like_any_other(folder: Path) -> None:
    for reader, number in (("Ada", 0), ("Bea", 1), ("Cem", 1)):
        draft(folder, reader, box(number))
    labelling = Labelling(folder, "Dan")
    stored = store_consensus(labelling, "scan_2", "majority")
    assert stored.model == "majority of 3 readers" and "Ada, Bea, Cem" in stored.note
    opened = labelling.open_case("scan_2")
    assert opened.origin == "proposal"
    np.testing.assert_array_equal(opened.labels, box(1))
    assert labelling.accept("scan_2").status == "labelled"
