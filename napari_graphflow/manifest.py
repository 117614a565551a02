"""The files that a run was made from: hashed when it begins, compared when it goes on."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_graphflow.dataset import Case, Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.failures import in_words
from napari_graphflow.system import replace_file

#: In the job's folder.
FILE = "manifest.json"
HEADERS = {".mhd", ".nhdr", ".hdr"}


def data_files(labelled: Iterable[Case], unlabelled: Iterable[Case]) -> list[Path]:
    """The images of some cases, and the masks of the labelled ones."""
    files = [path for case in unlabelled for path in case.images]
    for case in labelled:
        files += [*case.images, *([case.label] if case.label else [])]
    # A header may have its voxels in a file beside it.
    beside = (p.parent.glob(f"{p.stem}.*") for p in files if p.suffix in HEADERS)
    return list(dict.fromkeys([*files, *(path for found in beside for path in sorted(found))]))


def compare_manifest(
    folder: Path, dataset: Dataset, files: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    """Note the data of a new run; a resumed one is refused other data than it began with.

    Parameters
    ----------
    folder
        The job's folder, which keeps ``manifest.json``: size and SHA-256 of each file.
    dataset
        The data.
    files
        Those that the run uses.

    Yields
    ------
    dict
        Records of a phase and of its progress; a run may be paused between two files.

    Raises
    ------
    UserError
        If an image or a mask is another one than at the start, or cannot be read.
    """
    yield {"event": "phase", "name": "checking the files"}
    found = {}
    for number, path in enumerate(files, 1):
        with in_words():
            found[_name(path, dataset)] = _fingerprint(path)
        yield {"event": "progress", "step": number, "total": len(files)}
    with in_words():
        path = folder / FILE
        if not path.is_file():
            replace_file(path, json.dumps(found, indent=1).encode())
            return
        noted = json.loads(path.read_text("utf-8"))
    changed = sorted(name for name in found if name in noted and found[name] != noted[name])
    if changed:
        more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
        verb = "have" if more else "has"
        raise UserError(
            f"{changed[0]}{more} of the dataset {dataset.name} {verb} changed since the job began.",
            f"Put the old data back and resume, start a new job, or remove {path} to go on with "
            "the new data.",
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
