"""EMKD module by module: teacher, student alone, and every choice of its three terms.

Every row is trained by ``napari-graphflow train`` or ``distill`` on the CPU and scored by
``napari-graphflow evaluate`` on the test cases. A row whose result is there is not run again, so
the benchmark can be stopped at any time and goes on where it was::

    python benchmarks/emkd/run.py --data DIR

DIR holds ``hippocampus_msd``, ``kvasir_seg`` and ``splits.json``. Results go to ``results/``, one
file a row, and from all of them comes ``README.md``. A seed is finished before the next begins.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import import_dataset, run_row  # noqa: E402

RESULTS = HERE / "results"
SEEDS = (0, 1, 2)
#: Names of the terms and their published weights.
MODULES = {"pm": ("prediction", "0.1"), "im": ("importance", "0.9"), "ra": ("affinity", "0.9")}
CHOICES = ("pm_im_ra", "pm", "im", "ra", "pm_im", "pm_ra", "im_ra")


class Study(NamedTuple):
    """One dataset: where it lies, and what its teacher and its students are."""

    images: str
    masks: str
    classes: tuple[str, ...]
    common: tuple[str, ...]
    teacher: tuple[str, ...]
    student: tuple[str, ...]


STUDIES = {
    # As in the benchmark of Graph Flow, so that the rows of both can be compared.
    "hippocampus_msd": Study(
        "images",
        "masks",
        ("anterior=1", "posterior=2"),
        (
            *("--dims", "3", "--batch-size", "2"),
            *("--labelled", "12", "--patch-size", "32", "48", "32"),
        ),
        ("--network", "unet", "--steps", "600", "--validate-every", "200"),
        (
            *("--network", "mobile_unet", "--width", "8", "--learning-rate", "3e-3"),
            *("--steps", "800", "--validate-every", "200"),
        ),
    ),
    "kvasir_seg": Study(
        "train_256/images",
        "train_256/masks",
        ("polyp=1",),
        (
            *("--dims", "2", "--batch-size", "8", "--labelled", "40"),
            *("--patch-size", "128", "128"),
            *("--preprocessing.intensity", "range", "--preprocessing.size", "128", "128"),
        ),
        ("--network", "raunet", "--steps", "1500", "--validate-every", "300"),
        (
            *("--network", "enet", "--learning-rate", "3e-3"),
            *("--steps", "1500", "--validate-every", "300"),
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="models and datasets")
    parser.add_argument("--rows", nargs="*", help="only these, such as kvasir_seg-student-1")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", help="of every row, to see whether it runs")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for key, study in STUDIES.items():
            for row, command in rows(key, seed, options).items():
                name = f"{key}-{row}-{seed}"
                if (RESULTS / f"{name}.json").exists() or name not in (options.rows or [name]):
                    continue
                dataset = import_dataset(
                    options.data, key, study.images, study.masks, options.work / key,
                    *("--classes", *study.classes),
                )  # fmt: skip
                run_row(name, command, dataset, options.work / name, RESULTS)
                subprocess.run([sys.executable, HERE / "table.py"], check=True)


def rows(key: str, seed: int, options: argparse.Namespace) -> dict[str, list[str]]:
    """Name of a row -> command that trains its model; every student has the same budget."""
    study = STUDIES[key]
    common = [
        *("--dataset", str(options.work / key), *study.common, "--seed", str(seed)),
        *("--device", options.device, "--threads", options.threads),
    ]
    teacher, student = (_settings(one, options.steps) for one in (study.teacher, study.student))
    table = {"teacher": ["train", *common, *teacher], "student": ["train", *common, *student]}
    from_teacher = ["--teacher", str(options.work / f"{key}-teacher-{seed}"), "--method", "emkd"]
    for choice in CHOICES:
        weights = [
            word
            for module, (term, weight) in MODULES.items()
            for word in (f"--emkd.{term}-weight", weight if module in choice.split("_") else "0")
        ]
        table[choice] = ["distill", *common, *student, *from_teacher, *weights]
    return table


def _settings(words: tuple[str, ...], steps: str | None) -> list[str]:
    if not steps:
        return list(words)
    return [*words[: words.index("--steps")], "--steps", steps, "--validate-every", steps]


if __name__ == "__main__":
    main()
