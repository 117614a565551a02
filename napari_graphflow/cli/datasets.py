"""``datasets``: import images and masks as a dataset, and check it."""

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from cyclopts import App

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import DatasetFolder, Flag, Json
from napari_graphflow.cli.terminal import output, print_json, progress_bar
from napari_graphflow.dataset import sparse
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.checks import check as check_dataset
from napari_graphflow.dataset.checks import check_record
from napari_graphflow.dataset.findings import Finding, counted
from napari_graphflow.dataset.importing import EmptySlices, import_dataset
from napari_graphflow.dataset.splits import NNUNET, OWN, draw_folds, has_splits
from napari_graphflow.errors import UserError
from napari_graphflow.system.files import replace_file

_KINDS = ("labelled", "unlabelled")
datasets = App(name="datasets", help="Import images and masks as a dataset, and check it.")


@datasets.command(name="import")
def import_(
    *,
    images: Path,
    masks: Path | None = None,
    out: Path,
    splits: str = "",
    name: str = "",
    classes: tuple[str, ...] = (),
    empty_slices: EmptySlices = "background",
    site_folders: Flag = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Import folders of images and masks as a dataset in the nnU-Net v2 raw layout.

    Parameters
    ----------
    images
        Folder of volumes (NIfTI, NRRD, MetaImage), 2D images (PNG, JPEG, TIFF, GIF, BMP, WebP), or
        subfolders with one DICOM series each.
    masks
        Folder of masks with the same names, including DICOM segmentations (SEG). Images without a
        mask are unlabelled.
    out
        Folder of the new dataset; must not exist.
    splits
        JSON file with the lists train, val and test; FILE#KEY selects one of several splits, also
        a fold of nnU-Net's splits_final.json, by default 0.
    name
        Name of the dataset; by default the name of its folder.
    classes
        Names of the label values, such as liver=1 lesion=2. By default read from the files next to
        the masks or from the DICOM segments.
    empty_slices
        What the empty slices of masks mean that are drawn in some slices only, such as every
        fourth: background, or ignore, which leaves them out of training and scores.
    site_folders
        The folders in the folder of images, and in that of masks, are sites (hospitals, scanners),
        each with the files of its cases. The names of the cases then begin with the site, and a run
        can train on some sites only.
    """
    with progress_bar() as bar:
        task = bar.add_task("importing", total=None)
        dataset = import_dataset(
            images,
            masks,
            out,
            name=name or out.name,
            splits=splits or None,
            classes=_classes(classes),
            empty_slices=empty_slices,
            site_folders=site_folders,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    findings = [*check_record(dataset), *dataset.findings]
    if json:
        print_json({**_counts(dataset), "findings": [asdict(finding) for finding in findings]})
    else:
        _print_dataset(dataset)
        _print_findings(findings)


@datasets.command
def check(folder: DatasetFolder, *, fold: int = 0, json: Json = False) -> int:
    """Check counts, shapes, geometry and label values of a dataset; exit code 1 on errors.

    Parameters
    ----------
    fold
        Fold of nnU-Net's splits_final.json.
    """
    dataset = Dataset.open(folder, fold=fold)
    findings = check_dataset(dataset)
    if json:
        print_json({**_counts(dataset), "findings": [asdict(finding) for finding in findings]})
    else:
        _print_dataset(dataset)
        _print_findings(findings)
    return int(any(finding.severity == "error" for finding in findings))


@datasets.command
def ignore_empty_slices(
    folder: DatasetFolder, *, cases: tuple[str, ...] = (), json: Json = False
) -> None:
    """Ignore the empty slices of masks that are drawn in some slices only, such as every fourth.

    They get the ignore label of nnU-Net, which leaves them out of training and scores.

    Parameters
    ----------
    cases
        Names of the cases; by default all such masks.
    """
    with progress_bar() as bar:
        task = bar.add_task("reading the masks", total=None)
        changed = sparse.ignore_empty_slices(
            folder, cases, lambda done, total: bar.update(task, completed=done, total=total)
        )
    if json:
        print_json(changed)
        return
    for name, slices in changed.items():
        output.print(f"{name}: {counted(slices, 'slice')} ignored")
    if not changed:
        output.print("No mask is drawn in some slices only, so nothing was changed.")


def _classes(pairs: tuple[str, ...]) -> dict[str, int] | None:
    classes = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not value.strip().isdigit():
            raise UserError(f"'{pair}' is not a valid class.", "Write NAME=VALUE, such as liver=1.")
        classes[name.strip()] = int(value)
    return classes or None


def _counts(dataset: Dataset) -> dict[str, Any]:
    splits = {
        split: {
            "labelled": len(dataset.labelled(split)),
            "unlabelled": len(dataset.unlabelled(split)),
        }
        for split in ("train", "val", "test")
    }
    return {"folder": dataset.folder, "classes": dataset.classes, "cases": splits}


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        colour = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
        case = f"{finding.case}: " if finding.case else ""
        text = f"{finding.severity}: {case}{finding.text} {finding.remedy}".rstrip()
        output.print(text, style=colour)


def _print_dataset(dataset: Dataset) -> None:
    counts = _counts(dataset)
    total = {kind: sum(one[kind] for one in counts["cases"].values()) for kind in _KINDS}
    output.print(f"{dataset.name}: {', '.join(dataset.classes)}")
    output.print(f"{total['labelled']} labelled, {total['unlabelled']} unlabelled cases")
    for split, numbers in counts["cases"].items():
        output.print(
            f"  {split}: {numbers['labelled']} labelled, {numbers['unlabelled']} unlabelled"
        )


@datasets.command
def folds(
    folder: DatasetFolder,
    *,
    number: int = 5,
    overwrite: Flag = False,
    config_file: ConfigFile = None,
) -> None:
    """Draw folds for a cross-validation, by patient, as nnU-Net's splits_final.json.

    Parameters
    ----------
    number
        Number of folds.
    overwrite
        Use them instead of the split that the dataset has, such as that of its import. Cases for
        testing stay so, and the file is kept under another name.
    """
    dataset = Dataset.open(folder)
    if has_splits(folder) and not overwrite:
        raise UserError(
            f"{folder} has {OWN} or {NNUNET} already.",
            "To use folds instead, repeat the command with --overwrite; the file is kept.",
        )
    names = sorted(case.name for case in dataset.cases if case.label and case.split != "test")
    drawn = draw_folds(names, number, dataset.record.get("patients"))
    for name in (OWN, NNUNET):
        if (folder / name).exists():
            places = (folder / f"{name}.{number}" for number in count(1))
            kept = next(one for one in places if not one.exists())
            (folder / name).rename(kept)
            output.print(f"{folder / name} is kept as {kept.name}.", soft_wrap=True)
    replace_file(folder / NNUNET, json_module.dumps(drawn, indent=1).encode() + b"\n")
    sizes = ", ".join(str(len(one["val"])) for one in drawn)
    output.print(f"{folder / NNUNET}: {number} folds with {sizes} validation cases", soft_wrap=True)
