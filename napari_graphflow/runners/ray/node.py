"""What runs on a Ray cluster: the job, its helpers on other computers, and looks into its folder.

``python -m napari_graphflow.runners.ray.node FOLDER WORKERS [NAME]`` is the entry point of the Ray
job. With a name, the folder came in a package: the job then runs on a copy outside the package,
which stays until the carrier has fetched it, for Ray removes packages when it likes.
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
from napari_graphflow.system.files import written_aside
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.processes import child_environment

#: Seconds after which the first process is ended, when another one has failed.
GRACE = 30.0


Stamp = tuple[int, int]


def interpreter() -> str:
    """The Python of the cluster that has this package."""
    return sys.executable


def look(name: str, requests: Iterable[Request], case: str) -> dict[str, Any] | None:
    """Make requests, and see the state of a carried job and the files in its folder.

    Returns
    -------
    seen
        ``status``, and in ``files`` size and time of change by relative path; None while there is
        no such job.
    """
    folder = _place(name)
    if not folder.is_dir():
        return None
    job = Job(folder)
    for request in requests:
        job.request(request)
    if case:
        choose_case(folder, case)
    status = job.status()  # first: a job that has ended changes no file any more
    found = job.portable_files().items()
    # Whoever looks from home chooses the case.
    files = {name: _stamp(path) for name, path in found if path != job.preview_case}
    return {"status": status.model_dump(), "files": files}


def read(name: str, path: str, offset: int, count: int) -> tuple[Stamp, bytes]:
    """Read a part of a file of a carried job; nothing, of no time, where it has just been moved."""
    try:
        with (_place(name) / path).open("rb") as file:
            file.seek(offset)
            return _stamp(_place(name) / path), file.read(count)
    except FileNotFoundError:
        return (0, 0), b""


def log(name: str) -> str:
    """What a carried job has logged."""
    return own_log(Job(_place(name)))


def forget(name: str) -> None:
    """Remove the folder of a carried job."""
    shutil.rmtree(_place(name), ignore_errors=True)


def run(folder: Path, workers: int, name: str = "") -> int:
    """Run a job in this and in other processes of the cluster; gives the exit code."""
    command = [sys.executable, "-m", "napari_graphflow", "jobs", "run"]
    given = folder
    if name:
        folder = _place(name)
        with written_aside(folder) as aside:
            shutil.copytree(given, aside)
    if workers == 1:
        return subprocess.call([*command, folder], env=child_environment())
    return _run_together(Job(folder), command, given, workers)


def _run_together(job: Job, command: list[str], given: Path, workers: int) -> int:
    """One process here, which writes, and the others wherever Ray has room; all by DDP."""
    ray = engine("ray", "ray")
    ray.init(log_to_driver=False)
    kind, needs = ("GPU", {"num_gpus": 1}) if job.config.device.startswith("cuda") else ("CPU", {})
    there = int(ray.cluster_resources().get(kind, 0))
    if there < workers:
        text = f"The Ray cluster has {there} {kind}s for {workers} workers."
        why = explain(UserError(text, "Ask for fewer workers."))
        job.settle("failed", why)
        return why.exit_code
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    master = ray.util.get_node_ip_address()
    worlds = [_world(rank, workers, master, port) for rank in range(workers)]
    help_out = ray.remote(num_cpus=1, max_retries=0, **needs)(_help)
    helpers = [help_out.remote([*command, str(given)], world) for world in worlds[1:]]
    first = subprocess.Popen([*command, job.folder], env=child_environment() | worlds[0])
    running = helpers
    while first.poll() is None:
        ended, running = ray.wait(running, timeout=1.0) if running else ([], [])
        if any(_code(ray, one) for one in ended):
            return _end(job, first)
        if not running:
            first.wait()
    ray.wait(helpers, num_returns=len(helpers), timeout=GRACE)
    return first.returncode


def _end(job: Job, first: "subprocess.Popen[bytes]") -> int:
    """End the first process, which would wait for one that has failed."""
    try:
        return first.wait(GRACE)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    why = explain_exit(None, job.log)
    text = "One of the workers on the Ray cluster ended before the others."
    job.settle("failed", why.model_copy(update={"text": text}))
    return why.exit_code


def _help(command: list[str], world: dict[str, str]) -> int:
    return subprocess.call(command, env=child_environment() | world)


def _code(ray: Any, helper: Any) -> int:
    try:
        return int(ray.get(helper))
    except ray.exceptions.RayError:
        return 1


def _world(rank: int, workers: int, master: str, port: int) -> dict[str, str]:
    """What torchrun would say; each process is alone with the GPU that Ray lets it see."""
    said = {
        "RANK": rank, "ROLE_RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": 0,
        "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": master, "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "ray",
    }  # fmt: skip
    return {name: str(value) for name, value in said.items()}


def _place(name: str) -> Path:
    return data_root() / "carried" / name


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


if __name__ == "__main__":
    _folder, _workers, *_name = sys.argv[1:]
    sys.exit(run(Path(_folder), int(_workers), *_name))
