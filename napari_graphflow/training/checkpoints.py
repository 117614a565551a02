"""Checkpoints of a run: written aside and renamed, checked when read, the one before kept.

A checkpoint is an archive of plain tensors and numbers, followed by its SHA-256. The checksum
stands in the file itself, so that no kill can part the two; those of a zip archive do not cover
all of it.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import CheckpointSaved, Warned

#: Seconds between two looks for the request of one.
LOOK = 0.2


#: Bytes that are read at a time.
BLOCK = 1 << 20


class Checkpoints:
    """The checkpoints in a job's folder.

    Parameters
    ----------
    folder
        The job's folder.
    minutes
        Time after which one is due, even between two validations.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.paths, self.seconds = JobPaths(folder), 60 * minutes
        self._saved = self._looked = time.monotonic()
        self._last, self._before = self.paths.last_checkpoint, self.paths.previous_checkpoint
        self._request = self.paths.request_file("checkpoint_now")
        self._aside = self._last.with_name(f".{self._last.name}")
        #: Which of them is known to be whole.
        self._whole: Path | None = None
        self._last.parent.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Whether it is time for a checkpoint, or somebody asked for one."""
        now = time.monotonic()
        if now - self._saved >= self.seconds:
            return True
        if now - self._looked < LOOK:
            return False
        self._looked = now
        return self._request.exists()

    def save(self, content: dict[str, Any], step: int) -> CheckpointSaved:
        """Write a checkpoint; at every moment there is a whole one on the disk.

        Returns
        -------
        event
            What to report of it.
        """
        if self._whole == self._aside:
            self._aside.replace(self._last)
            self._whole = self._last
        try:
            with self._aside.open("wb") as file:
                hashing = _Hashing(file)
                torch.save(content, hashing)  # type: ignore[arg-type]
                file.write(hashing.sha256.digest())
                file.flush()
                os.fsync(file.fileno())
            # A damaged one must not take the place of the whole one before it.
            if self._whole == self._last:
                self._last.replace(self._before)
                self._whole = self._before
            self._aside.replace(self._last)
            self._whole = self._last
        finally:
            self._aside.unlink(missing_ok=True)  # half a file would keep a full disk full
        self._saved = time.monotonic()
        with suppress(OSError):
            self._request.unlink(missing_ok=True)
        return CheckpointSaved(path=self.paths.relative(self._last), step=step)

    def load(self, device: torch.device) -> Generator[Warned, None, dict[str, Any] | None]:
        """Read the newest whole checkpoint; the generator returns its content, or None.

        Yields
        ------
        event
            A warning for a checkpoint that is torn or was altered.
        """
        broken, unreadable, content = 0, None, None
        # The last of them is whole where a kill fell between the two renamings.
        for path in (self._last, self._before, self._aside):
            try:
                whole = path.is_file() and _is_whole(path)
            except OSError as error:
                whole, unreadable = False, error
            if whole:
                self._whole = path
                content = torch.load(path, map_location=device, weights_only=True)
                break
            broken += path != self._aside and path.exists()
        if content is None and unreadable is not None:
            raise unreadable  # a drive that went away may come back, with all that was reached
        self._sweep()
        if broken:
            where = f"the one before, of step {content['step']}" if content else "the beginning"
            yield Warned(
                code="checkpoint_damaged",
                text=f"The newest checkpoint is damaged. Going on from {where}.",
            )
        return content

    def _sweep(self) -> None:
        """Remove what a killed process left half written."""
        for folder in (self.paths.checkpoints, self.paths.artifacts):
            for path in folder.glob(".*"):
                if path == self._whole:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


class _Hashing:
    """A file to write to, and the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _is_whole(path: Path) -> bool:
    """Whether a file ends with the SHA-256 of all that comes before."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - sha256.digest_size
        while left > 0 and (block := file.read(min(left, BLOCK))):
            sha256.update(block)
            left -= len(block)
        return file.read() == sha256.digest()
