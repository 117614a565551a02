"""Where a job runs: on this computer, on a Ray cluster, or under Slurm.

A runner starts the same command on the same folder, ``napari-graphflow jobs run FOLDER``, which
must therefore lie on a file system that the other computers see. All that is known of a job still
comes from its folder; the engine is asked only about jobs that it has not started yet.
"""

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from napari_graphflow.errors import UserError
from napari_graphflow.failures import explain_exit
from napari_graphflow.jobs import Job, Status, data_root, submit
from napari_graphflow.system import replace_file

RunnerName = Literal["local", "ray", "slurm"]
#: In the job's folder: which engine has it, and under which name.
FILE = "runner.json"
RAY_ADDRESS = "http://127.0.0.1:8265"
POLL = 0.2
#: Seconds that Ray may take to stop a job.
STOPPING = 20.0


class Runner(Protocol):
    """An engine that runs jobs."""

    def submit(self, job: Job) -> None:
        """Hand a new or an ended job over."""

    def poll(self, job: Job) -> Status:
        """The job's state; a job that the engine gave up before it started has failed."""

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        """Ask the job to end; after `timeout` seconds let the engine end it."""

    def logs(self, job: Job) -> str:
        """What the job and its engine printed."""


class Local:
    """Processes on this computer, one on each device."""

    def submit(self, job: Job) -> None:
        submit(job)

    def poll(self, job: Job) -> Status:
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        return job.cancel(timeout)

    def logs(self, job: Job) -> str:
        return _own_log(job)


class Ray:
    """Ray Jobs on the cluster at ``$RAY_ADDRESS``, by default the one on this computer.

    Parameters
    ----------
    address
        Of the cluster's dashboard.
    """

    def __init__(self, address: str = "") -> None:
        sdk = _engine("ray.job_submission", "ray")
        self._address = address or os.environ.get("RAY_ADDRESS") or RAY_ADDRESS
        self._ended = sdk.JobStatus
        try:
            self._client = sdk.JobSubmissionClient(self._address)
        except (ConnectionError, RuntimeError):
            raise UserError(
                f"No Ray cluster answers at {self._address}.",
                "Start one with: ray start --head, or set RAY_ADDRESS.",
            ) from None

    def submit(self, job: Job) -> None:
        job.hand_over("ray")
        variables = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        gpu = {"entrypoint_num_gpus": 1} if job.config.device.startswith("cuda") else {}
        try:
            name = self._client.submit_job(
                entrypoint=_shell(_command(job)),
                runtime_env={"env_vars": variables},
                metadata={"graphflow": job.name},
                entrypoint_num_cpus=1,
                **gpu,
            )
        except RuntimeError as error:
            _give_up(job, f"Ray did not take the job: {_first_line(error)}")
            raise UserError(f"Ray did not take the job {job.title}.", _first_line(error)) from None
        _note(job, runner="ray", id=name, address=self._address)

    def poll(self, job: Job) -> Status:
        status = job.status()
        if status.state == "queued" and status.runner:
            info = self._client.get_job_info(_noted(job)["id"])
            if info.status.is_terminal() and job.status().state == "queued":
                _give_up(job, f"Ray ended the job before it began: {info.message}")
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        name = _noted(job)["id"]
        if not _ends_on_its_own(job, timeout):
            self._client.stop_job(name)
            end = time.monotonic() + STOPPING
            while not self._client.get_job_status(name).is_terminal() and time.monotonic() < end:
                time.sleep(POLL)
        return _settled(job)

    def logs(self, job: Job) -> str:
        return str(self._client.get_job_logs(_noted(job)["id"])) + _own_log(job)


