"""``demo``: the main job from end to end on the sample data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_graphflow.cli.terminal import console, follow, output


def demo(
    out: Path = Path("demo"), *, window: Annotated[bool, Parameter(negative="--no-window")] = True
) -> int:
    """Train a teacher, distil a student, train the student alone, compare all three.

    Parameters
    ----------
    out
        Receives the models, ``report.html`` and its pictures; what is there is not done again.
    window
        Open napari on the result at the end; without a screen a virtual one is used, and its
        picture is saved as ``screenshot.png``.
    """
    from napari_graphflow.cli import demo_run

    code = demo_run.run(out, follow, lambda text: console.print(text, style="bold"))
    if code:
        return code
    output.print(f"report: {out / 'report.html'}")
    return _show(out) if window else 0


def _show(out: Path) -> int:
    """Open napari in a process of its own, which may load Qt; this one has loaded torch."""
    command = [sys.executable, "-m", "napari_graphflow.plugin.compare.show_demo", str(out)]
    screen = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not screen:
        virtual = shutil.which("xvfb-run")
        if virtual is None:
            console.print("There is no screen, so napari is not opened.")
            return 0
        picture = out / "screenshot.png"
        command = [virtual, "-a", "-s", "-screen 0 1600x1000x24", *command]
        command += ["--screenshot", str(picture)]
        output.print(f"screenshot: {picture}")
    return subprocess.run(command, check=False).returncode
