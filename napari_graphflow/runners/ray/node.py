"""Code that runs on a Ray cluster: the job, its other workers, and access to its folder.

``python -m napari_graphflow.runners.ray.node FOLDER WORKERS [NAME]`` is the entry point of the Ray
job. NAME is given for a packed job: it then runs on a copy outside the package, because Ray may
remove packages at any time; the copy is kept until it has been downloaded.
"""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import choose_case
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import Request
from napari_graphflow.runners.handover import engine, own_log
from napari_graphflow.system.failures import explain, explain_exit
from napari_graphflow.system.files import path_inside, written_aside
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.processes import child_environment
from napari_graphflow.system.regular_file import open_regular

#: Seconds to wait for the first process after another one has failed.
GRACE = 30.0
Stamp = tuple[int, int]


def interpreter() -> str:
    """Return the path of the Python interpreter on the cluster."""
    return sys.executable


def inspect(name: str, requests: Iterable[Request], case: str) -> dict[str, Any] | None:
    """Make requests to a packed job, and return its state and the files in its folder.

    Returns
    -------
    seen
        ``status``, and ``files`` with size and modification time by relative path; None if the job
        does not exist yet.
    """
    folder = _job_folder(name)
    if not folder.is_dir():
        return None
    job = Job(folder)
    for request in requests:
        job.request(request)
    if case:
        choose_case(folder, case)
    status = job.status()  # before the files, which no longer change once a job has ended
    found = job.portable_files().items()
    # The case is selected on the submitting computer.
    files = {name: _stamp(path) for name, path in found if path != job.preview_case}
    return {"status": status.model_dump(), "files": files}


def read(name: str, path: str, offset: int, count: int) -> tuple[Stamp, bytes]:
    """Read a part of a file of a packed job; empty and without time if it was just moved."""
    try:
        with open_regular(path_inside(_job_folder(name), path)) as file:
            file.seek(offset)
            return _stamp(_job_folder(name) / path), file.read(count)
    except FileNotFoundError:
        return (0, 0), b""


def log(name: str) -> str:
    """Return the log of a packed job."""
    return own_log(Job(_job_folder(name)))


def forget(name: str) -> None:
    """Delete the folder of a packed job."""
    shutil.rmtree(_job_folder(name), ignore_errors=True)


def run(folder: Path, workers: int, name: str = "") -> int:
    """Run a job in one or more processes of the cluster and return the exit code."""
    command = [sys.executable, "-m", "napari_graphflow", "jobs", "run"]
    given = folder
    if name:
        folder = _job_folder(name)
        with written_aside(folder) as aside:
            shutil.copytree(given, aside)
    if workers == 1:
        return subprocess.call([*command, folder], env=child_environment())
    return _run_together(Job(folder), command, given, workers)


def _run_together(job: Job, command: list[str], given: Path, workers: int) -> int:
    """Run rank 0, which writes, in a child process and the other ranks as Ray tasks, by DDP."""
    ray = engine("ray", "ray")
    ray.init(log_to_driver=False)
    kind, needs = ("GPU", {"num_gpus": 1}) if job.config.device.startswith("cuda") else ("CPU", {})
    there = int(ray.cluster_resources().get(kind, 0))
    if there < workers:
        text = f"The Ray cluster has {there} {kind}s, but {workers} workers were requested."
        why = explain(UserError(text, "Choose fewer workers."))
        job.settle("failed", why)
        return why.exit_code
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    master = ray.util.get_node_ip_address()
    worlds = [_world(rank, workers, master, port) for rank in range(workers)]
    remote_worker = ray.remote(num_cpus=1, max_retries=0, **needs)(_run_worker)
    others = [remote_worker.remote([*command, str(given)], world) for world in worlds[1:]]
    first = subprocess.Popen([*command, job.folder], env=child_environment() | worlds[0])
    running = others
    while first.poll() is None:
        ended, running = ray.wait(running, timeout=1.0) if running else ([], [])
        if any(_code(ray, one) for one in ended):
            return _end(job, first)
        if not running:
            first.wait()
    ray.wait(others, num_returns=len(others), timeout=GRACE)
    return first.returncode


def _end(job: Job, first: "subprocess.Popen[bytes]") -> int:
    """End the first process, which would otherwise wait for the failed worker."""
    try:
        return first.wait(GRACE)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    why = explain_exit(None, job.log, log_from=job.saved_status().process.log_from)
    text = "A worker on the Ray cluster stopped unexpectedly."
    job.settle("failed", why.model_copy(update={"text": text}))
    return why.exit_code


def _run_worker(command: list[str], world: dict[str, str]) -> int:
    return subprocess.call(command, env=child_environment() | world)


def _code(ray: Any, worker: Any) -> int:
    try:
        return int(ray.get(worker))
    except ray.exceptions.RayError:
        return 1


def _world(rank: int, workers: int, master: str, port: int) -> dict[str, str]:
    """Return the environment variables of torchrun; each process sees one GPU."""
    variables = {
        "RANK": rank, "ROLE_RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": 0,
        "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": master, "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "ray",
    }  # fmt: skip
    return {name: str(value) for name, value in variables.items()}


def _job_folder(name: str) -> Path:
    return path_inside(data_root() / "packed", name)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


if __name__ == "__main__":
    _folder, _workers, *_name = sys.argv[1:]
    sys.exit(run(Path(_folder), int(_workers), *_name))
