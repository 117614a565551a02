"""Opening every dock in a new interpreter does not import torch."""

import subprocess
import sys

import pytest

OPEN_ALL_DOCKS = """
import importlib, pkgutil, sys
import napari
import napari_graphflow.plugin as plugin

for module in pkgutil.walk_packages(plugin.__path__, plugin.__name__ + "."):
    importlib.import_module(module.name)
viewer = napari.Viewer(show=True)
viewer.open_sample("napari-graphflow", "abdomen-labelled")
assert len(viewer.layers) == 2, viewer.layers
for name in ("Segment", "Dataset", "Distil", "Compare"):
    dock, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", name)
    widget.show()
    napari.qt.get_qapp().processEvents()
loaded = sorted({"torch", "monai", "lightning_fabric", "safetensors"} & set(sys.modules))
assert not loaded, f"loaded: {loaded}"
viewer.close()
print("opened")
"""


@pytest.mark.usefixtures("home")
def test_opening_every_dock_does_not_import_torch() -> None:
    run = subprocess.run(
        [sys.executable, "-c", OPEN_ALL_DOCKS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "opened" in run.stdout
