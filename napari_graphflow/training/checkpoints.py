"""Checkpoints of a run: written atomically, verified when read, with the previous one kept.

A checkpoint is an archive of tensors and numbers, followed by its SHA-256. The checksum is part
of the file, so that a kill cannot separate the two; the checksums of a zip archive do not cover
all of its bytes.
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
from napari_graphflow.system.regular_file import open_regular

#: Seconds between checks for a checkpoint request.
POLL_INTERVAL = 0.2
#: Bytes per read when verifying a checkpoint.
BLOCK = 1 << 20


class Checkpoints:
    """The checkpoints in a job's folder.

    Parameters
    ----------
    folder
        The job's folder.
    minutes
        Longest time between two checkpoints.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.paths, self.seconds = JobPaths(folder), 60 * minutes
        self._saved = self._polled = time.monotonic()
        self._last, self._previous = self.paths.last_checkpoint, self.paths.previous_checkpoint
        self._request = self.paths.request_file("checkpoint_now")
        self._aside = self._last.with_name(f".{self._last.name}")
        #: The file that is known to be intact.
        self._intact: Path | None = None
        self._last.parent.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Return whether a checkpoint is due by time or by request."""
        now = time.monotonic()
        if now - self._saved >= self.seconds:
            return True
        if now - self._polled < POLL_INTERVAL:
            return False
        self._polled = now
        return self._request.exists()

    def save(self, content: dict[str, Any], step: int) -> CheckpointSaved:
        """Write a checkpoint; an intact one exists on disk at any time.

        Returns
        -------
        event
            Path and step of the checkpoint.
        """
        if self._intact == self._aside:
            self._aside.replace(self._last)
            self._intact = self._last
        try:
            with self._aside.open("wb") as file:
                hashing = _Hashing(file)
                torch.save(content, hashing)  # type: ignore[arg-type]
                file.write(hashing.sha256.digest())
                file.flush()
                os.fsync(file.fileno())
            # A damaged checkpoint must not replace the intact previous one.
            if self._intact == self._last:
                self._last.replace(self._previous)
                self._intact = self._previous
            self._aside.replace(self._last)
            self._intact = self._last
        finally:
            self._aside.unlink(missing_ok=True)  # a partial file would keep a full disk full
        self._saved = time.monotonic()
        with suppress(OSError):
            self._request.unlink(missing_ok=True)
        return CheckpointSaved(path=self.paths.relative(self._last), step=step)

    def load(self, device: torch.device) -> Generator[Warned, None, dict[str, Any] | None]:
        """Read the newest intact checkpoint; the generator returns its content, or None.

        Yields
        ------
        event
            A warning if a checkpoint is truncated or altered.
        """
        damaged, unreadable, content = 0, None, None
        # `_aside` is intact if the process was killed between the two renames.
        for path in (self._last, self._previous, self._aside):
            try:
                intact = path.is_file() and _is_intact(path)
            except OSError as error:
                intact, unreadable = False, error
            if intact:
                self._intact = path
                content = torch.load(path, map_location=device, weights_only=True)
                break
            damaged += path != self._aside and path.exists()
        if content is None and unreadable is not None:
            raise unreadable  # the drive may only be disconnected: do not start over
        self._remove_partial_files()
        if damaged:
            start = f"the previous one, of step {content['step']}" if content else "the beginning"
            yield Warned(
                code="checkpoint_damaged",
                text=f"The newest checkpoint is damaged. Resuming from {start}.",
            )
        return content

    def _remove_partial_files(self) -> None:
        """Remove partially written files of a killed process."""
        for folder in (self.paths.checkpoints, self.paths.artifacts):
            for path in folder.glob(".*"):
                if path == self._intact:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


class _Hashing:
    """A writable file that hashes what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _is_intact(path: Path) -> bool:
    """Return whether a file ends with the SHA-256 of its other bytes."""
    sha256 = hashlib.sha256()
    with open_regular(path) as file:
        left = path.stat().st_size - sha256.digest_size
        while left > 0 and (block := file.read(min(left, BLOCK))):
            sha256.update(block)
            left -= len(block)
        return file.read() == sha256.digest()
