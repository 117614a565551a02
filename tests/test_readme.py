"""Every command that the documentation shows is one that the program understands."""

import re
import shlex
from pathlib import Path

import pytest

from napari_graphflow.cli import app

CHECKOUT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/volumes.md")
COMMAND = re.compile(r"^napari-graphflow (.+)$|`napari-graphflow ([^`|]+)`", re.MULTILINE)


def shown_commands() -> list[str]:
    """Commands in code blocks, and between backticks."""
    return sorted(
        {
            match.group(1) or match.group(2)
            for page in PAGES
            for match in COMMAND.finditer((CHECKOUT / page).read_text("utf-8"))
        }
    )


def test_the_pages_show_the_main_commands() -> None:
    verbs = {command.split()[0] for command in shown_commands()}
    assert {"datasets", "train", "distill", "segment", "evaluate", "jobs"} <= verbs


@pytest.mark.parametrize("command", shown_commands())
def test_the_program_understands(command: str) -> None:
    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_chore_shown_is_a_target_of_the_makefile(page: str) -> None:
    makefile = (CHECKOUT / "Makefile").read_text("utf-8")
    chores = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (CHECKOUT / page).read_text("utf-8"), re.MULTILINE)
    )
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert "demo" in chores
    assert chores - targets == set()
