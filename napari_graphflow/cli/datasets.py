"""``datasets``: bring images and masks into a dataset, and check it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclopts import App

from napari_graphflow.cli.options import DatasetFolder, Json
from napari_graphflow.cli.terminal import output, print_json, progress_bar
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.checks import check as check_dataset
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError

datasets = App(name="datasets", help="Bring images and masks into a dataset, and check it.")


@datasets.command(name="import")
def import_(
    *,
    images: Path,
    masks: Path | None = None,
    out: Path,
    splits: str = "",
    name: str = "",
    classes: tuple[str, ...] = (),
    json: Json = False,
) -> None:
    """Turn folders of images and masks into a dataset in the nnU-Net v2 raw layout.

    Parameters
    ----------
    images
        Folder of volumes (NIfTI, NRRD, MetaImage), 2D images (PNG, JPEG, TIFF, GIF, BMP, WebP), or
        folders with a DICOM series each.
    masks
        Folder of masks with the same names, DICOM segmentations (SEG) included; an image without
        one is unlabelled.
    out
        Folder of the new dataset, which must not exist yet.
    splits
        JSON file with the lists train, val and test; FILE#KEY takes one of several in the file.
    name
        Name of the dataset; that of its folder where empty.
    classes
        Names of the label values, such as liver=1 lesion=2; without them the names that lie beside
        the masks, or those of DICOM segments.
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
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _print_dataset(dataset, json)


@datasets.command
def check(folder: DatasetFolder, *, json: Json = False) -> int:
    """Check counts, shapes, geometry and label values of a dataset; exit code 1 on errors."""
    dataset = Dataset.open(folder)
    findings = check_dataset(dataset)
    if json:
        print_json({**_counts(dataset), "findings": [asdict(finding) for finding in findings]})
    else:
        _print_dataset(dataset, False)
        for finding in findings:
            colour = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
            case = f"{finding.case}: " if finding.case else ""
            text = f"{finding.severity}: {case}{finding.text} {finding.remedy}".rstrip()
            output.print(text, style=colour)
    return int(any(finding.severity == "error" for finding in findings))


def _classes(pairs: tuple[str, ...]) -> dict[str, int] | None:
    classes = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not value.strip().isdigit():
            raise UserError(f"{pair} is no class.", "Write classes as NAME=VALUE, such as liver=1.")
        classes[name.strip()] = int(value)
    return classes or None


def _counts(dataset: Any) -> dict[str, Any]:
    splits = {
        split: {
            "labelled": len(dataset.labelled(split)),
            "unlabelled": len(dataset.unlabelled(split)),
        }
        for split in ("train", "val", "test")
    }
    return {"folder": dataset.folder, "classes": dataset.classes, "cases": splits}


def _print_dataset(dataset: Any, json: bool) -> None:
    counts = _counts(dataset)
    if json:
        print_json(counts)
        return
    output.print(f"{dataset.name}: {', '.join(dataset.classes)}")
    for split, numbers in counts["cases"].items():
        output.print(
            f"  {split}: {numbers['labelled']} labelled, {numbers['unlabelled']} unlabelled"
        )
