"""The blind re-read of accepted proposals."""

from pathlib import Path

import numpy as np
import pytest
from labelling_cases import OTHER_MODEL, box, contents, make_dataset, propose

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.rereads import (
    due,
    open_blind,
    proposal_outcomes,
    reread_agreement,
    save_blind,
    set_share,
    share,
)
from napari_graphflow.labelling.store import Labelling

CASES = [f"scan_{number}" for number in range(2, 8)]


@pytest.fixture
def labelling(tmp_path: Path) -> Labelling:
    """Six proposals: four accepted untouched, one edited, one rejected."""
    labelling = Labelling(make_dataset(tmp_path / "scans", count=8), "Ada")
    for name in CASES:
        propose(labelling, name)
    for name in CASES[:4]:
        labelling.accept(name, seconds=4)
    labelling.save(labelling.open_case(CASES[4]), box(1), seconds=60)
    labelling.reject(CASES[5])
    return labelling


def test_nothing_is_read_again_unless_a_share_is_chosen(labelling: Labelling) -> None:
    assert share(labelling) == 0 and due(labelling) == []
    with pytest.raises(UserError, match="does not wait"):
        open_blind(labelling, CASES[0])


def test_a_share_of_the_untouched_proposals_is_offered_the_same_to_every_reader(
    labelling: Labelling,
) -> None:
    set_share(labelling, 1.0)
    assert due(labelling) == CASES[:4]
    set_share(labelling, 0.5)
    some = due(labelling)
    assert 0 < len(some) < 4
    assert due(Labelling(labelling.dataset.folder, "Bea")) == some
    with pytest.raises(UserError, match="not a share"):
        set_share(labelling, 1.5)


def test_a_case_is_opened_without_its_mask_and_the_mask_stays(labelling: Labelling) -> None:
    set_share(labelling, 1.0)
    folder = labelling.dataset.folder
    before = contents(folder, "versions", "log.jsonl", "locks")
    bea = Labelling(folder, "Bea")
    opened = open_blind(bea, CASES[0])
    assert not opened.labels.any() and opened.proposal is None
    rows = save_blind(bea, opened, box(1), seconds=90)
    assert contents(folder, "versions", "log.jsonl", "locks") == before
    by_name = {row.structure: row for row in rows}
    both = np.count_nonzero((box(0) == 1) & (box(1) == 1))
    expected = 2 * both / (np.count_nonzero(box(0) == 1) + np.count_nonzero(box(1) == 1))
    assert by_name["liver"].dice == pytest.approx(expected)
    assert by_name["lesion"].dice == 1 and by_name["liver"].readers == ("Ada", "Bea")
    assert reread_agreement(labelling) == rows
    assert CASES[0] not in due(labelling)


def test_a_mask_that_was_changed_meanwhile_is_not_compared_and_nothing_is_lost(
    labelling: Labelling,
) -> None:
    set_share(labelling, 1.0)
    opened = open_blind(labelling, CASES[0])
    labelling.save(labelling.open_case(CASES[0]), box(2))
    with pytest.raises(UserError, match="was changed since it was opened") as caught:
        save_blind(labelling, opened, box(1))
    kept = [path for path in labelling.paths.versions.iterdir() if path.name in caught.value.text]
    assert len(kept) == 1 and reread_agreement(labelling) == []
    assert due(labelling) == CASES[1:4]


def test_a_case_that_is_given_to_others_is_not_offered(labelling: Labelling) -> None:
    set_share(labelling, 1.0)
    labelling.describe(CASES[1], readers=("Bea",))
    assert due(labelling) == [CASES[0], *CASES[2:4]]
    labelling.step(CASES[2], "flag")
    assert due(Labelling(labelling.dataset.folder, "Bea")) == [CASES[0], CASES[1], CASES[3]]


def test_what_was_done_with_the_proposals_is_counted_by_model(labelling: Labelling) -> None:
    propose(labelling, CASES[5], OTHER_MODEL)
    labelling.save(labelling.open_case(CASES[5]), box())  # as it was proposed
    [one] = proposal_outcomes(labelling)
    assert (one.accepted, one.edited, one.rejected) == (5, 1, 1)
    assert one.voxels == np.count_nonzero(box(1) != box(0)) and one.seconds == 4
