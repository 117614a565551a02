"""The statuses of a case and the one table of steps between them."""

from typing import Literal, get_args

from napari_graphflow.dataset.statuses import COUNTED, HELD_BACK, Status
from napari_graphflow.errors import UserError

__all__ = ["COUNTED", "HELD_BACK", "STATUSES", "STEPS", "Action", "Status", "after", "allowed"]

STATUSES: tuple[Status, ...] = get_args(Status)
Action = Literal[
    "propose", "draft", "save", "accept", "reject", "review", "approve", "flag", "exclude", "reopen"
]

#: Status after each action, by the status before it; other steps are refused. None stands for the
#: status that a case had before it was flagged or excluded.
STEPS: dict[Action, dict[Status, Status | None]] = {
    # A model proposed a mask. What a person has begun stays theirs.
    "propose": {
        "unlabelled": "proposed",
        "proposed": "proposed",
        "in progress": "in progress",
    },
    # A mask in progress was saved. The mask that counts, if there is one, still counts.
    "draft": {
        "unlabelled": "in progress",
        "proposed": "in progress",
        "in progress": "in progress",
        "labelled": "labelled",
        "in review": "in review",
        "approved": "approved",
        "flagged": "flagged",
    },
    # A mask was saved as finished. An approved one is first reopened.
    "save": {
        "unlabelled": "labelled",
        "proposed": "labelled",
        "in progress": "labelled",
        "labelled": "labelled",
        "in review": "labelled",
    },
    # The proposal, or the mask in progress, was accepted as it is.
    "accept": {"proposed": "labelled", "in progress": "labelled"},
    # The proposal is useless, or a reviewer returns the mask.
    "reject": {"proposed": "unlabelled", "in review": "in progress"},
    "review": {"labelled": "in review"},
    "approve": {"labelled": "approved", "in review": "approved"},
    "flag": {one: "flagged" for one in STATUSES if one not in HELD_BACK},
    "exclude": {one: "excluded" for one in STATUSES if one != "excluded"},
    "reopen": {"approved": "labelled", "flagged": None, "excluded": None},
}

_REMEDIES: dict[Status, str] = {
    "unlabelled": "Annotate the case first.",
    "proposed": "Accept, edit or reject the proposal first.",
    "in progress": "Save the mask as labelled first.",
    "labelled": "Open the case to change its mask.",
    "in review": "Approve or reject the mask first.",
    "approved": "Reopen the case first.",
    "flagged": "Reopen the case first.",
    "excluded": "Reopen the case first.",
}
_PARTICIPLES: dict[Action, str] = {
    "propose": "given a proposal",
    "draft": "edited",
    "save": "saved",
    "accept": "accepted",
    "reject": "rejected",
    "review": "sent to review",
    "approve": "approved",
    "flag": "flagged",
    "exclude": "excluded",
    "reopen": "reopened",
}


def allowed(status: Status) -> list[Action]:
    """Return the actions that a status allows."""
    return [action for action, steps in STEPS.items() if status in steps]


def after(action: Action, status: Status, before: Status, case: str) -> Status:
    """Return the status of a case after an action.

    Parameters
    ----------
    action
        What is done.
    status
        The status of the case.
    before
        Its status before it was flagged or excluded.
    case
        Name of the case, for the message.

    Raises
    ------
    UserError
        If the status does not allow the action.
    """
    steps = STEPS[action]
    if status not in steps:
        raise UserError(
            f"The case {case} is {status} and cannot be {_PARTICIPLES[action]}.", _REMEDIES[status]
        )
    return steps[status] or before
