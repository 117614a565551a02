"""Checks of the installed wheel outside the checkout.

``python -I installed.py base`` needs only the base install; ``window`` also needs a Qt binding,
OpenVINO, and a student with its OpenVINO form in ``home/models/student``.
"""

import os
import subprocess
import sys
import time
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import napari_graphflow
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing

PACKAGE = Path(napari_graphflow.__file__).parent
#: MB of the base install, and seconds of ``--help`` on a busy machine.
LARGEST_BASE, SLOWEST_HELP = 900, 30
PROGRAM = Path(sys.executable).parent / "napari-graphflow"


def scan() -> Path:
    samples = list(PACKAGE.glob("sample_data/**/abdomen/dataset.json"))
    assert samples, "the wheel has no sample data"
    return next(samples[0].parent.glob("imagesTs/*"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)


def base() -> None:
    assert PACKAGE.is_relative_to(sys.prefix), f"{PACKAGE} is not the installed package"

    names = {distribution.name.lower() for distribution in distributions()}
    unwanted = names & {"napari", "qtpy", "pyqt5", "pyqt6", "pyside2", "pyside6", "torch", "monai"}
    assert not unwanted, f"the base install includes {unwanted}"

    run("--help")  # compiles what it imports
    began = time.perf_counter()
    shown = run("--help")
    seconds = time.perf_counter() - began
    assert shown.returncode == 0, shown.stderr
    packages = PACKAGE.parent
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file()) / 2**20
    assert size < LARGEST_BASE, f"the base install has {size:.0f} MB"
    assert seconds < SLOWEST_HELP, f"--help took {seconds:.1f} s"
    assert "segment" in shown.stdout, shown.stdout

    card = ModelCard(
        name="student", role="student", network="enet", dims=3, in_channels=1,
        classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16),
        preprocessing=Preprocessing(intensity="zscore"),
    )  # fmt: skip
    model = Path("student")
    model.mkdir()
    (model / "model.json").write_text(card.model_dump_json())
    refused = run("segment", str(scan()), "--model", str(model), "--out", "masks")
    message = (refused.stdout + refused.stderr).strip()
    assert refused.returncode == 2, (refused.returncode, message)
    assert "[train]" in message, message
    assert "Traceback" not in message, message
    print(f"base install: {size:.0f} MB, --help in {seconds:.1f} s; segment reports:", message)


def window() -> object:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-graphflow")
    commands = manifest.contributions.commands
    assert commands, "the manifest has no commands"
    manifest.validate_imports()
    loaded = {"torch", "monai", "lightning_fabric"} & set(sys.modules)
    assert not loaded, f"the plugin's commands loaded {loaded}"
    assert find_spec("torch") is None
    assert find_spec("monai") is None
    print(f"window: {len(commands)} commands of the manifest import without torch")
    return segment_without_torch()


def segment_without_torch() -> object:
    """Segment a scan with a student's folder, on the command line and by clicks.

    Returns Qt's application, which must live until the worker is closed at exit.
    """
    os.environ |= {"GRAPHFLOW_HOME": str(Path("home").resolve()), "QT_QPA_PLATFORM": "offscreen"}
    student, image = Path("home/models/student").resolve(), scan()
    done = run("segment", str(image), "--model", str(student), "--out", "mask.nii.gz")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OpenVINO" in done.stdout, done.stdout

    from napari.components import ViewerModel
    from napari.layers import Labels
    from npe2 import PluginManager
    from qtpy.QtWidgets import QApplication

    from napari_graphflow import read_volume
    from napari_graphflow.plugin.segment.widget import SegmentWidget

    PluginManager.instance().discover()
    application, viewer = QApplication([]), ViewerModel()
    viewer.open(str(image), plugin="napari-graphflow")
    widget = SegmentWidget(viewer)
    widget.model.choose(student)
    widget.button.click()
    until = time.monotonic() + 60
    while widget.running and time.monotonic() < until:
        application.processEvents()
        time.sleep(0.01)
    masks = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    assert masks, widget.status.text()
    found = read_volume("mask.nii.gz").array
    assert masks[0].data.sum() == found.sum(), "window and command line differ"
    print("window: segments without torch:", widget.status.text())
    return application


if __name__ == "__main__":
    kept = {"base": base, "window": window}[sys.argv[1]]()
