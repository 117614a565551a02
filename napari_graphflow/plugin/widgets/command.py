"""A command of ``napari-graphflow`` in a process of its own, which may import torch."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QObject, QProcess

from napari_graphflow.errors import UserError
from napari_graphflow.system.failures import Failure


class Command(QObject):
    """Runs one command at a time and parses its JSON output."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._process = QProcess(self)
        self._process.finished.connect(self._ended)
        self._done: Callable[[Any], None] | None = None
        self._failed: Callable[[Exception], None] = lambda _: None

    @property
    def running(self) -> bool:
        """Whether the command has not ended."""
        return self._done is not None

    def run(
        self,
        words: Sequence[str],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Start a command; call `done` with its output, or `failed` with a `UserError`."""
        self._done, self._failed = done, failed
        self._process.start(sys.executable, ["-m", "napari_graphflow", *words, "--json"])

    def stop(self) -> None:
        """Kill the command; nothing is called afterwards."""
        self._done = None
        self._process.kill()
        self._process.waitForFinished(2000)

    def _ended(self) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        output = bytes(self._process.readAllStandardOutput()).decode("utf-8", "replace").strip()
        try:
            reply = json.loads(output)
        except ValueError:
            self._failed(UserError("The command ended unexpectedly.", "Try it in a terminal."))
            return
        if isinstance(reply, dict) and "failure" in reply:
            failure = Failure.model_validate(reply["failure"])
            self._failed(UserError(failure.text, failure.remedy))
            return
        done(reply)
