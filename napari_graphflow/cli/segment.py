"""``segment`` and ``evaluate``: the commands that apply a model."""

from pathlib import Path

from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import (
    DatasetFolder,
    Device,
    Flag,
    Json,
    Mirror,
    Overwrite,
    Postprocess,
)
from napari_graphflow.cli.terminal import console, output, print_json, progress_bar
from napari_graphflow.config.prediction import PredictionOptions, removed_text
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.paths import refuse_overwriting, refuse_replacing
from napari_graphflow.system.destinations import require_writable, write_or_keep
from napari_graphflow.system.failures import Failure


def segment(
    inputs: tuple[Path, ...],
    /,
    *,
    model: Path,
    out: Path,
    device: Device = "auto",
    probabilities: Flag = False,
    series: tuple[str, ...] = (),
    dicom_seg: Flag = False,
    match_intensities: Flag = False,
    mirror: Mirror = None,
    postprocess: Postprocess = True,
    overwrite: Overwrite = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Segment files, folders of files or DICOM folders; masks have the geometry of their image.

    Of several images, one that cannot be segmented is named, and the others are segmented; the
    exit code is then that of the failure.

    Parameters
    ----------
    inputs
        Images, or folders of images. For a model of several channels, CASE_0000.nii.gz,
        CASE_0001.nii.gz, ... are one image; CASE alone names it, too.
    model
        Folder of a saved model.
    out
        File for one image, or folder for several. Masks of DICOM series can be written as DICOM
        segmentations (.dcm).
    probabilities
        Also write the class probabilities, next to each mask.
    series
        Numbers or descriptions of the DICOM series to segment, if a folder has several, or all.
    dicom_seg
        Write the masks of DICOM series as DICOM segmentations into the folder.
    match_intensities
        Map the intensities of each image to those the model learnt from. It may help with another
        scanner, and may harm: compare masks with and without.
    overwrite
        Replace existing files; images are never replaced.
    """
    from napari_graphflow.inference.segment_files import segment_files

    with progress_bar() as bar:
        task = bar.add_task("loading the model", total=None)

        def progress(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        written = segment_files(
            inputs,
            model,
            out,
            device=device,
            probabilities=probabilities,
            series=series,
            dicom_seg=dicom_seg,
            overwrite=overwrite,
            match_intensities=match_intensities,
            options=PredictionOptions(mirror=mirror, postprocess=postprocess),
            progress=progress,
        )
    failures = [Failure.model_validate(row["failure"]) for row in written if "failure" in row]
    code = failures[0].exit_code if failures else 0
    if json:
        print_json(written)
        return code
    for row in written:
        name = Path(row["image"]).name
        if "failure" in row:
            failure = Failure.model_validate(row["failure"])
            console.print(f"{name}: {failure}", style="red", soft_wrap=True)
            continue
        output.print(f"{row['mask']}  {row['seconds']:.1f} s on {row['device']}")
        if note := removed_text(row["removed"]):
            output.print(f"{name}: {note}", style="dim", soft_wrap=True)
        for warning in row["warnings"]:
            console.print(f"{name}: {warning}", style="yellow", soft_wrap=True)
        if site := row.get("site"):
            style = "yellow" if site["unlike"] else "dim"
            console.print(site["text"], style=style, soft_wrap=True)
    if failures:
        done = len(written) - len(failures)
        text = f"{done} of {len(written)} images were segmented, {len(failures)} failed."
        console.print(text, style="red")
    return code


def evaluate(
    dataset: DatasetFolder,
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    split: str = "test",
    fold: int = 0,
    sites: tuple[str, ...] = (),
    device: Device = "auto",
    organs: tuple[str, ...] = (),
    lesions: tuple[str, ...] = (),
    match_intensities: Flag = False,
    mirror: Mirror = None,
    postprocess: Postprocess = True,
    out: Path | None = None,
    overwrite: Overwrite = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Score a model, or a folder of masks, on the labelled cases of a split.

    Parameters
    ----------
    model
        Folder of a saved model.
    predictions
        Folder of masks named like the cases, instead of a model: of any format, also DICOM
        segmentations. Class names beside or inside a mask decide what its values mean, else they
        are those of the dataset.
    split
        Split to score: train, val or test.
    fold
        Fold of nnU-Net's splits_final.json.
    sites
        Sites to score, by the column site of the dataset's sites.csv; all by default. Of sites
        that the model was not trained on, all labelled cases are scored.
    organs
        Additional structures composed of several classes, such as whole=liver+lesion.
    lesions
        Classes whose connected components are scored individually, such as lesion.
    match_intensities
        Map the intensities of each image to those the model learnt from, as in segment.
    out
        Write all metrics per case and class to OUT.json and OUT.csv, and with lesions to
        OUT-lesions.csv.
    overwrite
        Replace existing files of scores.
    """
    from napari_graphflow.evaluation.scores import (
        finite_or_none,
        score_files,
        warning_lines,
        write_scores,
    )
    from napari_graphflow.inference.evaluate import evaluate_split

    if out is not None:
        folders = [one for one in (dataset, model, predictions) if one is not None]
        read = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
        files = score_files(out)
        require_writable(files)
        refuse_replacing(files, read)
        refuse_overwriting(files if lesions else files[:2], overwrite=overwrite)
    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=None)
        scores = evaluate_split(
            dataset,
            split,
            model=model,
            predictions=predictions,
            fold=fold,
            sites=sites,
            device=device,
            organs=_organs(organs),
            lesions=lesions,
            match_intensities=match_intensities,
            options=PredictionOptions(mirror=mirror, postprocess=postprocess),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if out is not None:
        write_or_keep(out, lambda path: write_scores(scores, path))
    if json:
        print_json(finite_or_none(scores))
        return
    columns = {
        "Dice": "dice_score",
        "VOE": "volume_overlap_error",
        "|RVD|": "absolute_volume_error",
        "HD95 mm": "hausdorff_distance_95",
        "ASSD mm": "average_surface_distance",
    }
    title = f"{dataset.resolve().name}, {split} cases"
    table = Table("class", *columns, "cases", "missed", box=None, title=title)
    for name, metrics in scores["summary"].items():
        means = (f"{metrics[key]['mean']:.3f}" for key in columns.values())
        distance = metrics["hausdorff_distance_95"]
        table.add_row(name, *means, str(distance["n"]), str(distance["infinite"]))
    output.print(table)
    for site, found in scores.get("sites", {}).items():
        mean = found["summary"]["mean"]["dice_score"]["mean"]
        role = f" ({found['role']})" if found["role"] else ""
        output.print(f"{site}{role}: mean Dice {mean:.3f}, cases {found['cases']}")
    for line in warning_lines(scores):
        console.print(line, style="yellow", soft_wrap=True)
    for note in scores["notes"]:
        output.print(note, style="dim")
    for name, lesions_found in scores.get("lesions", {}).items():
        summary = lesions_found["summary"]
        output.print(
            f"{name}: {summary['detected']} of {summary['lesions']} lesions found, "
            f"{summary['false_positives']} false positives; mean over lesions: "
            f"Dice {summary['dice_score']:.3f}, VOE {summary['volume_overlap_error']:.3f}, "
            f"|RVD| {summary['absolute_volume_error']:.3f}"
        )


def _organs(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    organs = {}
    for pair in pairs:
        name, _, parts = pair.partition("=")
        if not name or not parts:
            raise UserError(
                f"'{pair}' is not a valid structure.",
                "Write NAME=CLASS+CLASS, such as whole=liver+lesion.",
            )
        organs[name.strip()] = [part.strip() for part in parts.split("+")]
    return organs
