"""Checks of the installed wheel outside the checkout.

``python -I installed.py base`` needs only the base install; ``window`` also needs a Qt binding.
"""

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

    samples = list(PACKAGE.glob("sample_data/**/dataset.json"))
    assert samples, "the wheel has no sample data"
    image = next(samples[0].parent.glob("imagesTs/*"))
    card = ModelCard(
        name="student", role="student", network="enet", dims=3, in_channels=1,
        classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16),
        preprocessing=Preprocessing(intensity="zscore"),
    )  # fmt: skip
    model = Path("student")
    model.mkdir()
    (model / "model.json").write_text(card.model_dump_json())
    refused = run("segment", str(image), "--model", str(model), "--out", "masks")
    message = (refused.stdout + refused.stderr).strip()
    assert refused.returncode == 2, (refused.returncode, message)
    assert "[train]" in message, message
    assert "Traceback" not in message, message
    print(f"base install: {size:.0f} MB, --help in {seconds:.1f} s; segment reports:", message)


def window() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-graphflow")
    commands = manifest.contributions.commands
    assert commands, "the manifest has no commands"
    manifest.validate_imports()
    loaded = {"torch", "monai", "lightning_fabric"} & set(sys.modules)
    assert not loaded, f"the plugin's commands loaded {loaded}"
    assert find_spec("torch") is None
    print(f"window: {len(commands)} commands of the manifest import without torch")


if __name__ == "__main__":
    {"base": base, "window": window}[sys.argv[1]]()
