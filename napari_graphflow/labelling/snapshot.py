"""The labels, statuses and lists of a dataset at one moment, and how to return to it."""

from pathlib import Path

from napari_graphflow.config.settings import Frozen
from napari_graphflow.dataset.cases import Case
from napari_graphflow.dataset.splits import NNUNET, OWN
from napari_graphflow.labelling import locks
from napari_graphflow.labelling.masks import keep_version, list_mask, mask_path, put_version
from napari_graphflow.labelling.steps import CaseSteps
from napari_graphflow.system.files import replace_file
from napari_graphflow.system.regular_file import read_regular

#: Files that say which cases and masks training uses.
LISTS = ("dataset.json", OWN, NNUNET)


class Snapshot(Frozen):
    """A moment in the labelling of a dataset.

    Parameters
    ----------
    masks
        SHA-256 of the mask of each case that then counted or not; empty without a mask.
    records
        Content of the record of each case that had one.
    lists
        Content of ``dataset.json`` and of the files of splits that existed.
    """

    masks: dict[str, str]
    records: dict[str, str]
    lists: dict[str, str]


def every_case(steps: CaseSteps) -> dict[str, Case]:
    """Return all cases of a dataset by name."""
    return {case.name: case for case in (*steps.dataset.cases, *steps.dataset.held_back)}


def take(steps: CaseSteps) -> Snapshot:
    """Keep every mask in the versions and return the snapshot of now."""
    steps.paths.create()
    masks, records = {}, {}
    for name, case in every_case(steps).items():
        steps.facts(name)  # completes a pending step
        with locks.guarded(steps.paths.guard(name)):
            masks[name] = keep_version(steps.paths, mask_path(steps.dataset, case))
            if steps.paths.case(name).is_file():
                records[name] = _text(steps.paths.case(name))
    lists = {
        name: _text(steps.dataset.folder / name)
        for name in LISTS
        if (steps.dataset.folder / name).is_file()
    }
    return Snapshot(masks=masks, records=records, lists=lists)


def restore(steps: CaseSteps, snapshot: Snapshot) -> None:
    """Bring back masks, records and lists, bit for bit; may be repeated after a crash.

    Cases that were added since are not changed. Nothing is deleted: each mask that is replaced
    stays in the versions.
    """
    steps.paths.create()
    cases = every_case(steps)
    for name, sha256 in snapshot.masks.items():
        if name not in cases:
            continue
        with locks.guarded(steps.paths.guard(name)):
            target = mask_path(steps.dataset, cases[name])
            keep_version(steps.paths, target)
            put_version(steps.paths, sha256, target)
            record = steps.paths.case(name)
            if name in snapshot.records:
                replace_file(record, snapshot.records[name].encode())
            else:
                record.unlink(missing_ok=True)
    with locks.guarded(steps.paths.description_guard):
        for name, content in snapshot.lists.items():
            if _text(steps.dataset.folder / name) != content:
                replace_file(steps.dataset.folder / name, content.encode())
    steps.reload()
    for name in set(cases) - set(snapshot.masks):
        case = steps.case(name)
        list_mask(steps.paths, steps.dataset, case, mask_path(steps.dataset, case))


def _text(path: Path) -> str:
    """Return the text of a file without translating the ends of its lines."""
    return read_regular(path).decode()
