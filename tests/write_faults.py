"""Faults of writing below a folder: every attempt to create, rename or open for writing fails."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class _Faults:
    """An audit hook, which cannot be removed, so that it is switched on and off."""

    def __init__(self) -> None:
        self.folder = ""
        self.number = 0
        self.after_test = False
        self.added = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or event not in ("open", "os.mkdir", "os.rename"):
            return
        path = arguments[1] if event == "os.rename" else arguments[0]
        if not isinstance(path, str | os.PathLike):
            return
        path = Path(os.fsdecode(path)).absolute()
        text = str(path)
        if not text.startswith(self.folder) or (event == "open" and not _is_writing(arguments)):
            return
        if self.after_test and path.name.startswith(".test."):
            return
        raise OSError(self.number, os.strerror(self.number), text)


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return any(letter in mode for letter in "wxa+") if mode else bool(flags & _WRITES)


_faults = _Faults()


@contextmanager
def failing(folder: Path, number: int, *, after_test: bool = False) -> Iterator[None]:
    """Fail all writing below a folder with an error number.

    Parameters
    ----------
    after_test
        Whether the test of `require_writable` succeeds, as if the fault came during the work.
    """
    if not _faults.added:
        sys.addaudithook(_faults)
        _faults.added = True
    _faults.folder, _faults.number, _faults.after_test = str(folder), number, after_test
    try:
        yield
    finally:
        _faults.folder = ""
