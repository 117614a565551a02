"""``demo``: the complete workflow on the sample data."""

import math
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.terminal import console, follow, output
from napari_graphflow.evaluation.verdict import verdict
from napari_graphflow.system.destinations import require_writable
from napari_graphflow.system.install import install_hint


def demo(
    out: Path = Path("demo"),
    *,
    seeds: tuple[int, ...] = (0,),
    window: Annotated[bool, Parameter(negative="--no-window")] = True,
    config_file: ConfigFile = None,
) -> int:
    """Train a teacher, distil a student, train the same student alone and compare all three.

    On computed phantoms of liver, spleen and left kidney: the teacher learns from six masks, the
    students from two of them and from fourteen phantoms without a mask. The recipe was chosen with
    other seeds on other phantoms.

    Parameters
    ----------
    out
        Output folder for the models and the reports; finished models are reused.
    seeds
        Seeds of the students; report and window show the first. With several, the gain over all is
        printed, too; each adds two trainings.
    window
        Open the results in napari at the end. Without a display, a virtual one is used and a
        screenshot is saved as ``screenshot.png``.
    """
    from napari_graphflow.cli import demo_run

    require_writable([out / "report.html"])
    code, studies = demo_run.run(
        out, seeds, follow, lambda text: console.print(text, style="bold", soft_wrap=True)
    )
    if code:
        return code
    table = Table("seed", "teacher", "student distilled", "student alone", "gain", box=None)
    for seed, study in studies.items():
        dice = [study.of_role(role) for role in ("teacher", "student", "alone")]
        values = [side.mean_dice if side is not None else math.nan for side in dice]
        cells = [f"{value:.3f}" for value in values]
        table.add_row(str(seed), *cells, f"{100 * (values[1] - values[2]):+.1f} points")
    output.print(table)
    output.print(verdict(studies[seeds[0]]), style="bold", soft_wrap=True)
    found = demo_run.gain(studies)
    if found is not None and found.low is not None and found.high is not None and len(seeds) > 1:
        output.print(
            f"Over {len(seeds)} seeds, distillation brings {100 * found.difference:+.1f} points of "
            f"Dice (95 % interval over {found.cases} cases {100 * found.low:+.1f} to "
            f"{100 * found.high:+.1f}).",
            soft_wrap=True,
        )
    output.print(f"report: {out / 'report.html'}")
    return _show(out) if window else 0


def _show(out: Path) -> int:
    """Open napari in a separate process, because this one has already imported torch."""
    if find_spec("napari") is None:
        console.print(f"napari is not installed, so it was not opened. {install_hint('window')}.")
        return 0
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
