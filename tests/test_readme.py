"""The commands in the documentation are valid."""

import re
import shlex
from pathlib import Path

import pytest

from napari_graphflow.cli import app

CHECKOUT = Path(__file__).parent.parent
PAGES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/volumes.md", "docs/labelling.md",
    "docs/export.md", "docs/speed.md", "docs/teachers.md",
)  # fmt: skip
COMMAND = re.compile(r"^napari-graphflow (.+)$|`napari-graphflow ([^`|]+)`", re.MULTILINE)


def shown_commands() -> list[str]:
    """Return the commands in code blocks and between backticks."""
    return sorted(
        {
            match.group(1) or match.group(2)
            for page in PAGES
            for match in COMMAND.finditer((CHECKOUT / page).read_text("utf-8"))
        }
    )


def test_the_documentation_shows_the_main_commands() -> None:
    verbs = {command.split()[0] for command in shown_commands()}
    assert {"datasets", "train", "distill", "segment", "evaluate", "jobs"} <= verbs


@pytest.mark.parametrize("command", shown_commands())
def test_a_documented_command_is_valid(command: str) -> None:
    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_documented_make_targets_exist(page: str) -> None:
    makefile = (CHECKOUT / "Makefile").read_text("utf-8")
    documented = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (CHECKOUT / page).read_text("utf-8"), re.MULTILINE)
    )
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert "demo" in documented
    assert documented - targets == set()
