"""Teacher, undistilled student and distilled student on the hippocampus, by the command line.

Every row is trained by ``napari-graphflow train`` or ``distill`` on the CPU and scored by
``napari-graphflow evaluate`` on the test cases. A row whose result is there is not run again, so
the benchmark can be stopped at any time and goes on where it was::

    python benchmarks/hippocampus/run.py --data DIR

DIR holds ``hippocampus_msd`` (images, masks) and ``splits.json``. Results go to ``results/``, one
file a row, and from all of them comes ``README.md``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEEDS = (0, 1, 2)
COMMON = ["--dims", "3", "--patch-size", "32", "48", "32", "--batch-size", "2", "--device", "cpu"]
TEACHER = ["--network", "unet", "--steps", "600", "--validate-every", "200"]
MORE = ["--network", "unet", "--steps", "2500", "--validate-every", "500"]
STUDENT = [
    *("--network", "mobile_unet", "--width", "8", "--learning-rate", "3e-3"),
    *("--steps", "1200", "--validate-every", "300"),
]
FEW = ["--labelled", "12"]
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
    dataset = options.work / "hippocampus"
    if not dataset.exists():
        cli(
            *("datasets", "import", "--images", options.data / "hippocampus_msd/images"),
            *("--masks", options.data / "hippocampus_msd/masks", "--out", dataset),
            *("--splits", f"{options.data / 'splits.json'}#hippocampus_msd"),
            *("--classes", "anterior=1", "posterior=2"),
        )
    for name, command in rows(dataset, options.work, options.threads).items():
        if (RESULTS / f"{name}.json").exists() or (options.rows and name not in options.rows):
            continue
        run_row(name, command, dataset, options.work / name)
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


def run_row(name: str, command: list[str], dataset: Path, model: Path) -> None:
    print(f"== {name}", flush=True)
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
