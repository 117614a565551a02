"""Students of an imported nnU-Net against the same students alone, on the hippocampus.

    python benchmarks/teachers/run.py --data DIR --raw RAW
    python benchmarks/teachers/run.py --data DIR --nnunet RESULTS [--rows 'hippocampus-enet-*' ...]

The first command writes the 12 labelled cases of each seed as raw datasets of nnU-Net, by which its
teachers are trained with nnU-Net's own commands. RESULTS then holds ``seed_0``, ``seed_1`` and
``seed_2``: results folders, each with ``plans.json``. Finished rows are not run again; the table of
``README.md`` is generated from all. A row is named ``hippocampus-NETWORK-KIND-SEED``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import cli, import_dataset, run_row  # noqa: E402
from tasks import SEEDS, TASKS, WORK, Command, steps  # noqa: E402

TASK = TASKS["hippocampus"]
SCHEDULE = ("--learning-rate", "3e-3", "--batch-size", "2")
STUDENTS = {"enet": (), "plain_conv_unet": ("--width", "8")}
KINDS = {
    "dist": ("--method", "dist"),
    "logits": ("--method", "logits", "--logits.weight", "10"),
    "graph_flow": ("--method", "graph_flow", "--graph-flow.paraphraser-steps", "0"),
}


def rows(work: Path, length: int) -> dict[str, Command]:
    """Return the arguments of each distillation, by name; each trains the student alone, too."""
    table: dict[str, Command] = {}
    for seed in SEEDS:
        for network, width in STUDENTS.items():
            for kind, method in KINDS.items():
                # The students alone of all methods are equal: trained with the first one only.
                alone = ["--also-alone"] * (kind == next(iter(KINDS)))
                table[f"hippocampus-{network}-{kind}-{seed}"] = [
                    *("distill", "--dataset", str(work / TASK.key), "--dims", "3"),
                    *("--labelled", str(TASK.labelled), "--seed", str(seed), *SCHEDULE),
                    *("--network", network, *width, *steps(length), *method, *alone),
                    *("--teacher", str(work / f"nnunet-teacher-{seed}")),
                ]
    return table


def write_raw(dataset: Path, raw: Path, labelled: int = TASK.labelled) -> None:
    """Write the labelled cases of each seed as ``Dataset101_seed0`` and so on."""
    from napari_graphflow.dataset.cases import Dataset
    from napari_graphflow.training.planning import choose_labelled

    opened = Dataset.open(dataset)
    for seed in SEEDS:
        folder = raw / f"Dataset{101 + seed}_seed{seed}"
        cases = choose_labelled(opened.labelled("train"), labelled, seed)
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for case in cases:
            shutil.copy(case.images[0], folder / "imagesTr" / case.images[0].name)
            shutil.copy(case.label, folder / "labelsTr" / case.label.name)
        described = json.loads((dataset / "dataset.json").read_text())
        known = ("channel_names", "labels", "file_ending")
        content = {name: described[name] for name in known} | {"numTraining": len(cases)}
        (folder / "dataset.json").write_text(json.dumps(content, indent=1))


def import_teacher(results: Path, seed: int, dataset: Path, work: Path) -> Path:
    """Import the teacher of a seed, unless it exists."""
    teacher = work / f"nnunet-teacher-{seed}"
    if not teacher.exists():
        source = results / f"seed_{seed}"
        cli("models", "import", source, "--out", teacher, "--dataset", dataset, "--force")
    return teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nnunet", type=Path, help="results folders seed_0, seed_1, seed_2")
    parser.add_argument("--raw", type=Path, help="write the raw datasets for nnU-Net and end")
    parser.add_argument("--work", type=Path, default=WORK, help="models and datasets")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns of rows to run")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--min-dice", default="0.4", help="0 for a trial with an untrained teacher")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    work, results = options.work, options.results
    results.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    where = (TASK.key, TASK.images, TASK.masks, work / TASK.key)
    dataset = import_dataset(options.data, *where, *TASK.importing)
    if options.raw is not None:
        write_raw(dataset, options.raw)
        return
    if options.nnunet is None:
        parser.error("--nnunet or --raw is required")
    more = ["--threads", options.threads, "--device", options.device]
    more += ["--teacher-min-dice", options.min_dice]
    with TemporaryDirectory() as home:
        os.environ["GRAPHFLOW_HOME"] = home
        for name, command in rows(work, options.steps).items():
            if any(fnmatch(name, pattern) for pattern in options.rows):
                _run(name, [*command, *more], dataset, options.nnunet, work, results)
                subprocess.run([sys.executable, HERE / "table.py", results], check=True)


def _run(
    name: str, command: Command, dataset: Path, nnunet: Path, work: Path, results: Path
) -> None:
    """Run a row; also score its teacher and, if it was trained, the student alone."""
    task, network, _, seed = name.split("-")
    teacher = import_teacher(nnunet, int(seed), dataset, work)
    scored = results / f"{task}-nnunet-teacher-{seed}.json"
    if not scored.is_file():
        summary = json.loads(cli("evaluate", "--dataset", dataset, "--model", teacher, "--json"))
        row = {"row": scored.stem, "summary": summary["summary"]}
        scored.write_text(json.dumps(row, indent=1) + "\n")
    alone, model = f"{task}-{network}-alone-{seed}", work / f"{name}-alone"
    if (results / f"{alone}.json").is_file():
        command = [word for word in command if word != "--also-alone"]
    if not (results / f"{name}.json").is_file():
        run_row(name, command, dataset, work / name, results)
    if model.exists() and not (results / f"{alone}.json").is_file():
        run_row(alone, command, dataset, model, results)


if __name__ == "__main__":
    main()
