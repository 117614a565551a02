"""The status of each case as labelling records it, and what it means for training.

Labelling (the room of that name) writes one file per case below ``labelling/cases``. A dataset
without that folder has no recorded statuses; its masks count.
"""

from pathlib import Path
from typing import Literal, get_args

from napari_graphflow.errors import UserError
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

Status = Literal[
    "unlabelled", "proposed", "in progress", "labelled", "in review", "approved", "flagged",
    "excluded",
]  # fmt: skip
#: The mask of such a case counts.
COUNTED: frozenset[Status] = frozenset({"labelled", "approved"})
#: Such a case is used for nothing, with its mask or without.
HELD_BACK: frozenset[Status] = frozenset({"flagged", "excluded"})
RECORDS = Path("labelling", "cases")


def recorded_statuses(folder: Path, *, hold_damaged: bool = False) -> dict[str, Status]:
    """Read the recorded status of each case of a dataset, by its name.

    Parameters
    ----------
    hold_damaged
        Whether a case with a damaged record counts as excluded; otherwise it is refused.

    Raises
    ------
    UserError
        If a record is damaged: a case that must not be used could otherwise be used.
    """
    found: dict[str, Status] = {}
    for path in sorted((folder / RECORDS).glob("[!.]*.json")):
        try:
            status = parse_json(read_regular(path))["status"]
        except (ValueError, KeyError, TypeError):
            status = None
        except OSError as error:
            if hold_damaged:
                found[path.name.removesuffix(".json")] = "excluded"
                continue
            raise UserError(
                f"{path} cannot be read: {error.strerror or error}.", "Check the folder."
            ) from None
        if status not in get_args(Status):
            if hold_damaged:
                found[path.name.removesuffix(".json")] = "excluded"
                continue
            raise UserError(
                f"{path} is damaged: it contains no valid status.",
                "Restore it from a backup, or delete it to start again with this case.",
            )
        found[path.name.removesuffix(".json")] = status
    return found
