"""Teacher, undistilled student and distilled student on the hippocampus, by the command line.

Every row is trained by ``napari-graphflow train`` or ``distill`` on the CPU and scored by
``napari-graphflow evaluate`` on the test cases. A row whose result is there is not run again, so
the benchmark can be stopped at any time and goes on where it was::

    python benchmarks/hippocampus/run.py --data DIR

DIR holds ``hippocampus_msd`` (images, masks) and ``splits.json``. Results go to ``results/``, one
file a row, and from all of them comes ``README.md``.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import import_dataset, run_row  # noqa: E402

RESULTS = HERE / "results"
SEEDS = (0, 1, 2)
COMMON = ["--dims", "3", "--batch-size", "2", "--device", "cpu"]
TEACHER = ["--network", "unet", "--steps", "600", "--validate-every", "200"]
#: Patches as large as the whole image; left and right hippocampi are both in the data, so that
#: mirroring along x is sound.
MORE = [
    *("--network", "unet", "--patch-size", "48", "64", "48", "--mirror", "x"),
    *("--steps", "1200", "--validate-every", "300", "--learning-rate", "2e-3"),
]
STUDENT = [
    *("--network", "mobile_unet", "--width", "8", "--learning-rate", "3e-3"),
    *("--steps", "800", "--validate-every", "200"),
]
FEW = ["--labelled", "12", "--patch-size", "32", "48", "32"]
METHODS = {
    "graph_flow": ["--method", "graph_flow", "--graph-flow.paraphraser-steps", "100"],
    "logits": ["--method", "logits"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models and datasets")
    parser.add_argument("--rows", nargs="*", help="only these rows, such as student-1")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    dataset = import_dataset(
        options.data, "hippocampus_msd", "images", "masks", options.work / "hippocampus",
        *("--classes", "anterior=1", "posterior=2"),
    )  # fmt: skip
    for name, command in rows(dataset, options.work, options.threads).items():
        if (RESULTS / f"{name}.json").exists() or (options.rows and name not in options.rows):
            continue
        run_row(name, command, dataset, options.work / name, RESULTS)
        subprocess.run([sys.executable, HERE / "table.py"], check=True)


def rows(dataset: Path, work: Path, threads: str) -> dict[str, list[str]]:
    """Name of a row -> command that trains its model."""
    common = ["--dataset", str(dataset), *COMMON, "--threads", threads]
    table: dict[str, list[str]] = {}
    few = {seed: [*common, *FEW, "--seed", str(seed)] for seed in SEEDS}
    for seed in SEEDS:
        table[f"teacher-{seed}"] = ["train", *few[seed], *TEACHER]
    table["teacher_all-0"] = ["train", *common, *MORE, "--seed", "0"]
    for seed in SEEDS:
        table[f"student-{seed}"] = ["train", *few[seed], *STUDENT]
    for method, choice in METHODS.items():
        for seed in SEEDS:
            teacher = ["--teacher", str(work / f"teacher-{seed}")]
            table[f"{method}-{seed}"] = ["distill", *few[seed], *STUDENT, *teacher, *choice]
    return table


if __name__ == "__main__":
    main()
