"""The command line: everything that a window does, on a machine without a screen.

Exit codes: 0 done, 1 the run failed, 2 a mistake in what was asked for, 130 interrupted.
"""

import json as json_module
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from napari_graphflow import __version__
from napari_graphflow.config import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError

#: Messages and progress go to the error stream, so that ``--json`` can be piped.
console = Console(stderr=True, highlight=False)
output = Console(highlight=False)

app = App(
    name="napari-graphflow",
    help="Segment volumes with a teacher or a student network, and distil one into the other.",
    version=__version__,
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
)
datasets = App(name="datasets", help="Bring images and masks into a dataset, and check it.")
models = App(name="models", help="Saved models.")
jobs = App(name="jobs", help="Trainings and distillations, running and past.")
for group in (datasets, models, jobs):
    app.command(group)

Json = Annotated[bool, Parameter(name="--json", negative="")]
POLL_SECONDS = 0.3


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        result = app(arguments, console=output, error_console=console, result_action="return_value")
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {
            "torch", "monai", "lightning_fabric", "safetensors",
        }:  # fmt: skip
            raise
        _fail(f"{error.name} is not installed. Run: pip install 'napari-graphflow[train]'")
    except KeyboardInterrupt:
        console.print("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)


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
        Folder of volumes (NIfTI, NRRD, MetaImage) or pictures (PNG, JPEG, TIFF).
    masks
        Folder of masks with the same names; an image without one is unlabelled.
    out
        Folder of the new dataset, which must not exist yet.
    splits
        JSON file with the lists train, val and test; FILE#KEY takes one of several in the file.
    name
        Name of the dataset; that of its folder where empty.
    classes
        Names of the label values, such as liver=1 lesion=2.
    json
        Print the result as JSON.
    """
    from napari_graphflow.dataset import import_dataset

    with _progress() as bar:
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
def check(folder: Path, *, json: Json = False) -> int:
    """Check counts, shapes, geometry and label values of a dataset; exit code 1 on errors.

    Parameters
    ----------
    folder
        Folder of the dataset.
    json
        Print the findings as JSON.
    """
    from dataclasses import asdict

    from napari_graphflow.dataset import Dataset
    from napari_graphflow.dataset import check as check_dataset

    dataset = Dataset.open(folder)
    findings = check_dataset(dataset)
    if json:
        _print_json({**_counts(dataset), "findings": [asdict(finding) for finding in findings]})
    else:
        _print_dataset(dataset, False)
        for finding in findings:
            colour = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
            case = f"{finding.case}: " if finding.case else ""
            output.print(
                f"[{colour}]{finding.severity}[/] {case}{finding.text} {finding.remedy}".rstrip()
            )
    return int(any(finding.severity == "error" for finding in findings))


@app.command
def networks(*, json: Json = False) -> None:
    """List the networks that can be trained.

    Parameters
    ----------
    json
        Print them as JSON.
    """
    from napari_graphflow.networks import NETWORKS

    if json:
        _print_json({name: info._asdict() for name, info in NETWORKS.items()})
        return
    table = Table("name", "usual role", "what", box=None)
    for name, info in NETWORKS.items():
        table.add_row(name, info.role, info.text)
    output.print(table)


@app.command
def train(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    out: Path | None = None,
    detach: Annotated[bool, Parameter(negative="")] = False,
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
        Start the job, print its folder and return at once.
    json
        Print the result as JSON.
    """
    return _run_job("train", config, out, detach, json)


@app.command
def distill(
    config: Annotated[DistillationConfig, Parameter(name="*")],
    *,
    out: Path | None = None,
    detach: Annotated[bool, Parameter(negative="")] = False,
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
        Start the job, print its folder and return at once.
    json
        Print the result as JSON.
    """
    return _run_job("distill", config, out, detach, json)


@app.command
def segment(
    inputs: tuple[Path, ...],
    /,
    *,
    model: Path,
    out: Path,
    device: str = "auto",
    probabilities: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
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
        A file for one image, a folder for several.
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

    with _progress() as bar:
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
        _print_json(written)
        return
    for row in written:
        output.print(f"{row['mask']}  {row['seconds']:.1f} s on {row['device']}")


@app.command
def evaluate(
    dataset: Path,
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    split: str = "test",
    device: str = "auto",
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
    out
        Writes OUT.json and OUT.csv: every metric of every case and class.
    json
        Print all scores as JSON.
    """
    from napari_graphflow.evaluation import evaluate_split, write_scores
    from napari_graphflow.metrics import finite_or_none

    with _progress() as bar:
        task = bar.add_task("evaluating", total=None)
        scores = evaluate_split(
            dataset,
            split,
            model=model,
            predictions=predictions,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if out is not None:
        write_scores(scores, out)
    if json:
        _print_json(finite_or_none(scores))
        return
    columns = {
        "Dice": "dice_score",
        "HD95 mm": "hausdorff_distance_95",
        "ASSD mm": "average_surface_distance",
    }
    table = Table("class", *columns, "cases", "missed", box=None)
    for name, metrics in scores["summary"].items():
        means = (f"{metrics[key]['mean']:.3f}" for key in columns.values())
        distance = metrics["hausdorff_distance_95"]
        table.add_row(name, *means, str(distance["n"]), str(distance["infinite"]))
    output.print(table)


@jobs.command(name="list")
def list_(*, root: Path | None = None, json: Json = False) -> None:
    """List jobs, newest first.

    Parameters
    ----------
    root
        Folder of jobs; the user's own where left out.
    json
        Print them as JSON.
    """
    from napari_graphflow.jobs import list_jobs

    found = [(job, job.status()) for job in list_jobs(root)]
    if json:
        _print_json([{"folder": job.folder, "title": job.title, **s.as_dict()} for job, s in found])
        return
    table = Table("job", "state", "step", "best Dice", "what", box=None)
    for job, status in found:
        best = "" if status.best is None else f"{status.best:.3f}"
        steps = f"{status.step or 0}/{status.total or '?'}"
        table.add_row(job.folder.name, status.state, steps, best, job.title)
    output.print(table)


@jobs.command
def show(job: str, *, follow: bool = False, json: Json = False) -> int:
    """Show the state of a job, its settings and its newest scores.

    Parameters
    ----------
    job
        Folder of the job, or its name in the user's folder of jobs.
    follow
        Stay until it ends.
    json
        Print as JSON.
    """
    from napari_graphflow.jobs import find_job

    found = find_job(job)
    if follow:
        return _follow(found)
    status = found.status()
    if json:
        _print_json({"folder": found.folder, **status.as_dict(), "config": found.config})
        return 0
    output.print(f"{found.title}: {status.state}. {status.text or ''}")
    for event in found.events(0)[0]:
        if event["event"] == "metric" and event["split"] == "val":
            output.print(f"  step {event['step']:>6}  {event['name']} {event['value']:.4f}")
    return 0


@jobs.command
def cancel(job: str) -> None:
    """Cancel a job; its last checkpoint stays.

    Parameters
    ----------
    job
        Folder of the job, or its name in the user's folder of jobs.
    """
    from napari_graphflow.jobs import find_job

    found = find_job(job)
    found.cancel()
    output.print(f"{found.title}: {found.status().state}.")


@jobs.command(show=False)
def run(folder: Path) -> int:
    """Run a job in this process; used by the jobs themselves."""
    from napari_graphflow import job_runner

    return job_runner.main(folder)


@app.command(show=False)
def worker() -> int:
    """Serve segmentations on standard input and output; used by the windows."""
    from napari_graphflow import server

    return server.main()


def _run_job(kind: str, config: TrainingConfig, out: Path | None, detach: bool, json: bool) -> int:
    import shutil

    from napari_graphflow.jobs import create

    if out is not None and out.exists():
        raise UserError(f"{out} exists already.", "Choose another folder for the model.")
    job = create(kind, config)
    job.start()
    if detach:
        _print_json({"folder": job.folder}) if json else output.print(str(job.folder))
        return 0
    code = _follow(job)
    model = job.folder / "artifacts" / "model"
    if code == 0 and out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        model = Path(shutil.copytree(model, out))
    if json:
        _print_json({"folder": job.folder, "model": model, **job.status().as_dict()})
    elif code == 0:
        output.print(f"model: {model}")
    return code


def _follow(job: Any) -> int:
    """Show a job's progress until it ends; interrupting asks it to stop."""
    offset, total = 0, None
    with _progress() as bar:
        task = bar.add_task("starting", total=None)
        try:
            while True:
                status = job.status()
                events, offset = job.events(offset)
                for event in events:
                    if event["event"] == "phase":
                        bar.reset(task, description=event["name"], total=None)
                    elif event["event"] == "progress":
                        total = event["total"]
                        bar.update(task, completed=event["step"], total=total)
                    elif event["event"] == "metric" and event["name"] == "dice":
                        bar.console.print(f"step {event['step']}: Dice {event['value']:.4f}")
                    elif event["event"] == "warning":
                        bar.console.print(f"[yellow]{event['text']}[/]")
                if status.ended:
                    break
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            job.cancel()
            raise
    if status.state == "done":
        return 0
    console.print(f"[red]The job is {status.state}.[/] {status.text or ''}")
    return status.exit_code or 1


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


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
        _print_json(counts)
        return
    output.print(f"{dataset.name}: {', '.join(dataset.classes)}")
    for split, numbers in counts["cases"].items():
        output.print(
            f"  {split}: {numbers['labelled']} labelled, {numbers['unlabelled']} unlabelled"
        )


def _print_json(value: Any) -> None:
    print(json_module.dumps(value, indent=1, default=str))


def _fail(text: str) -> NoReturn:
    console.print(f"[red]error:[/] {text}", soft_wrap=True)
    sys.exit(2)
