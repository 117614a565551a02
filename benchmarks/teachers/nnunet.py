"""Teachers beside nnU-Net: the same masks of the hippocampus, the same minutes, the same cores.

    python benchmarks/teachers/nnunet.py --data DIR --python NNUNET [--rows '12-*']

NNUNET is the Python of an environment with nnU-Net. Each row takes a few steps to measure its
speed, and then as many as fit into the minutes. Finished rows are not run again; the table of
``nnunet.md`` is generated from all. A row is named ``MASKS-TEACHER-SEED``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import run  # noqa: E402
from rows import cli, difference, import_dataset, markdown, put_table, read_results, spread  # noqa: E402
from tasks import SEEDS, TASKS, WORK, Command  # noqa: E402

TASK = TASKS["hippocampus"]
MASKS = (12, 24, 120)
#: Options of ``train_nnunet.py``.
THEIRS = {"nnunet": ("--width", "0"), "nnunet_small": ("--width", "16")}
#: Options of ``napari-graphflow train``.
OURS = {
    "unet": ("--network", "unet"),
    "plain_conv_unet": ("--network", "plain_conv_unet", "--role", "teacher", "--width", "16"),
}
TITLES = {
    "nnunet": "nnU-Net, its own plan",
    "nnunet_small": "nnU-Net, its plan with 16 channels, batches of 2 and Adam",
    "unet": "U-Net of width 16",
    "plain_conv_unet": "the plain network of width 16",
}
#: Steps of the trials whose difference is timed.
TRIALS = (10, 30)


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Run what is started on so many cores, also its threads that make batches."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def train_theirs(model: Path, raw: Path, seed: int, words: Command, python: Path) -> int:
    """Train an nnU-Net and import it; return its steps."""
    out = model.with_name(f"{model.name}-nnunet")
    shutil.rmtree(out, ignore_errors=True)  # of a benchmark that was stopped
    command = [python, HERE / "train_nnunet.py", "--raw", raw, "--out", out, "--seeds", str(seed)]
    subprocess.run([*map(str, command), *words], check=True)
    found = out / f"seed_{seed}"
    cli("models", "import", found, "--out", model, "--force", "--dataset", model.parent / TASK.key)
    return int((found / "steps.json").read_text())


def train_ours(model: Path, command: Command, minutes: float) -> int:
    """Train one of our networks; return its steps."""
    seconds = []
    for count in TRIALS:
        started = time.monotonic()
        with TemporaryDirectory() as folder:
            trial = ("--steps", count, "--validate-every", TRIALS[-1], "--out", f"{folder}/model")
            cli(*command, *trial)
        seconds.append(time.monotonic() - started)
    one = (seconds[1] - seconds[0]) / (TRIALS[1] - TRIALS[0])
    steps = max(1, round(60 * minutes / one))
    cli(*command, "--steps", steps, "--validate-every", max(1, steps // 5), "--out", model)
    return steps


def run_row(name: str, dataset: Path, options: argparse.Namespace) -> None:
    """Train and score a teacher."""
    masks, kind, seed = name.split("-")
    model, threads = options.work / f"hippocampus{name}", str(options.cores)
    shutil.rmtree(model, ignore_errors=True)
    print(f"== {name}", flush=True)
    started = time.monotonic()
    if kind in THEIRS:
        raw = options.work / f"raw-{masks}"
        if not raw.exists():
            run.write_raw(dataset, raw, int(masks))
        command = [*THEIRS[kind], "--minutes", str(options.minutes), "--cores", threads]
        steps = train_theirs(model, raw, int(seed), command, options.python)
    else:
        command = ["train", "--dataset", str(dataset), *TASK.common, "--labelled", masks]
        command += ["--seed", seed, *OURS[kind], "--threads", threads, "--device", "cpu"]
        with on_cores(options.cores):
            steps = train_ours(model, command, options.minutes)
    seconds = round(time.monotonic() - started, 1)
    scores = json.loads(cli("evaluate", "--dataset", dataset, "--model", model, "--json"))
    result = {
        "row": name,
        "command": " ".join(command).replace(f"{options.work}/", "work/"),
        "steps": steps,
        "minutes": options.minutes,
        "seconds_of_all": seconds,
        "parameters": json.loads((model / "model.json").read_text())["parameters"],
        "summary": scores["summary"],
        "cases": {
            case: {one: found["dice_score"] for one, found in classes.items()}
            for case, classes in scores["cases"].items()
        },
    }
    aside = options.results / f".{name}.json"
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(options.results / f"{name}.json")


def table(results: Path) -> str:
    """Return the table of all rows."""
    titles = ("masks", "teacher", "parameters", "minutes", "steps", "test Dice", "HD95", "seeds")
    lines = [[*titles, "minus nnU-Net, its own plan"]]
    found = read_results(results)
    for masks in map(str, MASKS):
        kinds = {
            kind: {
                one["row"].split("-")[2]: one
                for one in found
                if one["row"].split("-")[:2] == [masks, kind]
            }
            for kind in TITLES
        }
        for kind, seeds in kinds.items():
            if not seeds:
                continue
            rows = list(seeds.values())
            means = [one["summary"]["mean"] for one in rows]
            lines.append(
                [
                    *(masks, TITLES[kind], f"{rows[0]['parameters'] / 1e6:.2f} M"),
                    f"{rows[0]['minutes']:g}",
                    " ".join(str(one["steps"]) for one in rows),
                    spread([one["dice_score"]["mean"] for one in means]),
                    spread([one["hausdorff_distance_95"]["mean"] for one in means], 2),
                    " ".join(sorted(seeds)),
                    difference(kinds, kind, "nnunet"),
                ]
            )
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True, help="Python with nnU-Net")
    parser.add_argument("--work", type=Path, default=WORK, help="models and datasets")
    parser.add_argument("--results", type=Path, default=HERE / "results_nnunet")
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns of rows to run")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--cores", type=int, default=1)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(options.cores)
    where = (TASK.key, TASK.images, TASK.masks, options.work / TASK.key)
    dataset = import_dataset(options.data, *where, *TASK.importing)
    names = [f"{masks}-{kind}-{seed}" for seed in SEEDS for masks in MASKS for kind in TITLES]
    with TemporaryDirectory() as home:
        os.environ["GRAPHFLOW_HOME"] = home
        for name in names:
            wanted = any(fnmatch(name, pattern) for pattern in options.rows)
            if wanted and not (options.results / f"{name}.json").is_file():
                run_row(name, dataset, options)
                if options.results == HERE / "results_nnunet":
                    put_table(HERE / "nnunet.md", table(options.results))


if __name__ == "__main__":
    main()
