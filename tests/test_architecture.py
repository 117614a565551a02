"""The window never loads torch; seen in a fresh interpreter, where late imports show as well.

import-linter checks the same contracts on the source (``make lint``). What it cannot see is what
other packages load for us.
"""

import json
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import napari_graphflow

HEAVY = ("torch", "monai", "lightning_fabric", "safetensors", "openvino")
WINDOW = ("napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "vispy")
CHECKOUT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
CONTRACTS = {one["name"]: one for one in PYPROJECT["tool"]["importlinter"]["contracts"]}
TORCH_FREE = CONTRACTS["The window's process never loads torch"]["source_modules"]

IMPORT_ONE_BY_ONE = """
import importlib, json, sys
modules, unwanted = json.loads(sys.argv[1])
for module in modules:
    importlib.import_module(module)
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & set(unwanted))
    if loaded:
        raise SystemExit(f"{module} loads {', '.join(loaded)}")
print(len(sys.modules))
"""


def import_in_fresh_interpreter(modules: list[str], unwanted: tuple[str, ...]) -> int:
    """Import modules one after the other; fail with the name of the first that loads too much."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ONE_BY_ONE, json.dumps([modules, unwanted])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def submodules(package: str) -> list[str]:
    """Names of all modules of the package, found without importing any of them."""
    paths = [str(Path(path, *package.split(".")[1:])) for path in napari_graphflow.__path__]
    return [package, *(module.name for module in pkgutil.walk_packages(paths, f"{package}."))]


def test_the_fresh_interpreter_sees_a_heavy_import() -> None:
    with pytest.raises(AssertionError, match=r"napari_graphflow\.models\.saved loads .*torch"):
        import_in_fresh_interpreter(["napari_graphflow.models.saved"], HEAVY)


def test_importing_the_package_loads_nothing_else() -> None:
    bare = import_in_fresh_interpreter([], ())
    assert import_in_fresh_interpreter(["napari_graphflow"], HEAVY + WINDOW) == bare + 1


def test_rooms_below_the_plugin_load_neither_torch_nor_napari() -> None:
    rooms = [room for room in TORCH_FREE if room != "napari_graphflow.plugin"]
    modules = [name for room in rooms for name in submodules(room)]
    assert len(modules) > 60, "the modules were not found"
    import_in_fresh_interpreter([*modules, "napari_graphflow.cli"], HEAVY + WINDOW)


def test_plugin_modules_do_not_load_torch() -> None:
    modules = submodules("napari_graphflow.plugin")
    assert len(modules) > 30, "the plugin's modules were not found"
    import_in_fresh_interpreter(modules, HEAVY)
