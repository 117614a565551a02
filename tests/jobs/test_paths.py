"""One module names the files of a job."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import napari_graphflow
from napari_graphflow.jobs.paths import JobPaths

PACKAGE = Path(napari_graphflow.__file__).parent
NAMES = {
    part
    for path in vars(JobPaths(Path())).values()
    for part in (path.parts if isinstance(path, Path) else ())
}
#: Those that mean nothing else wherever they stand; the others only count where a path is joined.
UNMISTAKABLE = {name for name in NAMES if "." in name or "_" in name} | {"artifacts", "checkpoints"}


def spelled_names(source: str) -> Iterator[str]:
    """The names of files of a job that stand in strings of a module, its docstrings left out."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text, names = node, UNMISTAKABLE
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            text, names = node.right, NAMES
        if (
            isinstance(text, ast.Constant)
            and isinstance(text.value, str)
            and id(text) not in documentation
        ):
            yield from names.intersection(PurePosixPath(text.value).parts)


@pytest.mark.parametrize(
    "source",
    [
        'FILE = "job.json"',
        'path = folder / "model"',
        'BEST = "checkpoints/best.safetensors"',
        'root.glob("*/artifacts/model/model.json")',
        'print(f"{folder}/log.txt")',
    ],
)
def test_a_spelled_path_of_a_job_is_found(source: str) -> None:
    assert list(spelled_names(source))


def test_a_word_that_is_no_path_of_a_job_is_not_found() -> None:
    assert not list(spelled_names('"""See ``job.json``."""\nkind = "model"\nrunner = "slurm"'))


def test_only_job_paths_spells_the_names_of_a_jobs_files() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "jobs" / "paths.py"]
    assert len(modules) > 100, "the modules were not found"
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in modules
        if (names := sorted(spelled_names(path.read_text("utf-8"))))
    }
    assert found == {}


def test_portable_files_leave_out_what_belongs_to_one_computer(tmp_path: Path) -> None:
    paths = JobPaths(tmp_path)
    portable = [paths.last_checkpoint, paths.events_file, paths.preview_case, paths.manifest]
    local = [paths.spec_file, paths.lock_file, paths.request_file("pause"), paths.reserve]
    for path in (*portable, *local, paths.cache / "0" / "image.npy", paths.slurm / "log"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert paths.portable_files() == {paths.relative(path): path for path in portable}
