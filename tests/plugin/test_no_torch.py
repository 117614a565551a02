"""Opening the docks in a new interpreter imports neither torch nor what delays the first dock."""

import subprocess
import sys

import pytest

OPEN_ALL_DOCKS = """
import importlib, pkgutil, sys
import napari
import napari_graphflow.plugin as plugin
from napari_graphflow.plugin.widgets import later

later.SLOW = ()  # imported in a thread soon after the first dock has opened

viewer = napari.Viewer(show=True)
names = ("Volume", "Segment", "Dataset", "Distil", "Jobs", "Compare", "Tutorial")
slow = {"SimpleITK", "pydicom", "pyqtgraph", "scipy.ndimage", "PIL.Image", "tifffile", "jinja2"}
slow -= set(sys.modules)  # those of napari
for name in names:
    viewer.window.add_plugin_dock_widget("napari-graphflow", name)
    loaded = sorted(slow & set(sys.modules))
    assert not loaded, f"{name} waits for {loaded}"
for module in pkgutil.walk_packages(plugin.__path__, plugin.__name__ + "."):
    importlib.import_module(module.name)
viewer.open_sample("napari-graphflow", "abdomen-labelled")
assert len(viewer.layers) == 2, viewer.layers
for name in names:
    dock, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", name)
    widget.show()
    napari.qt.get_qapp().processEvents()
loaded = sorted({"torch", "monai", "lightning_fabric", "safetensors"} & set(sys.modules))
assert not loaded, f"loaded: {loaded}"
viewer.close()
print("opened")
"""


@pytest.mark.usefixtures("home")
def test_docks_open_without_torch_and_without_what_takes_long_to_import() -> None:
    run = subprocess.run(
        [sys.executable, "-c", OPEN_ALL_DOCKS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "opened" in run.stdout
