"""``demo``: the complete workflow on the sample data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_graphflow.cli.terminal import console, follow, output
from napari_graphflow.system.destinations import require_writable


def demo(
    out: Path = Path("demo"), *, window: Annotated[bool, Parameter(negative="--no-window")] = True
) -> int:
    """Train a teacher, distil a student, train the same student alone and compare all three.

    Parameters
    ----------
    out
        Output folder for the models, ``report.html`` and its images; finished models are reused.
    window
        Open the results in napari at the end. Without a display, a virtual one is used and a
        screenshot is saved as ``screenshot.png``.
    """
    from napari_graphflow.cli import demo_run

    require_writable([out / "report.html"])
    code = demo_run.run(out, follow, lambda text: console.print(text, style="bold"))
    if code:
        return code
    output.print(f"report: {out / 'report.html'}")
    return _show(out) if window else 0


def _show(out: Path) -> int:
    """Open napari in a separate process, because this one has already imported torch."""
    command = [sys.executable, "-m", "napari_graphflow.plugin.compare.show_demo", str(out)]
    display = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not display:
        virtual = shutil.which("xvfb-run")
        if virtual is None:
            console.print("No display found, so napari was not opened.")
            return 0
        screenshot = out / "screenshot.png"
        command = [virtual, "-a", "-s", "-screen 0 1600x1000x24", *command]
        command += ["--screenshot", str(screenshot)]
        output.print(f"screenshot: {screenshot}")
    return subprocess.run(command, check=False).returncode
