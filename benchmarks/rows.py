"""Shared by the benchmarks of trained models: rows that are run once each, and their tables.

A row is a model: trained by one command of ``napari-graphflow``, scored by another, its result a
JSON file. Rows with a result file are not run again, so that every benchmark can be resumed.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import wilcoxon

#: Suffix of the kind of a model that was retrained with a different result.
AGAIN = "_again"
#: Kind of a row -> seed -> its result, of one task and student.
Kinds = dict[str, dict[str, dict[str, Any]]]
START, END = "<!-- table: made by table.py -->", "<!-- end of table -->"


def cli(*arguments: object) -> str:
    """Run a command and return its standard output; progress is shown meanwhile."""
    command = [sys.executable, "-m", "napari_graphflow", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def import_dataset(data: Path, key: str, images: str, masks: str, out: Path, *more: str) -> Path:
    """Import one of the image sets of `data` with its splits, unless it exists."""
    if not out.exists():
        cli(
            *("datasets", "import", "--images", data / key / images, "--out", out),
            *("--masks", data / key / masks, "--splits", f"{data / 'splits.json'}#{key}", *more),
        )
    return out


def run_row(
    name: str,
    command: Sequence[str],
    dataset: Path,
    model: Path,
    results: Path,
    teacher: Path | None = None,
) -> None:
    """Train a model unless it exists, score it on the test cases, and write the result.

    Parameters
    ----------
    name
        Name of the row and of its file.
    command
        Arguments of ``napari-graphflow`` without ``--out``.
    dataset
        Dataset whose test cases are scored.
    model
        Folder of the model.
    results
        Folder of the results.
    teacher
        Folder of the teacher, if the model was distilled.
    """
    print(f"== {name}", flush=True)
    seconds = None
    if not model.exists():
        started = time.monotonic()
        cli(*command, "--out", model)
        seconds = round(time.monotonic() - started, 1)
    started = time.monotonic()
    scores = json.loads(cli("evaluate", "--dataset", dataset, "--model", model, "--json"))
    card = json.loads((model / "model.json").read_text())
    result = {
        "row": name,
        "command": " ".join(["napari-graphflow", *command]).replace(f"{model.parent}/", "work/"),
        "parameters": card["parameters"],
        **({"teacher": taught_by(teacher, results)} if teacher else {}),
        "validation_dice": validation_dice(model),
        "training_seconds": seconds,
        "evaluation_seconds": round(time.monotonic() - started, 1),
        "summary": scores["summary"],
        "cases": {
            case: {c: m["dice_score"] for c, m in classes.items()}
            for case, classes in scores["cases"].items()
        },
    }
    aside = results / f".{name}.json"
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(results / f"{name}.json")


def train_again(model: Path, dataset: Path, results: Path) -> None:
    """Retrain a deleted model with the command of its row's result.

    On another processor the same command rounds differently and results in another model. Such a
    model has a separate row, so that its students are compared with it.
    """
    result = json.loads((results / f"{model.name}.json").read_text())
    words = [word.replace("work/", f"{model.parent}/", 1) for word in result["command"].split()]
    print(f"== {model.name}, trained again", flush=True)
    cli(*words[1:], "--out", model)
    if taught_by(model, results) is None:
        name, _, seed = model.name.rpartition("-")
        times = len(list(results.glob(f"{name}{AGAIN}*-{seed}.json")))
        run_row(f"{name}{AGAIN * (times + 1)}-{seed}", words[1:], dataset, model, results)


def taught_by(model: Path, results: Path) -> str | None:
    """Return the kind of the row with the scores of exactly this model."""
    name, _, seed = model.name.rpartition("-")
    for path in sorted(results.glob(f"{name}*-{seed}.json")):
        result = json.loads(path.read_text())
        if result["validation_dice"] == validation_dice(model):
            kind: str = result["row"].split("-")[2]
            return kind
    return None


def validation_dice(model: Path) -> float:
    """Return the Dice on the validation cases, of the saved weights."""
    card = json.loads((model / "model.json").read_text())
    dice: float = card["provenance"]["best_validation_dice"]
    return dice


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Read all results of a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Write cells as a table whose first line is the header."""
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def put_table(readme: Path, table: str) -> None:
    """Put a table between the two marks of a README."""
    before, rest = readme.read_text().split(START)
    readme.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}")


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Format the mean and, for several values, the sample standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def dice_by_case(kinds: Kinds, kind: str, seeds: list[str]) -> dict[str, float]:
    """Return the Dice of each test case, averaged over classes and seeds."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for case, classes in kinds[kind][seed]["cases"].items():
            found.setdefault(case, []).extend(v or 0.0 for v in classes.values())
    return {case: statistics.mean(values) for case, values in found.items()}


def difference(kinds: Kinds, kind: str, other: str) -> str:
    """Write the paired difference in points of Dice, and the p-value of Wilcoxon's test."""
    seeds = sorted(set(kinds.get(kind, {})) & set(kinds.get(other, {})))
    if kind == other or not seeds:
        return ""
    ours, theirs = (dice_by_case(kinds, one, seeds) for one in (kind, other))
    pairs = [ours[case] - theirs[case] for case in ours if case in theirs]
    p = float(wilcoxon(pairs).pvalue) if any(pairs) else 1.0
    return f"{100 * statistics.mean(pairs):+.1f} (p {'< 0.001' if p < 0.001 else f'{p:.3f}'})"
