"""The split of each case: from ``splits.json``, nnU-Net's ``splits_final.json``, or drawn."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_graphflow.dataset.case import SPLITS, Case, Split
from napari_graphflow.dataset.findings import Finding, are, counted, some_of
from napari_graphflow.dataset.names import composed, patients
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import IMAGES, split_ending
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

OWN = "splits.json"
NNUNET = "splits_final.json"


def read_json(path: Path, remedy: str = "Import the images again.") -> Any:
    """Read a JSON file of any Unicode encoding, with or without a byte order mark.

    Raises
    ------
    UserError
        If it is missing, cannot be read, or is not JSON.
    """
    try:
        return parse_json(read_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UserError(f"{path} is a link to a file that is not there.", remedy) from None
        raise UserError(
            f"{path.parent} is not a dataset: it contains no {path.name}.",
            "Create one with “napari-graphflow datasets import”, or choose another folder.",
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged: it is not valid JSON.", remedy) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the folder and the disk."
        ) from None


def has_splits(folder: Path) -> bool:
    """Whether a file states the splits, so that none is drawn."""
    return any(os.path.lexists(folder / name) for name in (OWN, NNUNET))


def case_name(name: object) -> str:
    """Return the name of a case as written in a list, where some write the file name."""
    return composed(split_ending(str(name), IMAGES)[0])


def assign_splits(
    folder: Path,
    cases: Sequence[Case],
    fold: int,
    held_back: Collection[str] = (),
    known_patients: Mapping[str, str] | None = None,
) -> tuple[tuple[Case, ...], list[Finding]]:
    """Give the training cases their splits, in this order: our file, nnU-Net's, a drawn one.

    Parameters
    ----------
    folder
        Folder of the dataset.
    cases
        Its cases, those of ``imagesTs`` in the split test.
    fold
        Fold of ``splits_final.json``.
    held_back
        Further names that the file of splits may contain.
    known_patients
        Patient by case, where known; of the others, the name tells it.

    Returns
    -------
    cases
        Training cases first, then by name.
    findings
        Which split is used, if it is not our own.

    Raises
    ------
    UserError
        If a file of splits is not valid or names unknown cases, or the fold does not exist.
    """
    own, folds = folder / OWN, folder / NNUNET
    findings: list[Finding] = []
    if has_splits(folder):
        path = own if os.path.lexists(own) else folds
        content = read_json(path, "Write it again, or remove it.")
        if isinstance(content, list):
            named = fold_of(content, fold, path)
            cases, findings = _of_fold(cases, named, fold, len(content), path)
        else:
            named = _checked(content, path)
            if fold:
                raise UserError(
                    f"{path} has one split and no folds, so there is no fold {fold}.",
                    "Leave out the fold.",
                )
            if os.path.lexists(folds):
                findings = [Finding("info", "", f"{NNUNET} is not used, because of {OWN}.")]
        _check_known(named, {case.name for case in cases} | {*held_back}, path)
        cases = list(_with(cases, named))
    else:
        if fold:
            raise UserError(
                f"{folder} has no {NNUNET}, so there is no fold {fold}.", "Leave out the fold."
            )
        cases, findings = _drawn(cases, known_patients or {})
    return tuple(sorted(cases, key=lambda one: (SPLITS.index(one.split), one.name))), findings


def fold_of(content: Sequence[Any], fold: int, path: Path) -> dict[Split, set[str]]:
    """Return the cases of a fold of nnU-Net's list of folds.

    Raises
    ------
    UserError
        If it is not such a list, or has no such fold.
    """
    if not 0 <= fold < len(content):
        raise UserError(
            f"{path} has {counted(len(content), 'fold')} (from 0), and no fold {fold}.",
            "Choose another fold.",
        )
    return _checked(content[fold], path)


def draw_patients(patients: Iterable[str], number: int) -> list[str]:
    """Draw patients. The order depends on the names alone, so that a new one moves few others."""
    order = sorted(set(patients), key=lambda one: hashlib.blake2b(one.encode()).digest())
    return order[:number]


def fifth_of(patients: int) -> int:
    """Return how many patients are drawn for validation: a fifth, at least two of four."""
    return max(patients // 5, min(2, patients // 2))


def _checked(content: Any, path: Path) -> dict[Split, set[str]]:
    if not isinstance(content, dict) or not all(
        isinstance(content.get(split, []), list) for split in SPLITS
    ):
        raise UserError(
            f"{path} is not a valid list of splits.",
            'Write {"train": [...], "val": [...], "test": [...]} with names of cases.',
        )
    return {split: {case_name(one) for one in content.get(split, [])} for split in SPLITS}


def _check_known(named: Mapping[Split, set[str]], known: Collection[str], path: Path) -> None:
    missing = set().union(*named.values()).difference(known)
    if missing:
        raise UserError(
            f"{path} lists {counted(len(missing), 'case')} that the dataset does "
            f"not have, such as {min(missing)}.",
            "Remove the names, or add the images.",
        )


def _with(cases: Iterable[Case], named: Mapping[Split, set[str]]) -> Iterable[Case]:
    for case in cases:
        splits = {split for split in SPLITS if case.name in named[split]} or {case.split}
        # Test images stay in the test split, so that a check finds a case listed twice.
        splits |= {case.split} & {"test"}
        yield from (replace(case, split=split) for split in splits)


def _of_fold(
    cases: Sequence[Case], named: Mapping[Split, set[str]], fold: int, folds: int, path: Path
) -> tuple[Sequence[Case], list[Finding]]:
    """Leave out labelled cases in no list of the fold, as nnU-Net does."""
    inside = set().union(*named.values())
    out = [one for one in cases if one.split == "train" and one.label and one.name not in inside]
    findings = [
        Finding(
            "info",
            "",
            f"The split is fold {fold} of {folds} in {path.name}.",
            "Choose another with --fold." if folds > 1 else "",
        )
    ]
    if out:
        findings.append(
            Finding(
                "warning",
                "",
                f"{counted(len(out), 'labelled case')} in no list of fold {fold} "
                f"{are(len(out))} not used: {some_of([one.name for one in out])}.",
                f"Add them to {path.name} if they should be.",
            )
        )
    return [one for one in cases if one not in out], findings


def _drawn(cases: Sequence[Case], known: Mapping[str, str]) -> tuple[Sequence[Case], list[Finding]]:
    """Draw cases for validation, since the best weights could not be selected without."""
    train = [case for case in cases if case.split == "train"]
    patient = patients((case.name for case in train), known)
    labelled = [case.name for case in train if case.label]
    of_masks = {patient[name] for name in labelled}
    chosen = draw_patients(of_masks, fifth_of(len(of_masks)))
    if not chosen:
        return cases, []
    # All cases of these patients, also those without a mask.
    held = {case.name for case in train if patient[case.name] in chosen}
    drawn = sorted(held & set(labelled))
    text = (
        f"The dataset has no {OWN}: of {counted(len(labelled), 'labelled case')}, {len(drawn)} "
        f"{'was' if len(drawn) == 1 else 'were'} drawn by patient for validation "
        f"({some_of(drawn)})."
    )
    remedy = f"Write {OWN} to choose others."
    named: dict[Split, set[str]] = {"train": set(), "val": held, "test": set()}
    return list(_with(cases, named)), [Finding("info", "", text, remedy)]


def draw_folds(
    names: Sequence[str], folds: int, known_patients: Mapping[str, str] | None = None
) -> list[dict[str, list[str]]]:
    """Draw folds for a cross-validation, by patient, as nnU-Net lists them.

    Parameters
    ----------
    names
        Labelled training cases.
    folds
        Number of folds.
    known_patients
        Patient by case, where known; of the others, the name tells it.

    Returns
    -------
    folds
        The lists ``train`` and ``val`` of each; each case is in ``val`` once.

    Raises
    ------
    UserError
        If there are fewer patients than folds.
    """
    patient = patients(names, known_patients or {})
    order = draw_patients(patient.values(), len(names))
    if not 2 <= folds <= len(order):
        raise UserError(
            f"{counted(len(order), 'patient')} cannot be drawn into {counted(folds, 'fold')}.",
            f"Choose from 2 to {len(order)} folds." if len(order) > 1 else "Label more patients.",
        )
    found = []
    for fold in range(folds):
        held = set(order[fold::folds])
        val = sorted(name for name in names if patient[name] in held)
        found.append({"train": sorted(set(names) - set(val)), "val": val})
    return found
