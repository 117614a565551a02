"""``train --folds``: the same training for each fold of a dataset, one after the other."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table

from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.splits import has_splits
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create


def train_folds(
    config: TrainingConfig,
    folds: int,
    engine: Callable[[], Callable[[Job], object]],
    out: Path | None,
    copy: Callable[[Path, Path], Path],
    *,
    json: bool,
) -> int:
    """Train once for each fold and print the best validation Dice of each, and their mean.

    Parameters
    ----------
    config
        Settings of the training; its `fold` is not used.
    folds
        Number of folds, which the dataset must have.
    engine
        Connects to the engine of the jobs and returns what submits to it.
    out
        Folder to which the models are copied as ``fold_0``, ...; None copies none.
    copy
        Copies a model.

    Returns
    -------
    exit_code
        0, or that of the first job that did not finish; the others are then not started.
    """
    name = config.name or config.network
    runs = [
        config.model_copy(update={"fold": fold, "name": f"{name} fold {fold}"})
        for fold in range(folds)
    ]
    try:
        for run in runs:
            check_run(run)
    except UserError as error:
        if has_splits(config.dataset):
            raise
        remedy = f"Draw folds with: napari-graphflow datasets folds {config.dataset}"
        raise UserError(error.text, remedy) from None
    submit = engine()
    rows: list[tuple[int, Job, float | None]] = []
    for run in runs:
        console.print(f"Fold {run.fold} of {folds}")
        job = create("train", run)
        submit(job)
        code = follow(job)
        status = job.status()
        if status.state != "done":
            return code
        rows.append((run.fold, job, status.run.best))
        if out is not None:
            copy(job.model, out / f"fold_{run.fold}")
    scores = [best for _, _, best in rows if best is not None]
    if json:
        found = [{"fold": fold, "folder": job.folder, "dice": best} for fold, job, best in rows]
        print_json({"folds": found, "mean": mean(scores) if scores else None})
        return 0
    table = Table("fold", "best validation Dice", "model", box=None)
    for fold, job, best in rows:
        table.add_row(str(fold), "" if best is None else f"{best:.4f}", str(job.model))
    output.print(table)
    if len(scores) > 1:
        output.print(f"mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}")
    return 0
