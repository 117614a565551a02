"""Hashes of the input files of a run: recorded at the start, verified on resume."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Event, Phase, Progress
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import read_record, replace_file
from napari_graphflow.system.regular_file import open_regular

#: Replaces the folder of the teacher, which may be moved.
TEACHER = "teacher/"


def compare_manifest(
    folder: Path, dataset: Dataset, files: Sequence[Path], teacher: Path | None = None
) -> Iterator[Event]:
    """Record the files of a new run, or verify those of a resumed one.

    Parameters
    ----------
    folder
        The job's folder, in which size and SHA-256 of each file are recorded.
    dataset
        The dataset.
    files
        Files of the dataset that the run uses.
    teacher
        Model folder of the teacher of a distillation.

    Yields
    ------
    event
        A phase and its progress; a run can be paused between files.

    Raises
    ------
    UserError
        If an image, a mask or the teacher has changed or cannot be read.
    """
    yield Phase(kind="checking", name="checking the files")
    named = {_name(path, dataset): path for path in files}
    if teacher is not None:
        named |= {
            TEACHER + name: teacher / name
            for name in ("model.json", *read_model_card(teacher).files)
        }
    found = {}
    for number, (name, path) in enumerate(named.items(), 1):
        with in_words():
            found[name] = _fingerprint(path)
        yield Progress(step=number, total=len(named))
    path = JobPaths(folder).manifest
    with in_words():
        if not path.is_file():
            replace_file(path, json.dumps(found, indent=1).encode())
            return
        noted = read_record(path, dict)
    changed = sorted(name for name in found if name in noted and found[name] != noted[name])
    model = [name.removeprefix(TEACHER) for name in changed if name.startswith(TEACHER)]
    data = [name for name in changed if not name.startswith(TEACHER)]
    if data:
        _refuse(data, f"the dataset {dataset.name}", "data", path)
    if model:
        _refuse(model, f"the teacher {teacher}", "model", path)


def _refuse(changed: list[str], of: str, what: str, manifest: Path) -> None:
    more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
    verb = "have" if more else "has"
    raise UserError(
        f"{changed[0]}{more} of {of} {verb} changed since the job started.",
        f"Restore the original {what} and resume, start a new job, or delete {manifest} to use the "
        f"new {what}.",
    )


def _name(path: Path, dataset: Dataset) -> str:
    # POSIX paths, because a job's folder may be moved to another operating system.
    return (
        path.relative_to(dataset.folder) if path.is_relative_to(dataset.folder) else path
    ).as_posix()


def _fingerprint(path: Path) -> dict[str, object]:
    with open_regular(path) as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
