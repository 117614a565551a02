"""Only one module contains the names of a job's files."""

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
#: Unambiguous names; the others count only where a path is joined.
UNAMBIGUOUS = {name for name in NAMES if "." in name or "_" in name} | {"artifacts", "checkpoints"}


def hard_coded_names(source: str) -> Iterator[str]:
    """Find the names of a job's files in the strings of a module, except docstrings."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text, names = node, UNAMBIGUOUS
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
def test_a_hard_coded_path_of_a_job_is_found(source: str) -> None:
    assert list(hard_coded_names(source))


def test_a_string_that_is_not_a_path_of_a_job_is_not_found() -> None:
    assert not list(hard_coded_names('"""See ``job.json``."""\nkind = "model"\nrunner = "slurm"'))


def test_only_job_paths_contains_the_names_of_a_jobs_files() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "jobs" / "paths.py"]
    assert len(modules) > 100, "the modules were not found"
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in modules
        if (names := sorted(hard_coded_names(path.read_text("utf-8"))))
    }
    assert found == {}


def test_portable_files_leave_out_files_of_one_computer(tmp_path: Path) -> None:
    paths = JobPaths(tmp_path)
    portable = [paths.last_checkpoint, paths.events_file, paths.preview_case, paths.manifest]
    local = [paths.spec_file, paths.lock_file, paths.request_file("pause"), paths.reserve]
    for path in (*portable, *local, paths.cache / "0" / "image.npy", paths.slurm / "log"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert paths.portable_files() == {paths.relative(path): path for path in portable}
