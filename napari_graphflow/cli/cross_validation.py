"""``--folds`` of train and distill: the same run for each fold of a dataset."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from napari_graphflow.cli.ensembles import write_ensemble
from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.splits import has_splits
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create


def run_folds(
    kind: RunKind,
    config: TrainingConfig,
    folds: int,
    engine: Callable[[], Callable[[Job], object]],
    out: Path | None,
    copy: Callable[[Path, Path], Path],
    *,
    json: bool,
) -> int:
    """Run once for each fold and print the best validation Dice of each, and their mean.

    Parameters
    ----------
    kind, config
        The run; its `fold` is not used. Of a teacher folder that holds ``fold_0``, ``fold_1``, ...
        each fold has its own teacher, which has not learnt from its validation cases.
    folds
        Number of folds, which the dataset must have.
    engine
        Connects to the engine of the jobs and returns what submits to it.
    out
        Folder to which the models are copied as ``fold_0``, ..., and their ensemble as
        ``ensemble``; None copies none.
    copy
        Copies a model.

    Returns
    -------
    exit_code
        0, or that of the first job that did not finish; the others are then not started.
    """
    name = config.name or config.network
    runs = [_of_fold(config, fold, name) for fold in range(folds)]
    try:
        for run in runs:
            check_run(run)
    except UserError as error:
        if has_splits(config.dataset):
            raise
        remedy = f"Draw folds with: napari-graphflow datasets folds {config.dataset}"
        raise UserError(error.text, remedy) from None
    submit = engine()
    copies: list[Path] = []
    rows: list[tuple[int, Job, float | None]] = []
    for run in runs:
        console.print(f"Fold {run.fold} of {folds}")
        job = create(kind, run)
        submit(job)
        code = follow(job)
        status = job.status()
        if status.state != "done":
            return code
        rows.append((run.fold, job, status.run.best))
        if out is not None:
            copies.append(copy(job.model, out / f"fold_{run.fold}"))
            if (alone := JobPaths(job.alone).model).is_dir():
                copy(alone, out / f"fold_{run.fold}-alone")
    joined = _ensemble(copies, out)
    _print(rows, joined, json=json)
    return 0


def _of_fold(config: TrainingConfig, fold: int, name: str) -> TrainingConfig:
    updates: dict[str, Any] = {"fold": fold, "name": f"{name} fold {fold}"}
    if isinstance(config, DistillationConfig):
        own = config.teacher / f"fold_{fold}"
        updates["teacher"] = own if own.is_dir() else config.teacher
    return config.model_copy(update=updates)


def _ensemble(models: list[Path], out: Path | None) -> Path | None:
    """Write the ensemble of all folds; None if there is one model, or they cannot be joined."""
    if out is None or len(models) < 2:
        return None
    folder = out / "ensemble"
    try:
        write_ensemble(models, folder)
    except UserError as error:
        console.print(f"There is no ensemble. {error}", style="yellow", soft_wrap=True)
        return None
    return folder.resolve()


def _print(rows: list[tuple[int, Job, float | None]], joined: Path | None, *, json: bool) -> None:
    scores = [best for _, _, best in rows if best is not None]
    if json:
        found = [{"fold": fold, "folder": job.folder, "dice": best} for fold, job, best in rows]
        print_json({"folds": found, "mean": mean(scores) if scores else None, "ensemble": joined})
        return
    table = Table("fold", "best validation Dice", "model", box=None)
    for fold, job, best in rows:
        table.add_row(str(fold), "" if best is None else f"{best:.4f}", str(job.model))
    output.print(table)
    if len(scores) > 1:
        output.print(f"mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}")
    if joined is not None:
        output.print(f"ensemble: {joined}", soft_wrap=True)
