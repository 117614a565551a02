"""Packaging: the manifest, the base install, the version."""

import re
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

from npe2 import PluginManifest
from packaging.requirements import Requirement
from packaging.version import Version

import napari_graphflow

CHECKOUT = Path(__file__).parent.parent
PACKAGE = Path(napari_graphflow.__file__).parent


def test_the_installed_manifest_is_valid_and_has_the_name_of_the_distribution() -> None:
    manifest = PluginManifest.from_distribution("napari-graphflow")
    assert manifest.name == "napari-graphflow"
    assert manifest.package_version == version("napari-graphflow")


def test_every_command_of_the_manifest_is_used_by_a_contribution() -> None:
    contributions = PluginManifest.from_distribution("napari-graphflow").contributions
    used = {
        entry.command
        for kind in (
            contributions.readers,
            contributions.writers,
            contributions.widgets,
            contributions.sample_data,
        )
        for entry in kind or []
    }
    assert {command.id for command in contributions.commands} == used


def test_the_top_level_manifest_is_a_link_to_the_one_in_the_package() -> None:
    link = CHECKOUT / "napari.yaml"
    assert link.is_symlink()
    assert link.resolve() == (PACKAGE / "napari.yaml").resolve()


def test_the_base_install_requires_neither_napari_nor_a_qt_binding_nor_torch() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = {Requirement(one).name.lower() for one in project["dependencies"]}
    assert "numpy" in base
    assert not base & {"napari", "qtpy", "pyqt5", "pyqt6", "pyside6", "torch", "monai"}
    window = {Requirement(one).name.lower() for one in extras["window"]}
    assert {"napari", "magicgui", "qtpy", "superqt"} == window
    for binding in ("pyqt5", "pyqt6"):
        assert "napari-graphflow[window]" in extras[binding], "one name installs the window"


def test_the_console_script_runs_the_command_line() -> None:
    (script,) = entry_points(group="console_scripts", name="napari-graphflow")
    assert script.value == "napari_graphflow.cli:main"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    installed = Version(napari_graphflow.__version__)  # 0.1.dev7 without a tag
    changelog = (CHECKOUT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## ([\d.]+)", changelog, re.MULTILINE)
    described = [Version(one).release for one in headings]
    length = len(installed.release)
    assert installed.release in {one[:length] for one in described}


def test_the_version_is_the_one_that_was_installed() -> None:
    assert napari_graphflow.__version__ == version("napari-graphflow")
    assert "__version__" in dir(napari_graphflow)
