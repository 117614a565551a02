"""``jobs``: list, inspect and control trainings, distillations and other jobs."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import yaml
from cyclopts import App, Parameter
from rich.table import Table

from napari_graphflow.cli.options import Flag, JobName, Json
from napari_graphflow.cli.terminal import console, failure_as_json, output, print_json
from napari_graphflow.cli.terminal import follow as follow_job
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import move, start_next, submit, waiting
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import create, failed_jobs, find_job, list_jobs, unreadable_jobs
from napari_graphflow.jobs.trust import UntrustedError, require_trusted
from napari_graphflow.labelling.rounds import is_default
from napari_graphflow.runners import runner_of
from napari_graphflow.runners.foreign import accept_job, named_elsewhere
from napari_graphflow.runners.handover import own_log
from napari_graphflow.system.devices import devices as list_devices
from napari_graphflow.system.events import Metric
from napari_graphflow.system.folders import jobs_root
from napari_graphflow.system.words import duration

jobs = App(name="jobs", help="List, inspect and control trainings, distillations and other jobs.")


UNREADABLE = "The settings of this job cannot be read. Delete its folder if it is not needed."
_JOB_TO_REMOVE = "Folder of the job, or (part of) its name in the default jobs folder."


@jobs.command(name="list")
def list_(*, root: Path | None = None, json: Json = False) -> None:
    """List jobs, newest first.

    Parameters
    ----------
    root
        Folder of jobs; the user's default folder if omitted.
    """
    where = jobs_root() if root is None else root
    if where.is_dir():
        start_next(where)  # in case a killed job could not start the next one
    order = waiting(where)
    found = [(job, _current_status(job)) for job in list_jobs(root)]
    bad = unreadable_jobs(root)
    if json:
        rows = [{"folder": job.folder, "title": job.title, **s.as_dict()} for job, s in found]
        print_json([*rows, *({"folder": one, "problem": UNREADABLE} for one in bad)])
        return
    table = Table("job", "state", "step", "left", "device", "best Dice", "title", box=None)
    for job, status in found:
        best = "" if status.run.best is None else f"{status.run.best:.3f}"
        steps = f"{status.run.step or 0}/{status.run.total or '?'}"
        state = f"queued ({order.index(job) + 1} of {len(order)})" if job in order else status.state
        known = status.state == "running" and status.run.eta_s is not None
        left = duration(status.run.eta_s or 0, narrow=True) if known else ""
        table.add_row(job.folder.name, state, steps, left, status.process.device, best, job.title)
    output.print(table)
    for one in bad:
        console.print(f"{one.name}: {UNREADABLE}", style="yellow", soft_wrap=True)


@jobs.command
def show(job: JobName, *, follow: Flag = False, json: Json = False) -> int:
    """Show the state, settings and latest metrics of a job.

    Parameters
    ----------
    follow
        Show the progress until the job ends; Ctrl+C stops showing it, and the job goes on.
    """
    found = find_job(job)
    if follow:
        return follow_job(found, cancels=False)
    status = _current_status(found)
    if json:
        config = found.config.model_dump(mode="json")
        print_json({"folder": found.folder, **status.as_dict(), "config": config})
        return 0
    output.print(f"{found.title}: {status.state}. {status.notice or status.failure or ''}".rstrip())
    if status.run.failed_cases:
        output.print(f"  {counted(status.run.failed_cases, 'case')} failed; see its log.")
    if named := named_elsewhere(found):
        output.print(f"  Not created here: {'; '.join(named)}", soft_wrap=True, markup=False)
    if status.run.teacher is not None:
        output.print(f"  {status.run.teacher}", soft_wrap=True)
    for name, (step, value) in _latest_metrics(found).items():
        output.print(f"  {name:<24} {value:.4f}  at step {step}")
    output.print("Settings that differ from the defaults:")
    output.print(settings_as_yaml(found), soft_wrap=True, end="")
    return 0


def settings_as_yaml(job: Job) -> str:
    """Return the settings of a job that differ from the defaults, as ``--config`` takes them."""
    values = job.config.model_dump(mode="json", exclude_defaults=True)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@jobs.command
def rerun(job: JobName, *, detach: Flag = False) -> int:
    """Start a new job with the settings of another one; its files may have changed meanwhile.

    To change a setting, use ``train`` or ``distill`` with ``--config`` and the job's folder.

    Parameters
    ----------
    detach
        Start the job, print its folder and return at once.
    """
    found = find_job(job)
    require_trusted(found)  # the new job counts as one of this user
    if not isinstance(found.config, TrainingConfig):
        raise UserError(
            f"{found.title} is neither a training nor a distillation.",
            "Start it again where it was started.",
        )
    check_run(found.config)
    again = create(found.kind, found.config, found.folder.parent)
    submit(again)
    output.print(str(again.folder), soft_wrap=True)
    return 0 if detach else follow_job(again)


@jobs.command
def cancel(job: JobName) -> None:
    """Cancel a job; its last checkpoint is kept."""
    found = find_job(job)
    status = runner_of(found).cancel(found)
    doubt = f" {status.failure}" if status.failure else ""
    output.print(f"{found.title}: {status.state}.{doubt}", soft_wrap=True)


@jobs.command
def remove(
    job: Annotated[str, Parameter(help=_JOB_TO_REMOVE)] = "",
    *,
    all_failed: Flag = False,
    yes: Flag = False,
    root: Path | None = None,
) -> None:
    """Delete the folder of a job with its checkpoints and its model; never of an active one.

    Parameters
    ----------
    all_failed
        Delete all jobs that failed or were lost, instead of one.
    yes
        Delete without asking.
    root
        Folder of jobs for `all_failed`; the user's default folder if omitted.
    """
    if bool(job) == all_failed:
        raise UserError("Exactly one of JOB and --all-failed is needed.", "Name a job, or set it.")
    chosen = failed_jobs(root) if all_failed else [find_job(job)]
    if not chosen:
        output.print("There are no failed jobs.")
        return
    for one in chosen:
        state, model = one.status().state, " with its trained model" if one.model.is_dir() else ""
        default = ", the default of its dataset" if is_default(one) else ""
        output.print(f"{one.folder}  {state}{model}{default}", soft_wrap=True)
    if not yes:
        what = "this job" if len(chosen) == 1 else f"these {len(chosen)} jobs"
        _confirm(f"Delete {what}?", "Deleting jobs")
    for one in chosen:
        one.delete()
    output.print(f"Deleted {len(chosen)} job{'s' * (len(chosen) > 1)}.")


def _confirm(question: str, action: str) -> None:
    if not sys.stdin.isatty():
        raise UserError(f"{action} needs a confirmation.", "Repeat the command with --yes.")
    if console.input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("Nothing was changed.")


@jobs.command
def logs(job: JobName) -> None:
    """Print the log of a job and of the engine that runs it."""
    found = find_job(job)
    try:
        text = runner_of(found).logs(found)
    except UntrustedError as error:  # the log in the folder can be read all the same
        console.print(error, style="yellow")
        text = own_log(found)
    output.print(text)


@jobs.command
def pause(job: JobName) -> None:
    """Pause a job: write a checkpoint and end the process, which frees the GPU."""
    find_job(job).pause()


@jobs.command
def checkpoint(job: JobName) -> None:
    """Request a checkpoint now; the job continues."""
    find_job(job).checkpoint()


@jobs.command
def resume(job: JobName, *, detach: Flag = False) -> int:
    """Resume a paused, cancelled, failed or lost job from its last checkpoint.

    Parameters
    ----------
    detach
        Return at once, without showing the progress.
    """
    found = find_job(job)
    runner_of(found).submit(found)
    if detach:
        return 0
    code = follow_job(found)
    if found.status().state == "done":
        output.print(f"model: {found.model}")
    return code


@jobs.command
def trust(job: JobName, *, yes: Flag = False) -> None:
    """Accept a job that was created elsewhere: the files that it reads and the cluster it names.

    Parameters
    ----------
    yes
        Accept without asking.
    """
    found = find_job(job)
    named = named_elsewhere(found)
    for one in named:
        output.print(one, soft_wrap=True, markup=False, highlight=False)
    if named and not yes:
        _confirm("Does the job come from a person you trust?", "Accepting a job")
    accept_job(found)
    output.print(f"{found.title}: accepted." if named else f"{found.title} names nothing unknown.")


@jobs.command
def up(job: JobName, *, places: int = 1) -> None:
    """Move a queued job towards the front of the queue.

    Parameters
    ----------
    places
        Number of places to move.
    """
    _move(job, -places)


@jobs.command
def down(job: JobName, *, places: int = 1) -> None:
    """Move a queued job towards the end of the queue.

    Parameters
    ----------
    places
        Number of places to move.
    """
    _move(job, places)


@jobs.command
def devices(*, json: Json = False) -> None:
    """List the devices of this computer with their free memory."""
    found = list_devices()
    if json:
        print_json([vars(device) for device in found])
        return
    for device in found:
        output.print(f"{device.name:<8} {device}")


@jobs.command(show=False)
def measure(kind: RunKind, config: Path) -> None:
    """Run a few steps and print their time and memory as JSON; used by the estimates."""
    with failure_as_json():
        from napari_graphflow.training import trial

        config_type = DistillationConfig if kind == "distill" else TrainingConfig
        trial.measure(kind, read_config(config_type, config))


@jobs.command(show=False)
def run(folder: Path) -> int:
    """Run a job in this process; used to start jobs."""
    from napari_graphflow.training import process

    return process.main(folder)


def _current_status(job: Job) -> Status:
    """Return the state of a job; ask the cluster about a job that it has not started yet."""
    status = job.status()
    if status.state == "queued" and status.process.runner:
        with suppress(UserError, RuntimeError, OSError):  # no answer: use the state in the folder
            return runner_of(job).poll(job)
    return status


def _latest_metrics(job: Job) -> dict[str, tuple[int, float]]:
    scores, offset, before = {}, 0, -1
    while offset != before:
        before = offset
        events, offset = job.events(offset)
        for event in events:
            if isinstance(event, Metric) and event.value is not None:
                scores[f"{event.split} {event.name}"] = event.step, event.value
    return scores


def _move(name: str, places: int) -> None:
    job = find_job(name)
    move(job, places)
    for number, one in enumerate(waiting(job.folder.parent), start=1):
        output.print(f"{number}. {one.name}")
