"""Train and distil from Python, by the same jobs as the command line and the window."""

from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_graphflow.api.apply import load_model
from napari_graphflow.cli.terminal import follow
from napari_graphflow.cli.train import copy_model
from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.recommended import (
    RECOMMENDED,
    Task,
    recommended_for,
    warmup_for,
)
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, first_problem
from napari_graphflow.dataset.compatibility import tap_pairs_of
from napari_graphflow.errors import UserError
from napari_graphflow.inference.predict import LoadedModel
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.queue import submit
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import create

Pathlike = str | PathLike[str]


def train(
    dataset: Pathlike, *, out: Pathlike | None = None, quiet: bool = False, **settings: Any
) -> LoadedModel:
    """Train a network on the labelled cases of a dataset, and wait until it is done.

    The training is a job in a process of its own: `napari-graphflow jobs list` and the window show
    it, and an interrupt cancels it.

    Parameters
    ----------
    dataset
        Folder of a dataset in the nnU-Net v2 raw layout.
    out
        Folder to which the model is copied; it also remains in the job's folder.
    quiet
        Whether to show no progress.
    settings
        Those of :class:`napari_graphflow.config.run.TrainingConfig`, such as ``network="unet"``,
        ``steps=1000``, ``dims=2``.

    Returns
    -------
    LoadedModel
        The trained model; its ``folder`` is where it is saved.

    Raises
    ------
    UserError
        If a setting is not valid, dataset and settings are incompatible, or the job fails; says
        why.
    """
    return _run("train", _checked(TrainingConfig, dataset=Path(dataset), **settings), out, quiet)


def distill(
    dataset: Pathlike,
    teacher: LoadedModel | Pathlike,
    *,
    method: str | dict[str, Any] | Frozen | None = None,
    task: Task | None = None,
    out: Pathlike | None = None,
    quiet: bool = False,
    **settings: Any,
) -> LoadedModel:
    """Distil a teacher into a student, on labelled and unlabelled cases.

    Parameters
    ----------
    dataset
        Folder of a dataset in the nnU-Net v2 raw layout.
    teacher
        A loaded model, or the folder of one.
    method
        Name of the method, or its options: ``{"name": "emkd", "power": 2}``. Default: Graph Flow.
    task
        Instead of a method: what is segmented, ``organs``, ``vessels`` or ``lesions``, for the
        method and options that the benchmarks support on such images, with a warm-up.
    out, quiet
        As of :func:`train`.
    settings
        Those of :class:`napari_graphflow.config.run.DistillationConfig`, such as
        ``network="enet"``. `dims` is by default that of the teacher.

    Returns
    -------
    LoadedModel
        The student.

    Raises
    ------
    UserError
        If a setting is not valid, teacher, dataset and settings are incompatible, or the job
        fails; says why.
    """
    folder = teacher.folder if isinstance(teacher, LoadedModel) else Path(teacher)
    card = read_model_card(folder)
    if task is not None:
        if method is not None:
            raise UserError("A task chooses the method itself.", "Leave out task or method.")
        method = _recommended(task, card, settings.get("network"))
    elif method is None:
        method = "graph_flow"
    options = {"name": method} if isinstance(method, str) else method
    name = options.get("name") if isinstance(options, dict) else None
    if name is not None and name not in METHODS:
        raise UserError(f"{name!r} is not a method.", f"Choose {', '.join(METHODS)}.")
    config = _checked(
        DistillationConfig,
        dataset=Path(dataset),
        teacher=folder,
        method=options,
        **{"dims": card.dims, **settings},
    )
    if task is not None and "warmup" not in settings:
        config = config.model_copy(update={"warmup": warmup_for(config.steps)})
    return _run("distill", config, out, quiet)


def _recommended(task: Task, card: ModelCard, network: str | None) -> Frozen:
    """Return the options of the method for a task; no network is the usual one."""
    if task not in RECOMMENDED:
        raise UserError(f"{task!r} is not a task.", f"Choose {', '.join(RECOMMENDED)}.")
    usual: str = DistillationConfig.model_fields["network"].default
    return recommended_for(task, tap_pairs_of(card, network or usual))


def _checked(kind: type[TrainingConfig], **settings: Any) -> TrainingConfig:
    try:
        return kind(**settings)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from None


def _run(kind: RunKind, config: TrainingConfig, out: Pathlike | None, quiet: bool) -> LoadedModel:
    if out is not None and Path(out).exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    check_run(config)
    job = create(kind, config)
    submit(job)
    try:
        job.wait() if quiet else follow(job)
    except KeyboardInterrupt:
        if job.status().active:
            job.cancel()
        raise
    status = job.status()
    if status.state != "done":
        if status.failure is not None:
            raise status.failure.as_error()
        raise UserError(
            f"The job {job.name} is {status.state}.",
            f"Continue it with: napari-graphflow jobs resume {job.name}",
        )
    return load_model(job.model if out is None else copy_model(job.model, Path(out)), config.device)
