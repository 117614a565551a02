"""The code of the pages runs: as it is written, on small data with small networks.

Jobs run in this process, with two steps. What is not run, or not by every test run, is listed here.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_cases import CHECKOUT, PAGES, code_of, commands_of, make_job, run_jobs_here, write_files

from napari_graphflow.cli import app, main
from napari_graphflow.cli.config_file import config_of

#: Beginnings of commands that are never run, and why. Commands of this project are parsed instead.
NOT_RUN = {
    "make ": "runs for minutes, or is this test",
    "pip install": "installs; its extra must exist",
    "torchrun": "starts processes with the real size of a job",
    "napari-graphflow distill --dataset DATA --teacher TEACHER --runner": "needs a cluster",
    "napari-graphflow train --config run.yaml --device cuda:1": "needs two GPUs",
}
#: Pages that only the slow test runs, as they take seconds.
SLOW_PAGES = (
    "docs/export.md",
    "docs/generalisable.md",
    "docs/labelling.md",
    "docs/teachers.md",
    "docs/howto/runs_as_files.md",
    "docs/howto/several_sites.md",
    "docs/howto/unlabelled.md",
)
#: Run by test_snippets.py, with real processes.
ELSEWHERE = ("docs/python.md",)
#: What is written otherwise here: networks have random weights, and the only case that was accepted
#: must be drawn for a second reading.
CHANGED = {"models import": "models import --force", "--share 0.1": "--share 1"}
#: Commands whose exit code says what they found about such a network.
FOUND_POOR = ("models check",)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader") / "files"
    write_files(folder)
    return folder


@pytest.fixture
def place(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader works."""
    place = tmp_path / "place"
    shutil.copytree(files, place)
    make_job(place)
    monkeypatch.chdir(place)
    run_jobs_here(monkeypatch)
    return place


@pytest.mark.filterwarnings("ignore::UserWarning")  # what a mask of two steps deserves
@pytest.mark.parametrize(
    "page", [one for one in PAGES if any(code_of(one)) and one not in {*SLOW_PAGES, *ELSEWHERE}]
)
def test_the_code_of_a_page_runs(page: str, place: Path) -> None:
    run_page(page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's exporters, too
@pytest.mark.parametrize("page", SLOW_PAGES)
def test_the_slow_code_of_a_page_runs(page: str, place: Path) -> None:
    if page == "docs/teachers.md":
        from docs_teachers import write_teachers

        write_teachers(place)
    run_page(page)


def run_page(page: str) -> None:
    """Run all code of a page, in its order."""
    for language, block in code_of(page):
        if language == "python":
            for out in re.findall(r'(?:out=|import_teacher\(\w+, )"([^"]+)"', block):
                remove(Path(out))
            exec(compile(block, page, "exec"), {"__name__": "page"})
        elif language == "yaml":
            Path("run.yaml").write_text(block, "utf-8")
        elif language == "sh":
            for command in commands_of(block):
                run(command)


def run(command: str) -> None:
    """Run a command, or check what can be checked of it."""
    for old, new in CHANGED.items():
        command = command.replace(old, new)
    words = shlex.split(command)
    if command.startswith(tuple(NOT_RUN)):
        check(words)
    elif words[0] == "napari-graphflow":
        for result in results_of(words):
            remove(result)
        with pytest.raises(SystemExit) as end:
            main(words[1:])
        poor = command.startswith(tuple(f"{words[0]} {one}" for one in FOUND_POOR))
        assert end.value.code == 0 or poor, command
    else:
        words = [sys.executable if word == "python" else word for word in words]
        subprocess.run(words, check=True)


def check(words: list[str]) -> None:
    """Check a command that is not run: its options, its extra or its target must exist."""
    if words[0] == "torchrun":
        words = ["napari-graphflow", *words[words.index("napari_graphflow") + 1 :]]
    if words[0] == "napari-graphflow":
        app.config = config_of(words[1:])
        app.parse_args(words[1:], exit_on_error=False, print_error=False)
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (CHECKOUT / "Makefile").read_text("utf-8"), words
    else:
        extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
        known = set(extras["project"]["optional-dependencies"])
        asked = re.findall(r"napari-graphflow\[([\w,-]+)\]", " ".join(words))
        assert {extra for one in asked for extra in one.split(",")} <= known, words


def results_of(words: list[str]) -> Iterator[Path]:
    """Yield what a command writes, which the reader does not have yet."""
    for option in ("--out", "--report"):
        if option in words:
            yield Path(words[words.index(option) + 1])
    if words[1:3] == ["volumes", "convert"]:
        yield Path(words[4])


def remove(result: Path) -> None:
    if result.is_dir():
        shutil.rmtree(result)
    else:
        result.unlink(missing_ok=True)


def test_each_exception_is_needed() -> None:
    shown = [one for page in PAGES for kind, block in code_of(page) if kind == "sh"
             for one in commands_of(block)]  # fmt: skip
    for start in (*NOT_RUN, *CHANGED, *FOUND_POOR):
        assert any(start in command for command in shown), start
