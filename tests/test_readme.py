"""The commands in the documentation are valid."""

import json
import re
import shlex
from pathlib import Path

import pytest

from napari_graphflow.cli import app
from napari_graphflow.cli.config_file import config_of

CHECKOUT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(path.relative_to(CHECKOUT).as_posix() for path in sorted((CHECKOUT / "docs").rglob("*.md"))),
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
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
def test_a_documented_command_is_valid(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"dataset": "data", "teacher": "model"}
    (tmp_path / "JOB").mkdir()
    job = {"kind": "distill", "config": settings}
    (tmp_path / "JOB" / "job.json").write_text(json.dumps(job), "utf-8")
    (tmp_path / "run.yaml").write_text("dataset: data", "utf-8")
    arguments = shlex.split(command)
    monkeypatch.setattr(app, "config", config_of(arguments))
    app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_documented_make_targets_exist(page: str) -> None:
    makefile = (CHECKOUT / "Makefile").read_text("utf-8")
    documented = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", (CHECKOUT / page).read_text("utf-8"), re.MULTILINE)
    )
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert "demo" in documented
    assert documented - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_of_the_repository(page: str) -> None:
    here = (CHECKOUT / page).parent
    made = {"commands.md", "tutorial.md"}  # by docs/hooks.py
    targets = set(LINK.findall((CHECKOUT / page).read_text("utf-8"))) - made
    broken = {one for one in targets if "://" not in one and not (here / one).exists()}
    assert broken == set()


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = (CHECKOUT / "mkdocs.yml").read_text("utf-8")
    listed = set(re.findall(r"- ([\w/]+\.md)$", site, re.MULTILINE))
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert listed == pages | {"commands.md", "tutorial.md"}


def test_the_readme_fits_on_two_screens() -> None:
    assert len((CHECKOUT / "README.md").read_text("utf-8").splitlines()) <= 80
