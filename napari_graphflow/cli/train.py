"""``train`` and ``distill``: the commands that start a job."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, ValidationError, create_model

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.cross_validation import run_folds
from napari_graphflow.cli.options import Json
from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.method_info import MethodInfo
from napari_graphflow.config.methods import METHODS, MethodName
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.recommended import Task, recommended_for, warmup_for
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import first_problem, with_changes
from napari_graphflow.dataset.compatibility import tap_pairs_of
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import estimate as estimate_run
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.queue import start
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create
from napari_graphflow.runners import RunnerName
from napari_graphflow.runners import runner as get_runner
from napari_graphflow.system.destinations import copy_or_name, require_writable
from napari_graphflow.system.devices import devices

if TYPE_CHECKING:
    DistillOptions = DistillationConfig
else:

    def _group(name: str, info: MethodInfo) -> tuple[Any, Any]:
        """Return the options of a method without its name, which is not a separate option."""
        fixed = Annotated[Literal[name], Parameter(parse=False)]
        kind = create_model(info.options.__name__, __base__=info.options, name=(fixed, name))
        return kind | None, Field(None, description=f"Options of {info.title}.")

    #: A distillation on the command line: the name of a method, and a group of options per method.
    DistillOptions = create_model(
        "DistillOptions",
        __base__=DistillationConfig,
        role=(Annotated[Literal["student"], Parameter(parse=False)], "student"),
        self_training=(Annotated[Literal["none"], Parameter(parse=False)], "none"),
        method=(
            MethodName | None,
            Field(None, description="Distillation method. Default: graph_flow."),
        ),
        task=(
            Task | None,
            Field(
                None,
                description="Instead of a method: what is segmented, for the method and options "
                "that our benchmarks support on such images, with a warm-up. Options given with it "
                "replace theirs.",
            ),
        ),
        **{name: _group(name, info) for name, info in METHODS.items()},
    )


def distillation(options: DistillOptions) -> DistillationConfig:
    """Return the settings of a run from its command-line options.

    Raises
    ------
    UserError
        If options of another method are given, or the options are invalid.
    """
    values = dict(options)
    given = {name: values.pop(name) for name in METHODS}
    chosen, task = values.pop("method"), values.pop("task")
    if chosen is not None and task is not None:
        raise UserError(
            "--task chooses the method itself.",
            "Remove --task or --method, also from the file of --config.",
        )
    pairs = tap_pairs_of(_card_of(options.teacher), options.network) if task else 0
    best = recommended_for(task, pairs) if task else None
    chosen = chosen or (best.name if best else "graph_flow")
    for name, part in given.items():
        if part is not None and name != chosen:
            raise UserError(
                f"--{name.replace('_', '-')}.* are not options of the method {chosen}.",
                f"Remove them, or choose --method {name}{' instead of --task' if task else ''}.",
            )
    try:
        part = given[chosen]
        if best is None:
            method = METHODS[chosen].options(**dict(part or {}))
        else:
            method = with_changes(best, part.model_dump(exclude_unset=True) if part else {})
            if "warmup" not in options.model_fields_set:
                values["warmup"] = warmup_for(options.steps)
        return DistillationConfig(**values, method=method)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from None


def _card_of(teacher: Path) -> ModelCard:
    """Return the card of a teacher, or of the first one in a folder with one per fold."""
    first = teacher / "fold_0"
    return read_model_card(first if first.is_dir() else teacher)


ModelCopy = Annotated[
    Path | None,
    Parameter(help="Folder to copy the trained model to; it also remains in the job's folder."),
]

Detach = Annotated[
    bool,
    Parameter(
        negative="",
        help="Start the job, print its folder and return at once; not with ``--out``.",
    ),
]

Estimate = Annotated[
    bool,
    Parameter(
        negative="",
        help="Do not start the job; measure a few steps and print the estimated time and memory, "
        "and the largest setting that fits if this one does not.",
    ),
]

Runner = Annotated[
    RunnerName,
    Parameter(
        help="``local``; ``ray`` or ``slurm`` for a cluster with access to the data and job "
        "folders; ``ray-packed`` uploads data, teacher and job to a cluster without access, and "
        "downloads the results."
    ),
]

Gpus = Annotated[
    int,
    Parameter(
        help="Number of GPUs of this computer that share each batch; the batch size must be a "
        "multiple of it. The job starts at once, without waiting in the queue."
    ),
]

Workers = Annotated[int, Parameter(help="Number of Ray worker processes that share each batch.")]


def train(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    out: ModelCopy = None,
    detach: Detach = False,
    estimate: Estimate = False,
    runner: Runner = "local",
    workers: Workers = 1,
    gpus: Gpus = 1,
    folds: int = 0,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        Settings of the training.
    folds
        Cross-validation: train once for each of so many folds of the dataset's splits_final.json,
        which ``datasets folds`` draws. 0 trains once. OUT then holds the models fold_0, fold_1,
        ... and their ensemble.
    """
    engine = _engine(runner, workers, gpus, config)
    if folds:
        _check_folds(out, detach=detach, estimate=estimate)
        return run_folds("train", config, folds, engine, out, copy_model, json=json)
    return _run_job("train", config, out, detach, json, engine, only_estimate=estimate)


