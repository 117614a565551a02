"""The window never loads torch; seen in a fresh interpreter, where late imports show as well.

import-linter checks the same contracts on the source (``make lint``). What it cannot see is what
other packages load for us.
"""

import json
import pkgutil
import subprocess
import sys

import pytest

import napari_graphflow

HEAVY = ("torch", "monai", "lightning_fabric", "safetensors", "openvino")
WINDOW = ("napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "vispy")
TORCH_FREE = (
    "errors",
    "system",
    "formats",
    "masks",
    "samples",
    "config",
    "volume",
    "description",
    "failures",
    "preprocessing",
    "networks",
    "dataset",
    "metrics",
    "jobs",
    "worker",
    "cli",
)

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
    paths = [f"{path}/{package}" for path in napari_graphflow.__path__]
    prefix = f"napari_graphflow.{package}."
    return [module.name for module in pkgutil.walk_packages(paths, prefix)]


def test_the_fresh_interpreter_sees_a_heavy_import() -> None:
    with pytest.raises(AssertionError, match=r"napari_graphflow\.model loads .*torch"):
        import_in_fresh_interpreter(["napari_graphflow.model"], HEAVY)


def test_importing_the_package_loads_nothing_else() -> None:
    bare = import_in_fresh_interpreter([], ())
    assert import_in_fresh_interpreter(["napari_graphflow"], HEAVY + WINDOW) == bare + 1


def test_core_and_command_line_load_neither_torch_nor_napari() -> None:
    modules = [f"napari_graphflow.{name}" for name in TORCH_FREE]
    import_in_fresh_interpreter(modules, HEAVY + WINDOW)


def test_plugin_modules_do_not_load_torch() -> None:
    modules = submodules("plugin")
    assert len(modules) >= 3, "the plugin's modules were not found"
    import_in_fresh_interpreter(modules, HEAVY)
