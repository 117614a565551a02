"""Every command that writes, under every fault of writing: one sentence, nothing half written."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from export_cases import save
from labelling_cases import box, make_dataset, propose, volume
from write_faults import failing

from napari_graphflow.cli import app, main
from napari_graphflow.imaging.files import write_labels
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.labelling.store import Labelling

TOO_LONG = "n" * 300


@dataclass(frozen=True)
class Inputs:
    """What the commands read."""

    data: Path
    model: Path
    image: Path
    mask: Path
    masks: Path


Arguments = Callable[[Inputs, Path], list[object]]

#: Commands that write to a path of their own, which they get as the last argument of the function.
TO_A_PATH: dict[str, tuple[str, Arguments]] = {
    "volumes convert": ("scan.nrrd", lambda i, out: [i.image, out]),
    "datasets import": ("data", lambda i, out: ["--images", i.image.parent, "--out", out]),
    "datasets export-mask": ("mask.nii.gz", lambda i, out: [i.data, "scan_0", out]),
    "models import": (
        "model",
        lambda i, out: [
            i.model / "weights.safetensors",
            "--card",
            i.model / "model.json",
            "--out",
            out,
        ],
    ),
    "models ensemble": ("model", lambda i, out: [i.model, i.model, "--out", out]),
    "segment": ("mask.nii.gz", lambda i, out: [i.image, "--model", i.model, "--out", out]),
    "evaluate": (
        "scores",
        lambda i, out: [i.data, "--predictions", i.masks, "--split", "train", "--out", out],
    ),
    "compare": ("page.html", lambda i, out: [i.mask, i.mask, "--report", out]),
    "export": ("onnx", lambda i, out: [i.model, "--to", "onnx", "--out", out]),
    "train": ("model", lambda i, out: ["--dataset", i.data, "--steps", "2", "--out", out]),
    "distill": (
        "model",
        lambda i, out: ["--dataset", i.data, "--teacher", i.model, "--out", out],
    ),
    "plan": ("run.yaml", lambda i, out: ["--dataset", i.data, "--out", out]),
    "demo": ("demo", lambda i, out: [out, "--no-window"]),
}

#: Commands that write into a dataset or model that exists; the function gets its folder.
INTO_A_FOLDER: dict[str, tuple[str, Arguments]] = {
    "datasets accept": ("data", lambda i, at: [at, "scan_2"]),
    "datasets reject": ("data", lambda i, at: [at, "scan_2"]),
    "datasets flag": ("data", lambda i, at: [at, "scan_0"]),
    "datasets exclude": ("data", lambda i, at: [at, "scan_0"]),
    "datasets review": ("data", lambda i, at: [at, "scan_0"]),
    "datasets approve": ("data", lambda i, at: [at, "scan_0"]),
    "datasets reopen": ("data", lambda i, at: [at, "scan_3"]),
    "datasets reread": ("data", lambda i, at: [at, "--share", "0.5"]),
    "datasets take-mask": ("data", lambda i, at: [at, "scan_0", i.mask, "--source", "Slicer"]),
    "datasets agreement": (
        "data",
        lambda i, at: [at, "scan_1", "finished mask", "Ada", "--consensus", "majority"],
    ),
    "datasets ignore-empty-slices": ("data", lambda i, at: [at, "--cases", "scan_0"]),
    "datasets folds": ("data", lambda i, at: [at, "--number", "2"]),
    "propose": ("data", lambda i, at: [at, "--model", i.model]),
    "rounds start": ("data", lambda i, at: [at, "--masks-only", "--steps", "2"]),
    "models convert": ("model", lambda i, at: [at]),
    "models describe": ("model", lambda i, at: [at, "--dataset", i.data]),
}

#: Commands that write into the folder of jobs only, or only remove.
INTO_A_JOB = (
    "models remove", "jobs cancel", "jobs pause", "jobs checkpoint", "jobs resume", "jobs remove",
    "jobs trust", "jobs up", "jobs down", "jobs run", "jobs rerun", "jobs measure", "rounds undo",
)  # fmt: skip

#: Commands that only read; `jobs list` may start the next job, and says nothing if it cannot.
READING = (
    "volumes info", "datasets check", "datasets status", "datasets next", "datasets provenance",
    "rounds list", "rounds show", "networks", "models list", "models show", "models taps",
    "models check", "jobs list",
    "jobs show", "jobs logs", "jobs devices", "worker",
)  # fmt: skip

#: Faults that are there from the start.
NUMBERS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "vanished": errno.ENODEV}


def test_every_command_is_in_the_table() -> None:
    known = {*TO_A_PATH, *INTO_A_FOLDER, *INTO_A_JOB, *READING}
    assert set(_names(app)) == known


def _names(group: App, before: str = "") -> Iterator[str]:
    for name in group:
        if name.startswith("-"):
            continue
        command = group[name]
        children = [one for one in command if not one.startswith("-")]
        yield from _names(command, f"{before}{name} ") if children else [f"{before}{name}"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    data = make_dataset(root / "data")
    labelling = Labelling(data, "Ada")
    propose(labelling, "scan_2")
    labelling.step("scan_3", "flag")
    opened = labelling.open_case("scan_1")
    labelling.save_draft(opened, box(2))
    mask = root / "mask.nii.gz"
    write_labels(mask, box(1), volume(box(1)))
    model = save(root / "model", spacing=None)
    return Inputs(data, model, data / "imagesTr" / "scan_0_0000.nii.gz", mask, data / "labelsTr")


def fails(capsys: pytest.CaptureFixture[str], name: str, arguments: list[object]) -> str:
    """Run a command, which must fail with one sentence; return the sentence."""
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), *map(str, arguments)])
    said = capsys.readouterr().err
    assert ended.value.code in (2, 4, 6), said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said
    assert "Unexpected" not in line
    return line


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("fault", [*NUMBERS, "file as parent", "name too long"])
@pytest.mark.parametrize("name", TO_A_PATH)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    name: str, fault: str, inputs: Inputs, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    file, arguments = TO_A_PATH[name]
    folder = tmp_path / "out"
    folder.mkdir()
    if fault == "file as parent":
        (folder / "file").write_text("x")
        line = fails(capsys, name, arguments(inputs, folder / "file" / file))
        assert f"{folder / 'file'} is a file, not a folder" in line
        assert entries(folder) == ["file"]
        return
    if fault == "name too long":
        assert "too long" in fails(capsys, name, arguments(inputs, folder / f"{TOO_LONG}{file}"))
        assert entries(folder) == []
        return
    with failing(folder, NUMBERS[fault]):
        line = fails(capsys, name, arguments(inputs, folder / file))
    assert {"full": "full", "read-only": "read-only", "vanished": "gone"}[fault] in line
    assert str(folder) in line
    assert entries(folder) == []


@pytest.mark.parametrize("fault", NUMBERS)
@pytest.mark.parametrize("name", INTO_A_FOLDER)
def test_a_dataset_or_model_that_cannot_be_written_is_left_as_it_was(
    name: str, fault: str, inputs: Inputs, capsys: Any
) -> None:
    part, arguments = INTO_A_FOLDER[name]
    folder = getattr(inputs, part)
    before = entries(folder)
    with failing(folder, NUMBERS[fault]):
        line = fails(capsys, name, arguments(inputs, folder))
    assert "checkpoint" not in line
    assert entries(folder) == before


@pytest.mark.parametrize("fault", [*NUMBERS, "file as parent", "name too long"])
@pytest.mark.parametrize("name", ["train", "distill", "propose", "rounds start"])
def test_a_home_that_cannot_be_written_is_named_before_a_job_starts(
    name: str, fault: str, inputs: Inputs, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    table = {**TO_A_PATH, **INTO_A_FOLDER}
    _, arguments = table[name]
    given = [one for one in arguments(inputs, inputs.data) if one != "--out"]
    if name in TO_A_PATH:
        given = [*given[:-1], "--detach"]
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("GRAPHFLOW_HOME", str(home))
    if fault == "file as parent":
        (tmp_path / "file").write_text("x")
        monkeypatch.setenv("GRAPHFLOW_HOME", str(tmp_path / "file" / "home"))
    elif fault == "name too long":
        monkeypatch.setenv("GRAPHFLOW_HOME", str(home / TOO_LONG))
    before = entries(inputs.data)
    with failing(home, NUMBERS.get(fault, errno.EIO)):
        fails(capsys, name, given)
    assert entries(home) == []
    assert entries(inputs.data) == before


#: What the error at the end names: where computed results are kept, or what stands of a copy.
AT_THE_END: dict[str, str] = {
    "segment": "kept",
    "evaluate": "kept",
    "compare": "kept",
    "train": "The model is in ",
    "distill": "The model is in ",
    "demo": "The finished job is in ",
    "export": "Nothing was written, and the model is unchanged.",
    "models import": "Nothing was written, and ",
    "models ensemble": "Nothing was written, and the models are unchanged.",
    "datasets import": "Nothing was written, and the images are unchanged.",
    "datasets export-mask": "The dataset is unchanged.",
    "volumes convert": " is unchanged.",
    "plan": "Nothing was written.",
}


def test_the_end_of_every_command_that_writes_to_a_path_is_in_the_table() -> None:
    assert AT_THE_END.keys() == TO_A_PATH.keys()


@pytest.fixture
def done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs end at once, with a model that is a file."""

    class Done:
        def submit(self, job: Job) -> None:
            job.model.mkdir(parents=True)
            (job.model / "model.json").write_text("{}")
            with job.writing():
                job.write_status(Status(state="done"))

    train, run = (import_module(f"napari_graphflow.cli.{one}") for one in ("train", "demo_run"))
    monkeypatch.setattr(train, "get_runner", lambda *_: Done())
    monkeypatch.setattr(train, "check_run", lambda _: None)
    monkeypatch.setattr(run, "start", Done().submit)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENODEV])
