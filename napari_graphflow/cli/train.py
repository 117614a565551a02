"""``train``, ``distill``, ``segment``, ``evaluate``: the commands that compute."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field, ValidationError, create_model

from napari_graphflow.cli.options import Json
from napari_graphflow.cli.terminal import console, follow, output, print_json
from napari_graphflow.config.methods import METHODS, MethodInfo, MethodName
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import first_problem
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import estimate as estimate_run
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.jobs.store import create
from napari_graphflow.runners import RunnerName
from napari_graphflow.runners import runner as get_runner

if TYPE_CHECKING:
    DistillOptions = DistillationConfig
else:

    def _group(name: str, info: MethodInfo) -> tuple[Any, Any]:
        """The options of a method but for its name, which would be one of them."""
        fixed = Annotated[Literal[name], Parameter(parse=False)]
        kind = create_model(info.options.__name__, __base__=info.options, name=(fixed, name))
        return kind | None, Field(None, description=f"Options of {info.title}.")

    #: A distillation as its options are written: a method's name, and a group of options for each.
    DistillOptions = create_model(
        "DistillOptions",
        __base__=DistillationConfig,
        method=(MethodName, Field("graph_flow", description="Distillation method.")),
        **{name: _group(name, info) for name, info in METHODS.items()},
    )


def distillation(options: DistillOptions) -> DistillationConfig:
    """The run that some options ask for.

    Raises
    ------
    UserError
        If there are options of a method that was not chosen, or they do not fit the run.
    """
    values = dict(options)
    given = {name: values.pop(name) for name in METHODS}
    chosen = values.pop("method")
    for name, part in given.items():
        if part is not None and name != chosen:
            raise UserError(
                f"--{name.replace('_', '-')}.* are options of another method than {chosen}.",
                f"Leave them out, or choose --method {name}.",
            )
    try:
        return DistillationConfig(
            **values, method=METHODS[chosen].options(**dict(given[chosen] or {}))
        )
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from None


ModelCopy = Annotated[
    Path | None,
    Parameter(
        help="Where the model is copied to at the end; it stays in the job's folder as well."
    ),
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
        help="Start nothing: measure a few steps and print the time and the memory that the run "
        "takes, and the largest setting that fits if this one does not.",
    ),
]

Runner = Annotated[
    RunnerName,
    Parameter(
        help="``local``, or ``ray`` or ``slurm`` for a cluster that sees the same folders; "
        "``ray-packed`` sends data, teacher and job to one that does not, and fetches what comes "
        "out."
    ),
]

Workers = Annotated[int, Parameter(help="Processes of a Ray cluster that share each batch.")]


def train(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    out: ModelCopy = None,
    detach: Detach = False,
    estimate: Estimate = False,
    runner: Runner = "local",
    workers: Workers = 1,
    json: Json = False,
) -> int:
    """Train a network on the labelled cases of a dataset.

    Parameters
    ----------
    config
        What to train.
    """
    return _run_job("train", config, out, detach, json, runner, workers, only_estimate=estimate)


def distill(
    config: Annotated[DistillOptions, Parameter(name="*")],
    *,
    out: ModelCopy = None,
    detach: Detach = False,
    estimate: Estimate = False,
    runner: Runner = "local",
    workers: Workers = 1,
    json: Json = False,
) -> int:
    """Train a student from a teacher, on labelled and unlabelled cases.

    Parameters
    ----------
    config
        What to distil.
    """
    run = distillation(config)
    return _run_job("distill", run, out, detach, json, runner, workers, only_estimate=estimate)


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
            "Leave one of them out: the job's folder holds the model, too.",
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
    model, done = job.model, job.status().state == "done"
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