def distill(
    config: Annotated[DistillOptions, Parameter(name="*")],
    *,
    out: ModelCopy = None,
    detach: Detach = False,
    estimate: Estimate = False,
    runner: Runner = "local",
    workers: Workers = 1,
    gpus: Gpus = 1,
    folds: int = 0,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Distil a teacher into a student, on labelled and unlabelled cases.

    Parameters
    ----------
    config
        Settings of the distillation.
    folds
        Cross-validation as of train. If the folder of --teacher holds fold_0, fold_1, ..., as
        train --folds writes them, each fold learns from its own.
    """
    run = distillation(config)
    engine = _engine(runner, workers, gpus, run)
    if folds:
        _check_folds(out, detach=detach, estimate=estimate)
        return run_folds("distill", run, folds, engine, out, copy_model, json=json)
    return _run_job("distill", run, out, detach, json, engine, only_estimate=estimate)


def _check_folds(out: Path | None, *, detach: bool, estimate: bool) -> None:
    if detach or estimate:
        raise UserError(
            "--folds waits for each training, so that --detach and --estimate cannot be used.",
            "Leave one of them out.",
        )
    if out is not None and out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the models.")


def _engine(
    runner: RunnerName, workers: int, gpus: int, config: TrainingConfig
) -> Callable[[], Callable[[Job], object]]:
    """Return a function that connects to the engine of a job, and returns what submits to it."""
    if gpus == 1:
        return lambda: get_runner(runner, workers).submit
    if runner != "local" or gpus < 1 or config.batch_size % gpus:
        raise UserError(
            f"A job with batch size {config.batch_size} and the runner {runner} cannot share its "
            f"batches among {gpus} GPUs.",
            "Choose the runner local and a batch size that is a multiple of --gpus.",
        )
    found = [one for one in devices() if one.name.startswith("cuda")]
    if len(found) < gpus:
        raise UserError(f"This computer has {len(found)} NVIDIA GPUs.", "Choose fewer with --gpus.")
    return lambda: lambda job: start(job, shared_command(job, gpus), device="cuda")


def shared_command(job: Job, processes: int) -> list[str]:
    """Return the command that runs a job in several processes of this computer."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={processes}", "-m", "napari_graphflow", "jobs", "run"]
    return [*launcher, str(job.folder)]


def _copies(config: TrainingConfig, out: Path | None) -> list[Path]:
    """Return where the models are copied to: that of the student, and of the student alone.

    Raises
    ------
    UserError
        If one of these folders exists or cannot be written.
    """
    if out is None:
        return []
    both = isinstance(config, DistillationConfig) and config.also_alone
    copies = [out, *[out.with_name(f"{out.name}-alone")] * both]
    require_writable(copies)
    for place in copies:
        if place.exists():
            raise UserError(f"{place} already exists.", "Choose another folder for the model.")
    return copies


def _run_job(
    kind: RunKind,
    config: TrainingConfig,
    out: Path | None,
    detach: bool,
    json: bool,
    engine: Callable[[], Callable[[Job], object]],
    *,
    only_estimate: bool,
) -> int:
    copies = _copies(config, out)
    if out is not None and detach:
        raise UserError(
            "--detach returns before there is a model to copy to --out.",
            "Remove one of the two; the model is also saved in the job's folder.",
        )
    check_run(config)  # before a job is created
    if only_estimate:
        found = estimate_run(kind, config, console.print)
        print_json({**asdict(found), "text": str(found)}) if json else output.print(str(found))
        return 0
    submit = engine()
    job = create(kind, config)
    submit(job)
    if detach:
        print_json({"folder": job.folder}) if json else output.print(str(job.folder))
        return 0
    code = follow(job)
    model, done = job.model, job.status().state == "done"
    if out is not None and done:
        sources = (model, JobPaths(job.alone).model)
        model, *_ = (copy_model(*pair) for pair in zip(sources, copies, strict=False))
    elif out is not None and code == 0:
        text = f"When the job is done, copy its model from {model} to {out}."
        console.print(text, soft_wrap=True)
    if json:
        print_json(
            {"folder": job.folder, "model": model if done else None, **job.status().as_dict()}
        )
    elif done:
        output.print(f"model: {model}")
    return code


def copy_model(model: Path, out: Path) -> Path:
    """Copy a trained model to another folder, and return its absolute path."""
    copy_or_name(model, out, "The model")
    return out.resolve()
