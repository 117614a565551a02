"""Smaller settings for a run that does not fit into memory, and how a job remembers its own."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.failures import explain
from napari_graphflow.system.files import replace_file

#: Patch sides are multiples of this, which every network can halve four times.
MULTIPLE = 16


@dataclass(frozen=True)
class Setting:
    """What decides how much memory a step takes.

    Attributes
    ----------
    batch_size
        Labelled patches in a batch.
    patch_size
        Sides of a patch in voxels.
    """

    batch_size: int
    patch_size: tuple[int, ...]

    def __str__(self) -> str:
        sides = " x ".join(map(str, self.patch_size))
        return f"batch size {self.batch_size} and patches of {sides} voxels"

    def lighter(self) -> "Setting | None":
        """The next smaller setting: half of the batch, then the longest side shorter.

        None if there is none. The batch goes first, because a smaller patch shows the network less
        of the surroundings of each voxel.
        """
        if self.batch_size > 1:
            return Setting(self.batch_size // 2, self.patch_size)
        longest = max(self.patch_size)
        if longest <= MULTIPLE:
            return None
        shorter = (longest - 1) // MULTIPLE * MULTIPLE
        return Setting(1, tuple(min(side, shorter) for side in self.patch_size))

    def keep(self, folder: Path) -> None:
        """Write the setting down in a job's folder, where a resumed run finds it."""
        replace_file(JobPaths(folder).memory_setting, json.dumps(asdict(self)).encode())


def kept_setting(folder: Path) -> Setting | None:
    """The setting that a job went down to; None if it never ran out of memory."""
    try:
        content = json.loads(JobPaths(folder).memory_setting.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Setting(content["batch_size"], tuple(content["patch_size"]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a smaller setting would help."""
    return explain(error).code in ("out_of_memory", "out_of_gpu_memory")
