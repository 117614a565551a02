"""EMKD module by module: teacher, student alone, and every choice of its three terms.

Every row is trained by ``napari-graphflow train`` or ``distill`` on the CPU and scored by
``napari-graphflow evaluate`` on the test cases. A row whose result is there is not run again, so
the benchmark can be stopped at any time and goes on where it was::

    python benchmarks/emkd/run.py --data DIR

DIR holds ``hippocampus_msd``, ``kvasir_seg`` and ``splits.json``. Results go to ``results/``, one
file a row, and from all of them comes ``README.md``. A seed is finished before the next begins.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEEDS = (0, 1, 2)
#: Weights of prediction maps, importance maps and region affinity, as published.
MODULES = {"pm": ("prediction", "0.1"), "im": ("importance", "0.9"), "ra": ("affinity", "0.9")}
CHOICES = ("pm_im_ra", "pm", "im", "ra", "pm_im", "pm_ra", "im_ra")


class Study(NamedTuple):
    """One dataset: how it is imported, and what its teacher and its students are."""

    images: str
    masks: str
    classes: tuple[str, ...]
    common: tuple[str, ...]
    teacher: tuple[str, ...]
    student: tuple[str, ...]


STUDIES = {
    "hippocampus_msd": Study(
        "hippocampus_msd/images",
        "hippocampus_msd/masks",
        ("anterior=1", "posterior=2"),
        (
            *("--dims", "3", "--patch-size", "32", "48", "32", "--batch-size", "2"),
            *("--labelled", "12"),
        ),
        ("--network", "unet", "--steps", "600", "--validate-every", "200"),
        (
            *("--network", "mobile_unet", "--width", "8", "--learning-rate", "3e-3"),
            *("--steps", "1200", "--validate-every", "300"),
        ),
    ),
    "kvasir_seg": Study(
        "kvasir_seg/train_256/images",
        "kvasir_seg/train_256/masks",
        ("polyp=1",),
        (
            *("--dims", "2", "--patch-size", "128", "128", "--batch-size", "8"),
            *("--preprocessing.intensity", "range", "--preprocessing.size", "128", "128"),
            *("--labelled", "40"),
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
        for study in STUDIES:
            for row, command in rows(study, seed, options).items():
                name = f"{study}-{row}-{seed}"
                if (RESULTS / f"{name}.json").exists() or name not in (options.rows or [name]):
                    continue
                run_row(name, command, import_dataset(study, options), options)
                subprocess.run([sys.executable, HERE / "table.py"], check=True)


def import_dataset(name: str, options: argparse.Namespace) -> Path:
    study, folder = STUDIES[name], options.work / name
    if not folder.exists():
        cli(
            *("datasets", "import", "--images", options.data / study.images),
            *("--masks", options.data / study.masks, "--out", folder),
            *("--splits", f"{options.data / 'splits.json'}#{name}"),
            *("--classes", *study.classes),
        )
    return folder


def rows(name: str, seed: int, options: argparse.Namespace) -> dict[str, list[str]]:
    """Name of a row -> command that trains its model; every student has the same budget."""
    study = STUDIES[name]
    common = [
        *("--dataset", str(options.work / name), *study.common, "--seed", str(seed)),
        *("--device", options.device, "--threads", options.threads),
    ]
    short = ["--steps", options.steps, "--validate-every", options.steps] if options.steps else []
    teacher, student = _cut(study.teacher, short), _cut(study.student, short)
    table = {
        "teacher": ["train", *common, *teacher],
        "student": ["train", *common, *student],
    }
    from_teacher = ["--teacher", str(options.work / f"{name}-teacher-{seed}"), "--method", "emkd"]
    for choice in CHOICES:
        weights: list[str] = []
        for module, (term, weight) in MODULES.items():
            chosen = module in choice.split("_")
            weights += [f"--emkd.{term}-weight", weight if chosen else "0"]
        table[choice] = ["distill", *common, *student, *from_teacher, *weights]
    return table


def _cut(settings: tuple[str, ...], short: list[str]) -> list[str]:
    return [*settings[: settings.index("--steps")], *short] if short else list(settings)


def run_row(name: str, command: list[str], dataset: Path, options: argparse.Namespace) -> None:
    print(f"== {name}", flush=True)
    model = options.work / name
    started = time.monotonic()
    if not model.exists():
        cli(*command, "--out", model)
    seconds = time.monotonic() - started
    started = time.monotonic()
    scores = json.loads(cli("evaluate", "--dataset", dataset, "--model", model, "--json"))
    card = json.loads((model / "model.json").read_text())
    result = {
        "row": name,
        "command": " ".join(["napari-graphflow", *command]).replace(f"{model.parent}/", "work/"),
        "parameters": card["parameters"],
        "validation_dice": card["provenance"]["best_validation_dice"],
        "training_seconds": round(seconds, 1),
        "evaluation_seconds": round(time.monotonic() - started, 1),
        "summary": scores["summary"],
        "cases": {
            case: {c: m["dice_score"] for c, m in classes.items()}
            for case, classes in scores["cases"].items()
        },
    }
    aside = RESULTS / f".{name}.json"
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(RESULTS / f"{name}.json")


def cli(*arguments: object) -> str:
    """Run the command line and give what it prints; its progress is seen as it comes."""
    command = [sys.executable, "-m", "napari_graphflow", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
