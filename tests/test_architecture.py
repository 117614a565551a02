"""The process of the window never imports torch, tested in a fresh interpreter.

import-linter checks the same contracts on the source (``make lint``), but not what other packages
import.
"""

import json
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
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
        raise SystemExit(f"{module} imports {', '.join(loaded)}")
print(len(sys.modules))
"""


def import_in_fresh_interpreter(modules: list[str], unwanted: tuple[str, ...]) -> int:
    """Import modules one by one; fail with the name of the first that imports an unwanted one."""
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
    """Return the names of all modules of a package without importing them."""
    paths = [str(Path(path, *package.split(".")[1:])) for path in napari_graphflow.__path__]
    return [package, *(module.name for module in pkgutil.walk_packages(paths, f"{package}."))]


def import_cycle(modules: Iterable[str], imported_by: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the first import cycle, including late imports; empty if there is none."""
    try:
        TopologicalSorter({module: imported_by(module) for module in modules}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_package_has_no_import_cycles() -> None:
    graph = grimp.build_graph("napari_graphflow", exclude_type_checking_imports=True)
    assert len(graph.modules) > 100, "the modules were not found"
    assert import_cycle(graph.modules, graph.find_modules_directly_imported_by) == []


def test_a_cycle_of_three_modules_is_found() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert set(import_cycle(imports, imports.__getitem__)) == {"a", "b", "c"}


def test_the_top_level_contains_three_modules_and_the_rooms() -> None:
    top = CHECKOUT / "napari_graphflow"
    assert {path.name for path in top.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}
    folders = {path.name for path in top.iterdir() if path.is_dir()} - {"__pycache__"}
    layers = " | ".join(CONTRACTS["Layers"]["layers"]).split(" | ")
    rooms = {layer for layer in layers if not layer.startswith("(")} - {"__main__", "errors"}
    assert folders == rooms


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*(CHECKOUT / "napari_graphflow").rglob("*.py"), *(CHECKOUT / "tests").rglob("*.py")]
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in files}
    assert [str(file) for file, length in lengths.items() if length > 400] == []


def test_folders_of_tests_are_named_after_rooms() -> None:
    here = CHECKOUT / "tests"
    folders = {path.parent.relative_to(here).parts[:1] for path in here.rglob("test_*.py")}
    rooms = {(path.name,) for path in (CHECKOUT / "napari_graphflow").iterdir() if path.is_dir()}
    assert folders - {()} <= rooms


def test_an_import_of_torch_is_detected() -> None:
    with pytest.raises(AssertionError, match=r"napari_graphflow\.models\.saved imports .*torch"):
        import_in_fresh_interpreter(["napari_graphflow.models.saved"], HEAVY)


def test_importing_the_package_imports_nothing_else() -> None:
    bare = import_in_fresh_interpreter([], ())
    assert import_in_fresh_interpreter(["napari_graphflow"], HEAVY + WINDOW) == bare + 1


def test_rooms_without_torch_import_neither_torch_nor_napari() -> None:
    rooms = [room for room in TORCH_FREE if room != "napari_graphflow.plugin"]
    modules = [name for room in rooms for name in submodules(room)]
    assert len(modules) > 60, "the modules were not found"
    import_in_fresh_interpreter([*modules, "napari_graphflow.cli"], HEAVY + WINDOW)


def test_plugin_modules_do_not_import_torch() -> None:
    modules = submodules("napari_graphflow.plugin")
    assert len(modules) > 30, "the plugin's modules were not found"
    import_in_fresh_interpreter(modules, HEAVY)
