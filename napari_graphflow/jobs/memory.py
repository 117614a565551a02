"""Smaller settings for runs that do not fit into memory."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.failures import explain
from napari_graphflow.system.files import parse_json, replace_file
from napari_graphflow.system.regular_file import read_regular

#: Patch sides are multiples of this, so that every network can halve them four times.
MULTIPLE = 16


@dataclass(frozen=True)
class Setting:
    """The settings that determine the memory use of a step.

    Attributes
    ----------
    batch_size
        Labelled patches per batch.
    patch_size
        Patch size in voxels.
    """

    batch_size: int
    patch_size: tuple[int, ...]

    def __str__(self) -> str:
        sides = " x ".join(map(str, self.patch_size))
        return f"batch size {self.batch_size} and patches of {sides} voxels"

    def smaller(self) -> "Setting | None":
        """Return the next smaller setting, or None if there is none.

        The batch is halved first, then the longest patch side is reduced, because a smaller patch
        gives the network less context.
        """
        if self.batch_size > 1:
            return Setting(self.batch_size // 2, self.patch_size)
        longest = max(self.patch_size)
        if longest <= MULTIPLE:
            return None
        shorter = (longest - 1) // MULTIPLE * MULTIPLE
        return Setting(1, tuple(min(side, shorter) for side in self.patch_size))

    def save(self, folder: Path) -> None:
        """Write the setting to a job's folder, for when the job is resumed."""
        replace_file(JobPaths(folder).memory_setting, json.dumps(asdict(self)).encode())


def saved_setting(folder: Path) -> Setting | None:
    """Return the setting that a job was reduced to; None if it never ran out of memory.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = JobPaths(folder).memory_setting
    try:
        content = parse_json(read_regular(path))
        return Setting(int(content["batch_size"]), tuple(map(int, content["patch_size"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is damaged.", "Delete it to resume with the batch and patch size of the job."
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was caused by a lack of memory."""
    return explain(error).code in ("out_of_memory", "out_of_gpu_memory")
