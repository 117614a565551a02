"""The files that a run was made from: hashed when it begins, compared when it goes on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Event, Phase, Progress
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import replace_file

#: What a teacher is read from, and what stands for its folder, which may move meanwhile.
MODEL = ("model.json", "weights.safetensors")


TEACHER = "teacher/"


def compare_manifest(
    folder: Path, dataset: Dataset, files: Sequence[Path], teacher: Path | None = None
) -> Iterator[Event]:
    """Note the files of a new run; a resumed one is refused others than it began with.

    Parameters
    ----------
    folder
        The job's folder, which keeps size and SHA-256 of each file.
    dataset
        The data.
    files
        Those that the run uses.
    teacher
        The folder of the model that a distillation learns from.

    Yields
    ------
    event
        A phase and its progress; a run may be paused between two files.

    Raises
    ------
    UserError
        If an image, a mask or the teacher is another one than at the start, or cannot be read.
    """
    yield Phase(name="checking the files")
    named = {_name(path, dataset): path for path in files}
    if teacher is not None:
        named |= {TEACHER + name: teacher / name for name in MODEL}
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
        noted = json.loads(path.read_text("utf-8"))
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
        f"{changed[0]}{more} of {of} {verb} changed since the job began.",
        f"Put the old {what} back and resume, start a new job, or remove {manifest} to go on with "
        f"the new {what}.",
    )


def _name(path: Path, dataset: Dataset) -> str:
    # With slashes on every system, because a job's folder may move to another one.
    return (
        path.relative_to(dataset.folder) if path.is_relative_to(dataset.folder) else path
    ).as_posix()


def _fingerprint(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