@pytest.mark.parametrize("name", AT_THE_END)
def test_a_place_that_fails_at_the_end_loses_no_results(
    name: str, number: int, inputs: Inputs, home: Path, tmp_path: Path, capsys: Any,
    done_at_once: None,
) -> None:  # fmt: skip
    file, arguments = TO_A_PATH[name]
    folder = tmp_path / "out"
    folder.mkdir()
    start = folder
    if name == "demo":  # its dataset is written before it trains
        (folder / file / "dataset").mkdir(parents=True)
        (folder / file / "dataset" / "dataset.json").write_bytes(
            (inputs.data / "dataset.json").read_bytes()
        )
        start = folder / file / ".teacher"
    before = entries(folder)
    with failing(start, number, after_test=True):
        line = fails(capsys, name, arguments(inputs, folder / file))
    assert entries(folder) == before
    named = AT_THE_END[name]
    if named != "kept":
        assert named in line
        if " is in " in named:
            kept = Path(line.partition(named)[2].partition(";")[0])
            assert kept.is_dir() and kept.is_relative_to(home)
        return
    (kept,) = (home / "unsaved").iterdir()
    assert str(kept) in line
    assert any(path.name.startswith(file) for path in kept.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("name", ["models import", "export"])
def test_a_disk_that_fills_up_while_a_library_writes_is_named(
    name: str, inputs: Inputs, tmp_path: Path, capsys: Any
) -> None:
    import resource

    file, arguments = TO_A_PATH[name]
    folder = tmp_path / "out"
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        line = fails(capsys, name, arguments(inputs, folder / file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the disk is full" in line and "Nothing was written" in line
    assert entries(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="closing streams needs a POSIX shell")
@pytest.mark.parametrize(
    "end",
    [
        "2> >(true)",
        pytest.param("2>/dev/full", marks=pytest.mark.slow),
        pytest.param("2>&-", marks=pytest.mark.slow),
    ],
)
def test_broken_messages_lose_no_results(end: str, inputs: Inputs, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    arguments = ["compare", inputs.mask, inputs.mask, "--report", out]
    text = " ".join(f"'{one}'" for one in [sys.executable, "-m", "napari_graphflow", *arguments])
    done = subprocess.run(["bash", "-c", f"{text} {end}"], capture_output=True, check=False)
    assert done.returncode == 0
    assert out.is_file() and out.with_suffix(".json").is_file()


def test_a_broken_error_stream_does_not_stop_the_following_of_a_job(
    inputs: Inputs, tmp_path: Path, monkeypatch: Any, done_at_once: None
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    _, arguments = TO_A_PATH["train"]
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, arguments(inputs, tmp_path / "model"))])
    assert ended.value.code == 0
    assert (tmp_path / "model" / "model.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="closing streams needs a POSIX shell")
@pytest.mark.parametrize(
    "end",
    [
        ">&-",
        pytest.param(">&- 2>&-", marks=pytest.mark.slow),
        pytest.param("| true", marks=pytest.mark.slow),
    ],
)
def test_a_closed_output_loses_no_results(end: str, inputs: Inputs, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    command = [
        sys.executable, "-m", "napari_graphflow", "evaluate", inputs.data,
        "--predictions", inputs.masks, "--split", "train", "--out", out, "--json",
    ]  # fmt: skip
    text = " ".join(f"'{one}'" for one in command)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text} {end}"], capture_output=True, text=True,
        check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(out.with_name("scores.json").read_text())["split"] == "train"
