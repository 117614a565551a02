"""The table of steps between the statuses of a case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.dataset.statuses import COUNTED, HELD_BACK
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.statuses import STATUSES, STEPS, after, allowed

ACTIONS = list(STEPS)


def test_each_status_can_be_reached_from_unlabelled() -> None:
    reached, new = set(), {"unlabelled"}
    while new - reached:
        reached |= new
        new = {after(action, one, "labelled", "a") for one in reached for action in allowed(one)}
    assert reached == set(STATUSES)


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_any_series_of_actions_follows_the_table(actions) -> None:
    status = before = "unlabelled"
    for action in actions:
        if action not in allowed(status):
            with pytest.raises(UserError, match=r"is .* and cannot be") as caught:
                after(action, status, before, "a")
            assert caught.value.remedy.endswith(".")
            continue
        new = after(action, status, before, "a")
        assert new in STATUSES
        if action in ("flag", "exclude") and status not in HELD_BACK:
            before = status
        # Only a person's decision makes a mask count, and only the same makes it stop.
        if new in COUNTED and status not in COUNTED:
            assert action in ("save", "accept", "approve", "reopen")
        if status in COUNTED and new not in COUNTED:
            assert action in ("review", "flag", "exclude")
        if status in HELD_BACK and new not in HELD_BACK:
            assert action == "reopen" and new == before
        status = new


@pytest.mark.parametrize("status", sorted(HELD_BACK))
def test_a_case_held_back_cannot_be_labelled_before_it_is_reopened(status) -> None:
    assert not {"save", "accept", "approve", "propose", "review"} & set(allowed(status))


def test_an_approved_mask_is_not_overwritten_before_it_is_reopened() -> None:
    with pytest.raises(UserError, match="The case a is approved and cannot be saved"):
        after("save", "approved", "unlabelled", "a")
    assert after("reopen", "approved", "unlabelled", "a") == "labelled"
