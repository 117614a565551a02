"""``train``, ``distill``, ``segment``, ``evaluate``: the commands that compute."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from napari_graphflow.cli.terminal import (
    Flag,
    Json,
    console,
    follow,
    output,
    print_json,
    progress_bar,
)
from napari_graphflow.config import DistillationConfig, TrainingConfig, read_model_card
from napari_graphflow.dataset import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.estimate import estimate as estimate_run
from napari_graphflow.jobs import Kind, create
from napari_graphflow.runners import RunnerName
from napari_graphflow.runners import runner as get_runner


def train(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    out: Path | None = None,
    detach: Flag = False,
    estimate: Flag = False,
    runner: RunnerName = "local",
    workers: int = 1,
    json: Json = False,
) -> int:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        What to train.
    out
        Where the model is copied to at the end; it stays in the job's folder as well.
    detach
        Start the job, print its folder and return at once; not with ``--out``.
    estimate
        Start nothing: measure a few steps and print the time and the memory that the run takes,
        and the largest setting that fits if this one does not.
    runner
        ``local``, or ``ray`` or ``slurm`` for a cluster that sees the same folders; ``ray-packed``
        sends data, teacher and job to one that does not, and fetches what comes out.
    workers
        Processes of a Ray cluster that share each batch.
    json
        Print the result as JSON.
    """
    return _run_job("train", config, out, detach, json, runner, workers, only_estimate=estimate)


def distill(
    config: Annotated[DistillationConfig, Parameter(name="*")],
    *,
    out: Path | None = None,
    detach: Flag = False,
    estimate: Flag = False,
    runner: RunnerName = "local",
    workers: int = 1,
    json: Json = False,
) -> int:
    """Train a student from a teacher, on labelled and unlabelled cases.

    Parameters
    ----------
    config
        What to distil.
    out
        Where the student is copied to at the end; it stays in the job's folder as well.
    detach
        Start the job, print its folder and return at once; not with ``--out``.
    estimate
        Start nothing: measure a few steps and print the time and the memory that the run takes,
        and the largest setting that fits if this one does not.
    runner
        ``local``, or ``ray`` or ``slurm`` for a cluster that sees the same folders; ``ray-packed``
        sends data, teacher and job to one that does not, and fetches what comes out.
    workers
        Processes of a Ray cluster that share each batch.
    json
        Print the result as JSON.
    """
    return _run_job("distill", config, out, detach, json, runner, workers, only_estimate=estimate)


def segment(
    inputs: tuple[Path, ...],
    /,
    *,
    model: Path,
    out: Path,
    device: str = "auto",
    probabilities: Flag = False,
    overwrite: Flag = False,
    json: Json = False,
) -> None:
    """Segment files, folders of files or DICOM folders; masks keep the image's geometry.

    Parameters
    ----------
    inputs
        Images, or folders of them.
    model
        Folder of a saved model.
    out
        A file for one image, a folder for several. A DICOM series may get a DICOM segmentation
        (.dcm).
    device
        auto, cpu, cuda or mps.
    probabilities
        Write the class probabilities beside each mask.
    overwrite
        Replace masks that are there already.
    json
        Print what was written as JSON.
    """
    from napari_graphflow.segmentation import segment_files

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
            overwrite=overwrite,
            progress=progress,
        )
    if json:
        print_json(written)
        return
    for row in written:
        output.print(f"{row['mask']}  {row['seconds']:.1f} s on {row['device']}")


def evaluate(
    dataset: Path,
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    split: str = "test",
    device: str = "auto",
    organs: tuple[str, ...] = (),
    lesions: tuple[str, ...] = (),
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Score a model, or a folder of masks, on the labelled cases of a split.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    model
        Folder of a saved model.
    predictions
        Folder of masks named after the cases, instead of a model.
    split
        train, val or test.
    device
        auto, cpu, cuda or mps.
    organs
        Structures made of several classes that are scored besides, such as whole=liver+lesion.
    lesions
        Classes whose connected components are scored one by one, such as lesion.
    out
        Writes OUT.json and OUT.csv: every metric of every case and class, and with lesions
        OUT-lesions.csv.
    json
        Print all scores as JSON.
    """
    from napari_graphflow.evaluation import evaluate_split, finite_or_none, write_scores

    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=None)
        scores = evaluate_split(
            dataset,
            split,
            model=model,
            predictions=predictions,
            device=device,
            organs=_organs(organs),
            lesions=lesions,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if out is not None:
        write_scores(scores, out)
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
    table = Table("class", *columns, "cases", "missed", box=None)
    for name, metrics in scores["summary"].items():
        means = (f"{metrics[key]['mean']:.3f}" for key in columns.values())
        distance = metrics["hausdorff_distance_95"]
        table.add_row(name, *means, str(distance["n"]), str(distance["infinite"]))
    output.print(table)
    for name, lesions_found in scores.get("lesions", {}).items():
        summary = lesions_found["summary"]
        output.print(
            f"{name}: {summary['detected']} of {summary['lesions']} lesions found, "
            f"{summary['false_positives']} found that are none; mean over lesions: "
            f"Dice {summary['dice_score']:.3f}, VOE {summary['volume_overlap_error']:.3f}, "
            f"|RVD| {summary['absolute_volume_error']:.3f}"
        )


def _organs(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    organs = {}
    for pair in pairs:
        name, _, parts = pair.partition("=")
        if not name or not parts:
            raise UserError(
                f"{pair} is no organ.",
                "Write organs as NAME=CLASS+CLASS, such as whole=liver+lesion.",
            )
        organs[name.strip()] = [part.strip() for part in parts.split("+")]
    return organs


def _run_job(
    kind: Kind,
    config: TrainingConfig,
    out: Path | None,
    detach: bool,
    json: bool,
    runner: RunnerName,
    workers: int,
    *,
    only_estimate: bool,
) -> int:
    if out is not None and out.exists():
        raise UserError(f"{out} exists already.", "Choose another folder for the model.")
    if out is not None and detach:
        raise UserError(
            "--detach returns before there is a model to copy to --out.",
            "Leave one of them out: the model is in the job's folder too, under artifacts/model.",
        )
    # A mistake in a path is said before there is a job that could fail.
    Dataset.open(config.dataset)
    if isinstance(config, DistillationConfig):
        read_model_card(config.teacher)
    if only_estimate:
        found = estimate_run(kind, config, console.print)
        print_json({**asdict(found), "text": str(found)}) if json else output.print(str(found))
        return 0
    engine = get_runner(runner, workers)
    job = create(kind, config)
    engine.submit(job)
    if detach:
        print_json({"folder": job.folder}) if json else output.print(str(job.folder))
        return 0
    code = follow(job)
    model, done = job.artifacts / "model", job.status().state == "done"
    if out is not None and done:
        out.parent.mkdir(parents=True, exist_ok=True)
        model = Path(shutil.copytree(model, out))
    elif out is not None and code == 0:
        text = f"Once it is done, copy its model from {model} to {out}."
        console.print(text, soft_wrap=True)
    if json:
        print_json(
            {"folder": job.folder, "model": model if done else None, **job.status().as_dict()}
        )
    elif done:
        output.print(f"model: {model}")
    return code
