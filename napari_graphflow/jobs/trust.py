"""Which jobs and cluster addresses this user has used or accepted.

Anybody with access to a folder of jobs can write into it: what a job reads and where it runs is
followed only if it was set up by this user, or accepted once.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

from napari_graphflow.config.settings import paths_in
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import JobFolder
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import locked, read_memory, replace_file
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.regular_file import read_regular

Kind = Literal["jobs", "addresses"]
#: Seconds to wait while another process writes the list.
LOCK_TIMEOUT = 5.0


class UntrustedError(UserError):
    """A job names files or a cluster that this user has not accepted."""


def accept(kind: Kind, *values: str) -> None:
    """Add entries to the list of what this user trusts.

    Raises
    ------
    UserError
        If the list cannot be written, or another process is writing it all the time.
    """
    path = _list_file()
    with in_words():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock"), LOCK_TIMEOUT) as free:
            if not free:  # otherwise entries of the other process would be lost
                raise UserError(
                    "The list of accepted jobs is locked by another process.", "Try again."
                )
            known = _read()
            known[kind] = sorted({*known.get(kind, []), *values})
            replace_file(path, json.dumps(known, indent=1).encode())


def is_known(kind: Kind, value: str) -> bool:
    """Whether this user has used or accepted an entry."""
    return value in _read().get(kind, [])


def spec_hash(job: JobFolder) -> str:
    """Return the SHA-256 of the settings of a job, which are never rewritten."""
    with in_words():
        return hashlib.sha256(read_regular(job.spec_file)).hexdigest()


def outside_paths(job: JobFolder) -> list[Path]:
    """Return the paths that a job reads outside its folder."""
    inside = job.folder.resolve()
    named = paths_in(job.config)
    return [path for path in named if not (inside / path).resolve().is_relative_to(inside)]


def require_trusted(job: JobFolder) -> None:
    """Refuse a job that was not created by this user and reads files outside its folder.

    Raises
    ------
    UntrustedError
        If it was not accepted either; names the files.
    """
    if not outside_paths(job) or is_known("jobs", spec_hash(job)):
        return
    names = ", ".join(str(path) for path in outside_paths(job))
    raise UntrustedError(
        f"The job {job.title} was not created here and reads {names}.",
        f"If you trust it, run: napari-graphflow jobs trust {job.folder}",
    )


def require_known_addresses(job: JobFolder, *addresses: str) -> None:
    """Refuse a job that names a cluster which this user has not used.

    Raises
    ------
    UntrustedError
        If an address was not accepted either.
    """
    unknown = [one for one in addresses if one and not is_known("addresses", one)]
    if unknown:
        raise UntrustedError(
            f"The job {job.title} names a cluster that was not used from here: "
            f"{', '.join(unknown)}.",
            f"If you trust it, run: napari-graphflow jobs trust {job.folder}",
        )


def _read() -> dict[str, list[str]]:
    return {
        name: [str(one) for one in values]
        for name, values in read_memory(_list_file()).items()
        if isinstance(values, list)
    }


def _list_file() -> Path:
    return data_root() / "trusted.json"
