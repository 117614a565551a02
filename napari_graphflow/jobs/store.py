"""Create, list and find jobs."""

import itertools
import json
import platform
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from napari_graphflow import __version__
from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.labelling import ProposalConfig, RoundConfig
from napari_graphflow.config.model_card import name_of_model
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.config.settings import Frozen, with_paths
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import STAMP, JobConfig, Kind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.trust import accept, spec_hash
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import replace_file
from napari_graphflow.system.folders import jobs_root

C = TypeVar("C", bound=Frozen)


def create(kind: Kind, config: JobConfig, root: Path | None = None) -> Job:
    """Create the folder of a new job, without starting it.

    Parameters
    ----------
    kind
        What it does; `config` is of the class for it.
    config
        Settings of the job. Relative paths are resolved from the working directory.
    root
        Parent folder; None uses the user's default.
    """
    config = absolute_paths(config)
    title = _title(config)
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    spec = {
        "kind": kind,
        "title": title,
        "created": now.isoformat(),
        "config": config.model_dump(mode="json"),
        "versions": _versions(),
    }
    root = jobs_root() if root is None else Path(root)
    with in_words():
        paths = JobPaths(_new_folder(root, f"{now:{STAMP}}-{slug}"))
        for part in (paths.control, paths.checkpoints, paths.artifacts):
            part.mkdir()
        # Written last: a folder counts as a job once it has this file.
        replace_file(paths.spec_file, json.dumps(spec, indent=1).encode())
    job = Job(paths.folder)
    try:
        accept("jobs", spec_hash(job))
    except UserError:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    return job


def absolute_paths(config: C) -> C:
    """Resolve the paths of a run, because its processes have other working directories."""
    return with_paths(config, lambda path: path.expanduser().resolve())


def list_jobs(root: Path | None = None) -> list[Job]:
    """Return all jobs in a folder, newest first; other entries are skipped."""
    root = jobs_root() if root is None else Path(root)
    found, folders = [], []
    with suppress(OSError):  # not created yet, or on a disconnected drive
        folders = list(root.iterdir())
    for folder in folders:
        if folder.name.startswith("."):
            continue
        try:
            found.append(Job(folder))
        except UserError:
            continue
    return sorted(found, key=lambda job: (job.created, job.name), reverse=True)


def unreadable_jobs(root: Path | None = None) -> list[Path]:
    """Return the folders that should be jobs, but whose settings cannot be read."""
    root = jobs_root() if root is None else Path(root)
    found = []
    with suppress(OSError):
        for folder in sorted(root.iterdir()):
            if folder.name.startswith(".") or not JobPaths(folder).spec_file.exists():
                continue
            try:
                Job(folder)
            except UserError:
                found.append(folder)
    return found


def failed_jobs(root: Path | None = None) -> list[Job]:
    """Return the jobs that failed or were lost, newest first."""
    return [job for job in list_jobs(root) if job.status().state in ("failed", "lost")]


def find_job(name: str, root: Path | None = None) -> Job:
    """Find a job by its folder, its name, or an unambiguous part of its name."""
    if JobPaths(Path(name)).spec_file.is_file():
        return Job(Path(name))
    found = [job for job in list_jobs(root) if name in job.name]
    exact = [job for job in found if job.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    raise UserError(
        f"{len(found)} jobs match '{name}'." if found else f"There is no job '{name}'.",
        "Choose one from the list of jobs.",
    )


def _title(config: JobConfig) -> str:
    if config.name:
        return config.name
    dataset = config.dataset.name
    if isinstance(config, RoundConfig):
        return f"round {config.number} on {dataset}"
    if isinstance(config, ComparisonConfig):
        return f"{name_of_model(config.a)} and {name_of_model(config.b)} compared on {dataset}"
    if isinstance(config, ProposalConfig):
        return f"masks by {name_of_model(config.model)} for {dataset}"
    if isinstance(config, DistillationConfig):
        method = config.method.name.replace("_", " ")
        return f"{method}: {name_of_model(config.teacher)} to {config.network} on {dataset}"
    return f"{config.network} on {dataset}"


def _new_folder(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def _versions() -> dict[str, str]:
    found = {"napari-graphflow": __version__, "python": platform.python_version()}
    for package in ("torch", "monai", "lightning-fabric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
