"""Small datasets to label, and helpers to inspect what labelling wrote."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.evaluation.uncertainty import slab_statistics
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.store import Labelling

OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
SHAPE = (10, 7, 6)
CLASSES = {"background": 0, "liver": 1, "lesion": 2}
MODEL = "a" * 64
OTHER_MODEL = "b" * 64


def make_dataset(folder: Path, count: int = 4, labelled: int = 2, **description: Any) -> Path:
    """Write oblique volumes ``scan_0``, ``scan_1``, ..., the first ones with masks."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image = volume(np.random.default_rng(number).integers(0, 99, SHAPE).astype(np.int16))
        write_volume(folder / "imagesTr" / f"scan_{number}_0000.nii.gz", image)
        if number < labelled:
            mask = image.with_array(box(number))
            write_volume(folder / "labelsTr" / f"scan_{number}.nii.gz", mask)
    content = {
        "name": "scans",
        "channel_names": {"0": "MR"},
        "labels": CLASSES,
        "numTraining": labelled,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content | description), "utf-8")
    return folder


def volume(array: np.ndarray) -> Volume:
    return Volume(array, (3.0, 0.8, 1.2), (10.0, -20.0, 300.0), OBLIQUE)


def box(number: int = 0) -> np.ndarray:
    """A liver with a lesion, a little different for each number."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 1:5, 1 : 3 + number % 3] = 1
    labels[4:6, 2:4, 1:2] = 2
    return labels


def proposal(case: str, model: str = MODEL, labels: np.ndarray | None = None) -> Proposal:
    """Describe a proposal of a made-up model, uncertain about the lesion."""
    labels = box() if labels is None else labels
    soft = np.full((*labels.shape, 3), 0.05, np.float32)
    np.put_along_axis(soft, labels[..., None].astype(np.int64), 0.9, axis=-1)
    soft[labels == 2] = (0.2, 0.3, 0.5)
    return Proposal(
        case=case,
        model="liver model",
        sha256=model,
        folder="/models/liver",
        made=datetime.now(UTC),
        seconds=1.5,
        statistics=slab_statistics(soft, labels, CLASSES, 4),
    )


def propose(labelling: Labelling, case: str, model: str = MODEL, number: int = 0) -> Proposal:
    return labelling.propose(proposal(case, model, box(number)), box(number))


def stored(folder: Path, case: str) -> np.ndarray:
    """The values of the mask as another program reads them."""
    return read_volume(folder / "labelsTr" / f"{case}.nii.gz").array


def training_names(folder: Path) -> set[str]:
    """Names of the cases that a run uses, some of which may be drawn for its validation."""
    dataset = Dataset.open(folder)
    return {case.name for case in (*dataset.labelled("train"), *dataset.labelled("val"))}


def contents(folder: Path, *without: str) -> dict[str, str]:
    """SHA-256 of every file by its relative path, except hidden ones and some parts."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.name[0] != "." and not set(parts) & set(without):
            hashes["/".join(parts)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


class _DieAtChange:
    """Kill the process before the n-th change of a file below a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = str(folder)
        self.count = count

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.remove")
        if event == "open":
            mode = arguments[1] or ""
            changes = any(letter in str(mode) for letter in "wa+")
        if not changes or not str(arguments[0]).startswith(self.folder):
            return
        self.count -= 1
        if self.count < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def dies_at_change(folder: Path, count: int, action: Callable[[], Any]) -> bool:
    """Run an action in a child process that is killed before its n-th change; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            sys.addaudithook(_DieAtChange(folder, count))
            action()
        except BaseException as error:  # reported by the exit code
            print(repr(error), file=sys.stderr)  # noqa: T201
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the action failed"
    return os.WIFSIGNALED(status)