class Slurm:
    """Slurm, by submitit. ``slurm.json`` beside the folder of jobs holds its parameters.

    Parameters
    ----------
    cluster
        ``slurm``, or ``local`` for the processes with which submitit stands in for it.
    """

    def __init__(self, cluster: str = "") -> None:
        self._submitit = _engine("submitit", "slurm")
        self._cluster = cluster or os.environ.get("GRAPHFLOW_SLURM_CLUSTER", "slurm")
        self._handles: dict[Path, Any] = {}

    def submit(self, job: Job) -> None:
        parameters = self._parameters()
        try:
            executor = self._submitit.AutoExecutor(job.folder / "slurm", cluster=self._cluster)
            executor.update_parameters(name=job.name[:60], **parameters)
        except (RuntimeError, TypeError, NameError) as error:
            raise UserError("Slurm cannot be used here.", _first_line(error)) from None
        job.hand_over("slurm")
        command = self._submitit.helpers.CommandFunction(_command(job), verbose=False)
        try:
            handle = executor.submit(command)
        except Exception as error:  # submitit passes on whatever sbatch says, as many kinds
            _give_up(job, f"Slurm did not take the job: {_first_line(error)}")
            raise UserError(f"Slurm did not take {job.title}.", _first_line(error)) from None
        self._handles[job.folder] = handle
        _note(job, runner="slurm", id=handle.job_id, cluster=self._cluster)

    def poll(self, job: Job) -> Status:
        if job.status().state == "queued" and self._handle(job).done():
            self._wait_for_words(job)
            if job.status().state == "queued":
                _give_up(job, "Slurm ended the job before it began.")
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        if not _ends_on_its_own(job, timeout):
            self._handle(job).cancel()
            end = time.monotonic() + STOPPING
            while not self._handle(job).done() and time.monotonic() < end:
                time.sleep(POLL)
        return _settled(job)

    def logs(self, job: Job) -> str:
        handle = self._handle(job)
        return (handle.stdout() or "") + (handle.stderr() or "") + _own_log(job)

    def _handle(self, job: Job) -> Any:
        if job.folder in self._handles:  # the stand-in knows only its own processes
            return self._handles[job.folder]
        noted = _noted(job)
        kinds = {"local": self._submitit.LocalJob, "slurm": self._submitit.SlurmJob}
        return kinds[noted["cluster"]](job.folder / "slurm", noted["id"])

    def _parameters(self) -> dict[str, Any]:
        path = data_root() / "slurm.json"
        if not path.is_file():
            return {"timeout_min": 24 * 60}
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError):
            raise UserError(
                f"{path} is no table of JSON.", 'Write for example {"timeout_min": 600}.'
            ) from None

    @staticmethod
    def _wait_for_words(job: Job) -> None:
        end = time.monotonic() + 2.0
        while job.status().state == "queued" and time.monotonic() < end:
            time.sleep(POLL)


def runner(name: RunnerName) -> Runner:
    """The runner of a name.

    Raises
    ------
    UserError
        If its engine is not installed, or does not answer.
    """
    kinds: dict[RunnerName, type[Runner]] = {"local": Local, "ray": Ray, "slurm": Slurm}
    return kinds[name]()


def runner_of(job: Job) -> Runner:
    """The runner to which a job was handed over."""
    try:
        noted = _noted(job)
    except FileNotFoundError:
        return Local()
    if noted["runner"] == "ray":
        return Ray(noted["address"])
    return Slurm(noted["cluster"])


def _engine(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise UserError(
            f"{module.partition('.')[0].capitalize()} is not installed.",
            f'Run: pip install "napari-graphflow[{extra}]"',
        ) from None


def _command(job: Job) -> list[str]:
    return [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(job.folder)]


def _shell(command: list[str]) -> str:
    import shlex

    return shlex.join(command)


def _note(job: Job, **what: Any) -> None:
    replace_file(job.folder / FILE, json.dumps(what, indent=1).encode())


def _noted(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.folder / FILE).read_text("utf-8"))
    return found


def _give_up(job: Job, text: str) -> None:
    with suppress(UserError, ValueError):  # it has just begun after all
        job.settle("failed", **{**asdict(explain_exit(None, job.log)), "text": text})


def _ends_on_its_own(job: Job, timeout: float) -> bool:
    """Leave the wish to cancel, and wait for a job that has begun."""
    steps = job.begin_cancel(float("inf"))
    end = time.monotonic() + timeout
    while next(steps, None) is not None:
        if job.status().state == "queued" or time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def _settled(job: Job) -> Status:
    status = job.status()
    if status.active:
        with suppress(UserError, ValueError):
            job.settle("cancelled")
    return job.status()


def _own_log(job: Job) -> str:
    with suppress(FileNotFoundError):
        return Path(job.log).read_text("utf-8", "replace")
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
