"""Answers of a teacher for the cases of a dataset, saved in place of a network.

A folder with ``predictions.json``, the SHA-256 of each answer by case, and ``predictions/CASE.npz``
with ``labels`` (*spatial) or ``probabilities`` (K, *spatial), and ``corners`` of the image's grid.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ANSWERS
from napari_graphflow.dataset.findings import counted, some_of
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import parse_json, replace_file, written_aside
from napari_graphflow.system.regular_file import open_regular, read_regular

FOLDER = "predictions"
#: mm; grids with a larger distance between their corners differ.
_TOLERANCE = 1e-2


class ReadsAnswers(Protocol):
    """Returns the answer of a teacher for a case, as `Answers.read`."""

    def read(self, case: str, image: Volume, classes: int) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Answers:
    """Saved answers.

    Attributes
    ----------
    folder
        Folder with ``predictions.json``.
    hashes
        SHA-256 of the answer of each case.
    """

    folder: Path
    hashes: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> "Answers":
        """Read the list of answers.

        Raises
        ------
        UserError
            If it is missing or damaged.
        """
        try:
            hashes = parse_json(read_regular(folder / ANSWERS))["cases"]
            return cls(folder, {str(name): str(one) for name, one in hashes.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{folder / ANSWERS} is missing or damaged.", "Import the predictions again."
            ) from None

    def require(self, cases: Iterable[str]) -> None:
        """Check that there is an answer for each case.

        Raises
        ------
        UserError
            If there is not; names the cases.
        """
        wanted = list(cases)
        missing = [name for name in wanted if name not in self.hashes]
        if missing:
            raise UserError(
                f"The predictions in {self.folder} lack {len(missing)} of "
                f"{counted(len(wanted), 'case')}: {some_of(missing)}.",
                "Predict these cases, too, and import the folder again, or remove them from the "
                "dataset.",
            )

    def read(self, case: str, image: Volume, classes: int) -> NDArray[Any]:
        """Read the answer for a case.

        Returns
        -------
        labels or probabilities
            (*spatial), class indices, or (K, *spatial), float16, on the stored grid of the image.

        Raises
        ------
        UserError
            If it is missing, was changed, or is on another grid than the image.
        """
        self.require([case])
        path = self.folder / FOLDER / f"{case}.npz"
        if not path.is_file() or _hash(path) != self.hashes[case]:
            raise UserError(
                f"The prediction of {case} in {self.folder} is missing or was changed.",
                "Import the predictions again.",
            )
        return read_answer(path, case, image, classes)


def read_answer(path: Path, case: str, image: Volume, classes: int) -> NDArray[Any]:
    """Read a file of `write_answer`, of a case with this image.

    Raises
    ------
    UserError
        If it is damaged, or of another grid or other classes.
    """
    soft = "probabilities" in names_in_archive(path)
    shape = (*([classes] * soft), *image.shape)
    corners = read_array(path, "corners", image.corners().shape)
    if np.abs(corners - image.corners()).max() > _TOLERANCE:
        raise _other_grid(case)
    found = read_array(path, "probabilities" if soft else "labels", shape)
    if not soft and found.max(initial=0) >= classes:
        raise UserError(
            f"The prediction of {case} in {path} has other classes than its model.json.",
            "Import the predictions again.",
        )
    return found


def write_answer(folder: Path, case: str, answer: NDArray[Any], image: Volume) -> str:
    """Write the answer for a case and return its SHA-256.

    Parameters
    ----------
    answer
        Labels (*spatial), integer, or probabilities (K, *spatial), on the grid of `image`.
    """
    path = folder / FOLDER / f"{case}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    soft = answer.ndim > image.ndim
    kind: dict[str, Any] = {
        "probabilities" if soft else "labels": answer.astype(np.float16 if soft else np.uint8)
    }
    with written_aside(path, sync=False) as aside, aside.open("wb") as file:
        np.savez_compressed(file, corners=image.corners(), **kind)
    return _hash(path)


def write_list(folder: Path, hashes: Mapping[str, str]) -> None:
    """Write the list of the answers of a folder, which completes it."""
    replace_file(folder / ANSWERS, json.dumps({"cases": dict(hashes)}, indent=1).encode())


def names_in_archive(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def read_array(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read an array of an ``.npz`` file, if it has the expected shape: nothing else is allocated.

    Raises
    ------
    UserError
        If it is missing or damaged, or has another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            found, _, dtype = header(file)
        if dtype.kind not in "uif":
            raise ValueError("no numbers")
        if found == shape:
            with np.load(path, allow_pickle=False) as arrays:
                array: NDArray[Any] = arrays[name]
                return array
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.error):
        raise UserError(
            f"{path} is damaged, or has no numbers {name!r}.", "Write it again."
        ) from None
    raise UserError(
        f"{path.name} holds {name} of shape {found}, but the image needs {shape}.",
        "Write the prediction on the grid of the image.",
    )


def _other_grid(case: str) -> UserError:
    return UserError(
        f"The prediction of {case} is on another grid than its image.",
        "Import the predictions again, for this dataset.",
    )


def _hash(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
