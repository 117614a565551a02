"""Graph Flow: network efficiency, ablation and annotation efficiency, by the command line.

    python benchmarks/graph_flow/run.py --data DIR [--rows 'hippocampus-mobile_unet-*-0' ...]

DIR holds ``hippocampus_msd``, ``kvasir_seg``, ``hrf_quarter`` and ``splits.json``. Rows that are
done are not run again; from all of them comes ``README.md``. A row is named
``TASK-NETWORK-KIND-SEED``: KIND is ``teacher``, ``alone``, a method, a step of the ablation, or
``labels<N>_...`` for N labelled cases.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import import_dataset, run_row  # noqa: E402

RESULTS = HERE / "results"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Task:
    """Images, and what all models of it have in common."""

    key: str
    images: str
    masks: str
    importing: tuple[str, ...]
    common: tuple[str, ...]
    labelled: int
    teacher: tuple[str, ...]
    students: dict[str, tuple[str, ...]]


STEPS_3D = ("--steps", "1200", "--validate-every", "300")
STEPS_2D = ("--steps", "1500", "--validate-every", "300")
SIZE_2D = ("--preprocessing.intensity", "range", "--preprocessing.size", "128", "128")
STUDENTS_2D = {
    "mobile_unet": ("--width", "8", "--learning-rate", "3e-3", *STEPS_2D),
    "enet": ("--learning-rate", "3e-3", *STEPS_2D),
    "erfnet": ("--width", "8", "--learning-rate", "3e-3", *STEPS_2D),
}
TASKS = {
    "hippocampus": Task(
        "hippocampus_msd", "images", "masks", ("--classes", "anterior=1", "posterior=2"),
        ("--dims", "3", "--patch-size", "32", "48", "32", "--batch-size", "2"), 12,
        ("unet", "--steps", "600", "--validate-every", "200"),
        {
            "mobile_unet": ("--width", "8", "--learning-rate", "3e-3", *STEPS_3D),
            "enet": ("--learning-rate", "3e-3", *STEPS_3D),
            "erfnet": ("--width", "8", "--learning-rate", "3e-3", *STEPS_3D),
        },
    ),
    "kvasir": Task(
        "kvasir_seg", "train_256/images", "train_256/masks",
        ("--classes", "polyp=1"),
        ("--dims", "2", "--patch-size", "128", "128", "--batch-size", "4", *SIZE_2D), 40,
        ("unet", *STEPS_2D), STUDENTS_2D,
    ),
    "hrf": Task(
        "hrf_quarter", "images", "masks", ("--classes", "vessel=1"),
        ("--dims", "2", "--patch-size", "128", "128", "--batch-size", "4"), 5,
        ("unet", *STEPS_2D), STUDENTS_2D,
    ),
}  # fmt: skip
METHODS: dict[str, tuple[str, ...]] = {
    "logits": ("--method", "logits"),
    "attention": ("--method", "attention"),
    "graph_flow": ("--method", "graph_flow"),
}
#: Steps of the ablation, on the hippocampus with Mobile U-Net; each is the method and its changes.
OFF = ("--graph-flow.vertex-weight", "0", "--graph-flow.edge-weight", "0")
NO_LOGITS = ("--logits-weight", "0")
ABLATION: dict[str, tuple[str, ...]] = {
    "vertices": (*NO_LOGITS, "--graph-flow.edge-weight", "0"),
    "vertices_edges": NO_LOGITS,
    "no_paraphraser": ("--graph-flow.paraphraser-steps", "0"),
    "adversarial": (*NO_LOGITS, *OFF, "--adversarial.weight", "0.1"),
    "full": ("--adversarial.weight", "0.1"),
    "two_pairs": ("--graph-flow.tap-pairs", "2"),
    "three_pairs": ("--graph-flow.tap-pairs", "3"),
}
#: Labelled cases of the 120 of the hippocampus.
LABELS = (6, 12, 24, 60, 120)
Command = list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models and datasets")
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns of rows to run")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    options = parser.parse_args()
    common = ["--threads", options.threads, "--device", options.device]
    table = {
        name: row
        for name, row in rows(options.work, common).items()
        if any(fnmatch(name, pattern) for pattern in options.rows)
    }
    if options.list:
        for name in table:
            print(name, "done" if (RESULTS / f"{name}.json").exists() else "")
        return
    RESULTS.mkdir(exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    for name, command in table.items():
        if (RESULTS / f"{name}.json").exists():
            continue
        task = TASKS[name.split("-")[0]]
        dataset = import_dataset(
            options.data, task.key, task.images, task.masks,
            options.work / task.key, *task.importing,
        )  # fmt: skip
        run_row(name, command, dataset, options.work / name, RESULTS)
        subprocess.run([sys.executable, HERE / "table.py"], check=True)


def rows(work: Path, more: list[str]) -> dict[str, Command]:
    """Name of a row -> arguments that train its model."""
    table: dict[str, Command] = {}
    for seed in SEEDS:
        for name in TASKS:
            table |= efficiency(name, work, seed, more)
        table |= annotation(work, seed, more)
        table |= ablation(work, seed, more)
    return table


def efficiency(name: str, work: Path, seed: int, more: list[str]) -> dict[str, Command]:
    """A teacher, and each student alone and by each method."""
    task = TASKS[name]
    base = [*_data(task, work), "--labelled", str(task.labelled), "--seed", str(seed), *more]
    teacher = f"{name}-{task.teacher[0]}-teacher-{seed}"
    table = {teacher: ["train", *base, "--network", *task.teacher]}
    for network, settings in task.students.items():
        student = [*base, "--network", network, *settings]
        table[f"{name}-{network}-alone-{seed}"] = ["train", *student]
        for method, choice in METHODS.items():
            table[f"{name}-{network}-{method}-{seed}"] = [
                *("distill", *student, "--teacher", str(work / teacher), *choice)
            ]
    return table


def ablation(work: Path, seed: int, more: list[str]) -> dict[str, Command]:
    """Parts of Graph Flow, alone and together."""
    table = efficiency("hippocampus", work, seed, more)
    whole = table[f"hippocampus-mobile_unet-graph_flow-{seed}"]
    return {
        f"hippocampus-mobile_unet-{step}-{seed}": [*whole, *changes]
        for step, changes in ABLATION.items()
    }


def annotation(work: Path, seed: int, more: list[str]) -> dict[str, Command]:
    """The same with more and fewer labelled cases; the teacher knows only those."""
    task, table = TASKS["hippocampus"], {}
    for count in LABELS:
        base = [*_data(task, work), "--labelled", str(count), "--seed", str(seed), *more]
        prefix, suffix = "hippocampus", f"-{seed}"
        teacher = f"{prefix}-unet-labels{count}_teacher{suffix}"
        student = [*base, "--network", "mobile_unet", *task.students["mobile_unet"]]
        distilled = ["distill", *student, "--teacher", str(work / teacher)]
        table |= {
            teacher: ["train", *base, "--network", *task.teacher],
            f"{prefix}-mobile_unet-labels{count}_alone{suffix}": ["train", *student],
            f"{prefix}-mobile_unet-labels{count}_labelled{suffix}": [*distilled, "--no-unlabelled"],
            f"{prefix}-mobile_unet-labels{count}_both{suffix}": distilled,
        }
    return table


def _data(task: Task, work: Path) -> list[str]:
    return ["--dataset", str(work / task.key), *task.common]


if __name__ == "__main__":
    main()
