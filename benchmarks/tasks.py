"""Image sets and networks of the benchmarks of distillation methods.

Because rows have the same names and commands, a teacher trained by one benchmark is used by the
others as well.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from rows import import_dataset, run_row, train_again

SEEDS = (0, 1, 2)
#: Models and imported datasets of all benchmarks of methods.
WORK = Path(__file__).parent / "work"
Command = list[str]


@dataclass(frozen=True)
class Task:
    """Images, and the settings that all models of a task share.

    Attributes
    ----------
    key, images, masks, importing
        Location of the images and options of their import.
    common
        Settings of every row, teachers included.
    labelled
        Training cases whose masks are used.
    teacher, students
        Settings of the networks by name.
    """

    key: str
    images: str
    masks: str
    importing: tuple[str, ...]
    common: tuple[str, ...]
    labelled: int
    teacher: tuple[str, ...]
    students: dict[str, tuple[str, ...]]


def steps(number: int) -> tuple[str, ...]:
    """Return the options of a schedule with four validations."""
    return ("--steps", str(number), "--validate-every", str(number // 4))


FAST = ("--learning-rate", "3e-3", *steps(1000))
STUDENTS = {
    "mobile_unet": ("--width", "8", *FAST),
    "enet": FAST,
    "erfnet": ("--width", "8", *FAST),
}
PICTURES = ("--dims", "2", "--patch-size", "64", "64", "--batch-size")
SHORT = ("--learning-rate", "3e-3", *steps(800))
TASKS = {
    "kvasir": Task(
        "kvasir_seg", "train_256/images", "train_256/masks", ("--classes", "polyp=1"),
        (
            *(*PICTURES, "4"),
            *("--preprocessing.intensity", "range", "--preprocessing.size", "64", "64"),
        ),
        200, ("unet", "--width", "16", *steps(2000)), STUDENTS,
    ),
    "hippocampus": Task(
        "hippocampus_msd", "images", "masks", ("--classes", "anterior=1", "posterior=2"),
        ("--dims", "3", "--patch-size", "32", "48", "32", "--batch-size", "2"),
        12, ("unet", "--steps", "600", "--validate-every", "200"),
        {
            "mobile_unet": ("--width", "8", *SHORT),
            "enet": SHORT,
            "erfnet": ("--width", "6", "--learning-rate", "3e-3", *steps(1600)),
            "plain_conv_unet": ("--width", "8", *SHORT),
        },
    ),
    "hrf": Task(
        "hrf_quarter", "images", "masks", ("--classes", "vessel=1"), (*PICTURES, "8"),
        21, ("unet", "--width", "16", *steps(1000)),
        STUDENTS | {"erfnet": ("--width", "8", "--learning-rate", "1e-3", *steps(1500))},
    ),
}  # fmt: skip
#: The same images in their size.
TASKS["kvasir256"] = replace(
    TASKS["kvasir"],
    common=(
        *("--dims", "2", "--patch-size", "256", "256", "--batch-size", "4"),
        *("--preprocessing.intensity", "range"),
    ),
    teacher=("unet", "--width", "16", "--augmentation", "strong", *steps(1500)),
)
#: The same with twice the masks.
TASKS["hippocampus24"] = replace(TASKS["hippocampus"], labelled=24)


def base(task: Task, work: Path, seed: int, labelled: int | None = None) -> Command:
    """Return the options shared by all models of a task and seed."""
    count = str(labelled or task.labelled)
    return [
        "--dataset",
        str(work / task.key),
        *task.common,
        "--labelled",
        count,
        "--seed",
        str(seed),
    ]


def teacher_row(name: str, work: Path, seed: int) -> dict[str, Command]:
    """Return the row and command of a task's teacher."""
    network, *settings = TASKS[name].teacher
    return {
        f"{name}-{network}-teacher-{seed}": [
            *("train", *base(TASKS[name], work, seed), "--network", network, *settings)
        ]
    }


def student_rows(
    name: str, network: str, work: Path, seed: int, kinds: dict[str, tuple[str, ...]]
) -> dict[str, Command]:
    """Return the rows and commands of a task's student: alone, and for each distillation."""
    task = TASKS[name]
    student = [*base(task, work, seed), "--network", network, *task.students[network]]
    teacher = next(iter(teacher_row(name, work, seed)))
    distilled = ["distill", *student, "--teacher", str(work / teacher), "--teacher-min-dice", "0"]
    return {f"{name}-{network}-alone-{seed}": ["train", *student]} | {
        f"{name}-{network}-{kind}-{seed}": [*distilled, *choice] for kind, choice in kinds.items()
    }


def run(here: Path, rows: Callable[[Path], dict[str, Command]], text: str) -> None:
    """Command line of a benchmark: run its rows; write a result and update the table after each.

    Parameters
    ----------
    here
        Folder of the benchmark, with its ``table.py``.
    rows
        Function that returns the arguments of ``napari-graphflow`` for each row, from the folder of
        the models.
    text
        Description of the benchmark.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=WORK, help="models and datasets")
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns of rows to run")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    options = parser.parse_args()
    results = here / "results"
    results.mkdir(exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    more = ["--threads", options.threads, "--device", options.device]
    table = rows(options.work)
    chosen = [n for n in table if any(fnmatch(n, pattern) for pattern in options.rows)]
    done = {path.stem for path in results.glob("*.json")}
    if options.list:
        print("\n".join(f"{name} {'done' if name in done else ''}" for name in chosen))
        return
    # A separate job folder: rows neither wait for other jobs of this user nor are listed with them.
    with TemporaryDirectory() as home:
        os.environ["GRAPHFLOW_HOME"] = home
        for name in chosen:
            if name not in done:
                _run(name, [*table[name], *more], options.data, options.work, results)
                subprocess.run([sys.executable, here / "table.py"], check=True)


def _run(name: str, command: Command, data: Path, work: Path, results: Path) -> None:
    """Run a row, after importing its dataset and retraining its teacher if needed."""
    task = TASKS[name.partition("-")[0]]
    out = work / task.key
    dataset = import_dataset(data, task.key, task.images, task.masks, out, *task.importing)
    teacher = None
    if "--teacher" in command:
        teacher = Path(command[command.index("--teacher") + 1])
        if not teacher.exists():
            train_again(teacher, dataset, results)
    run_row(name, command, dataset, work / name, results, teacher)
