"""Checkpoints of a run: written aside and renamed, checked when read, the one before kept.

A checkpoint is a zip archive of plain tensors and numbers, in which every record carries its
CRC-32. The checksum travels inside the file, so that no kill can part the two.
"""

import os
import shutil
import time
import zipfile
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

LAST = "checkpoints/last.pt"
BEFORE = "checkpoints/before.pt"
#: Touched by whoever wants a checkpoint now.
WISH = "control/checkpoint_now"
#: Seconds between two looks for the wish.
LOOK = 0.2

Record = dict[str, Any]


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
        self.folder, self.seconds = folder, 60 * minutes
        self._saved = self._looked = time.monotonic()
        (folder / LAST).parent.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Whether it is time for a checkpoint, or somebody asked for one."""
        now = time.monotonic()
        if now - self._saved >= self.seconds:
            return True
        if now - self._looked < LOOK:
            return False
        self._looked = now
        return (self.folder / WISH).exists()

    def save(self, content: dict[str, Any], step: int) -> Record:
        """Write a checkpoint; at every moment there is a whole one on the disk.

        Returns
        -------
        record
            The event that says so.
        """
        last = self.folder / LAST
        aside = last.with_name(f".{last.name}")
        try:
            with aside.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                last.replace(self.folder / BEFORE)
            aside.replace(last)
        finally:
            aside.unlink(missing_ok=True)  # half a file would keep a full disk full
        self._saved = time.monotonic()
        with suppress(OSError):
            (self.folder / WISH).unlink(missing_ok=True)
        return {"event": "checkpoint", "path": LAST, "step": step}

    def load(self, device: torch.device) -> Generator[Record, None, dict[str, Any] | None]:
        """Read the newest whole checkpoint; the generator returns its content, or None.

        Yields
        ------
        dict
            A ``warning`` for a checkpoint that is torn or was altered.
        """
        self._sweep()
        found, broken = None, 0
        for path in (self.folder / LAST, self.folder / BEFORE):
            if not path.is_file():
                continue
            found = _read(path, device)
            if found is not None:
                break
            broken += 1
        if broken:
            where = f"the one before, of step {found['step']}" if found else "the beginning"
            yield {
                "event": "warning",
                "code": "checkpoint_damaged",
                "text": f"The newest checkpoint is damaged. Going on from {where}.",
            }
        return found

    def _sweep(self) -> None:
        """Remove what a killed process left half written."""
        for pattern in ("checkpoints/.*", "artifacts/.*"):
            for path in self.folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _read(path: Path, device: torch.device) -> dict[str, Any] | None:
    # torch.load does not look at the checksums.
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, UnicodeDecodeError):
        return None
    return content
