"""The Python of the documentation runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def code_of(page: str) -> str:
    """Return the Python of a page in one piece, with trainings of two steps by a poor teacher."""
    code = "\n".join(FENCE.findall((CHECKOUT / page).read_text("utf-8")))
    return re.sub(r"steps=\d+", "steps=2", code)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # what a mask of two steps deserves
def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of("docs/python.md"), "docs/python.md", "exec"), {"__name__": "page"})
    assert (tmp_path / "mask.nii.gz").is_file()
    assert (tmp_path / "models" / "student" / "model.json").is_file()


def test_the_first_student_takes_fifteen_lines_of_python() -> None:
    first = FENCE.search((CHECKOUT / "docs" / "python.md").read_text("utf-8"))
    assert first is not None
    assert len([line for line in first[1].splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "napari-graphflow distill" in (tmp_path / "commands.html").read_text("utf-8")
    assert "WARNING" not in built.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_student", "losses"])
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"steps=\d+", "steps=2", cell.source)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
