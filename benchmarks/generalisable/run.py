"""Compare ways of training that may keep a small network's Dice on another site.

    python benchmarks/generalisable/run.py --data DIR [--tasks phantom] [--steps 200] [--rows '*-0']

DIR contains ``hrf_quarter``, ``chase_db1_part``, ``hippocampus_msd`` and ``splits.json``; the
phantom needs none. Every row trains on the source only, is chosen on the source's validation
cases, and is scored on both sites; ``best`` is the augmentation of rows 2, 4 and 5 whose student is
best on those cases. Finished rows are not run again. A row is named ``TASK-KIND-SEED``.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import shifts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from chosen import METHODS  # noqa: E402
from rows import cli, validation_dice  # noqa: E402

SEEDS = (0, 1, 2)
WORK = HERE.parent / "work" / "generalisable"
#: Rows 2, 4 and 5, and no further augmentation (row 1).
AUGMENTATIONS = ("none", "scale", "bigaug", "gin", "randconv")
#: Share of cases below this Dice.
POOR = 0.1
#: Skip connections leave the bottleneck of a U-Net nothing to do.
DECODER = ("--generalisable.teacher-tap", "decoder")
#: With equal weights ENet alone does not tell the two parts of the hippocampus apart for 400 steps
#: (validation Dice 0.26, with these 0.75). The U-Net is better with equal ones (0.82 instead of
#: 0.78), and so is ENet with a teacher (0.75 instead of 0.64 after 300 steps).
BALANCED = ("--class-weights", "balanced")
FLAT = ("--dims", "2", "--batch-size", "8", "--patch-size")


@dataclass(frozen=True)
class Task:
    """Two sites, and the settings that all models of a task share."""

    dataset: Callable[[Path, Path], Path]
    source: str
    common: tuple[str, ...]
    teacher: tuple[str, ...]
    student: tuple[str, ...]
    steps: int
    #: Of the teacher, if it learns sooner.
    teacher_steps: int | None = None
    #: Of students alone.
    alone: tuple[str, ...] = ()
    graph_flow: tuple[str, ...] = METHODS["graph_flow"]
    ours: tuple[str, ...] = ()


TASKS = {
    "vessels": Task(
        shifts.vessels, "HRF", (*FLAT, "64", "64"),
        ("--network", "unet", "--width", "16"), ("--network", "enet"), 500, ours=DECODER,
    ),
    "hippocampus": Task(
        shifts.hippocampus, "scanner",
        ("--dims", "3", "--batch-size", "2", "--patch-size", "32", "48", "32"),
        ("--network", "unet"), ("--network", "enet"), 800, 400, BALANCED, ours=DECODER,
    ),
    "phantom": Task(
        shifts.phantom, "one", (*FLAT, "64", "64"),
        ("--network", "erfnet"), ("--network", "enet", "--width", "8"), 400,
        graph_flow=("--task", "lesions"),
    ),
}  # fmt: skip

OURS = ("--method", "generalisable")
#: Kinds of rows on top of the best augmentation: rows 6, 7 and 9, and each term left out.
ON_BEST = {
    **{name: METHODS[name] for name in ("logits", "dist", "graph_flow", "emkd")},
    "generalisable": OURS,
    "views_only": (
        *OURS,
        *("--generalisable.intra-weight", "0", "--generalisable.inter-weight", "0"),
        *("--generalisable.cross-weight", "0"),
    ),
    "without_intra": (*OURS, "--generalisable.intra-weight", "0"),
    "without_inter": (*OURS, "--generalisable.inter-weight", "0"),
    "without_cross": (*OURS, "--generalisable.cross-weight", "0"),
    "without_views": (*OURS, "--generalisable.view-share", "0"),
    "mse_edges": (*OURS, "--generalisable.edge-loss", "mse"),
    "skip_drop": (*OURS, "--generalisable.skip-drop", "0.5"),
    "gin_views": (*OURS, "--generalisable.view-kinds", "gin"),
    "batch_nodes": (*OURS, "--generalisable.inter-nodes", "batch"),
}
FAITHFUL = (*OURS, "--generalisable.preset", "faithful")
#: Rows whose mask auto-encoder differs from that of the method's row.
OTHER_STAGES = ("faithful", "generalisable")
#: Models that are trained without a teacher, and their role. A half is where the method starts.
TRAINED = {"teacher": "teacher", "alone": "student", "half": "student"}


class Benchmark:
    """The rows of one task."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.task, self.data = name, TASKS[name], options.data
        self.results, self.threads = options.results, options.threads
        self.steps, self.root = options.steps or self.task.steps, options.work
        self.work = self.root / f"{name}-{self.steps}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.dataset = self.task.dataset(self.data, self.root / name)

    def kinds(self) -> list[str]:
        """Kinds of rows, in the order in which they need each other."""
        teachers = [f"teacher_{one}" for one in AUGMENTATIONS]
        alone = [f"alone_{one}" for one in AUGMENTATIONS]
        return [*teachers, *alone, *self.equal(), "faithful", *ON_BEST]

    def equal(self) -> list[str]:
        """Row 3 is the models of row 1 on images brought to equal pixels per degree."""
        return ["alone_none_equal", "teacher_none_equal"] if self.name == "vessels" else []

    def command(self, kind: str, seed: int) -> list[str]:
        """Return the arguments of the row without ``--out``.

        The generalisable method starts from a student that was trained alone. To give every student
        the same number of steps, it and the distillation each take half of them; so do the stages
        that train other networks.
        """
        role, _, augmentation = kind.partition("_")
        if role in TRAINED:
            task, named = self.task, TRAINED[role]
            network = task.teacher if named == "teacher" else (*task.student, *task.alone)
            more = ["--role", named, "--scanner-augmentation", augmentation]
            own = task.teacher_steps if role == "teacher" else None
            steps = self.steps // 2 if role == "half" else own or self.steps
            return ["train", *self.common(seed, steps), *network, *more]
        best = "none" if kind == "faithful" else self.best(seed)
        self.run(f"teacher_{best}", seed)
        method = FAITHFUL if kind == "faithful" else ON_BEST[kind]
        if kind == "graph_flow":
            method = self.task.graph_flow
        ours = method[: len(OURS)] == OURS
        # Weights chosen for longer schedules; a student that has learnt nothing yet is not taught
        # small structures by class probabilities.
        given = [] if ours else ["--warmup", str(self.steps // 2)]
        if ours:
            given += self.task.ours
            for stage in ("autoencoder", "alignment"):
                given += [f"--generalisable.{stage}-steps", str(self.steps // 2)]
            given += ["--generalisable.student", str(self.trained(f"half_{best}", seed))]
            stages = self.model("generalisable", seed)
            if kind not in OTHER_STAGES and stages.exists():
                given += ["--generalisable.stages", str(stages)]
        return [
            *(
                "distill",
                *self.common(seed, self.steps // 2 if ours else self.steps),
                *self.task.student,
            ),
            *("--teacher", str(self.model(f"teacher_{best}", seed))),
            *("--scanner-augmentation", best, *method, *given),
        ]

    def common(self, seed: int, steps: int) -> list[str]:
        """Return the settings that all models share."""
        return [
            *("--dataset", str(self.dataset), "--sources", self.task.source, *self.task.common),
            *("--steps", str(max(1, steps)), "--validate-every", str(max(1, steps // 4))),
            *("--seed", str(seed), "--learning-rate", "3e-3", "--threads", str(self.threads)),
        ]

    def trained(self, kind: str, seed: int) -> Path:
        """Train a model that is no row, unless it exists."""
        model = self.model(kind, seed)
        if not model.exists():
            print(f"== {self.name}-{kind}-{seed}, for the next row", flush=True)
            cli(*self.command(kind, seed), "--out", model)
        return model

    def best(self, seed: int) -> str:
        """Augmentation of the student that is best on the source's validation cases."""
        for one in AUGMENTATIONS[1:]:
            self.run(f"alone_{one}", seed)
        found = {one: self.model(f"alone_{one}", seed) for one in AUGMENTATIONS[1:]}
        return max(found, key=lambda one: validation_dice(found[one]))

    def model(self, kind: str, seed: int) -> Path:
        return self.work / f"{kind.removesuffix('_equal')}-{seed}"

    def run(self, kind: str, seed: int) -> None:
        name = f"{self.name}-{kind}-{seed}"
        file = self.results / f"{name}.json"
        if file.exists():
            return
        print(f"== {name}", flush=True)
        model, seconds, command = self.model(kind, seed), None, ["(the model of row 1)"]
        last = model.with_name(f"{model.name}-last")
        if not kind.endswith("_equal"):
            command = self.command(kind, seed)
            if not last.exists():
                shutil.rmtree(model, ignore_errors=True)
                started = time.monotonic()
                job = json.loads(cli(*command, "--out", model, "--json"))
                seconds = round(time.monotonic() - started, 1)
                keep_last(Path(job["folder"]), model, last)
        dataset = self.dataset
        if kind.endswith("_equal"):
            dataset = shifts.vessels(self.data, self.root / "vessels_equal", equal=True)
        scores = _scores(model, dataset)
        result = {
            "row": name,
            "steps": self.steps,
            "command": " ".join(["napari-graphflow", *command]).replace(f"{self.root}/", "work/"),
            "teacher": teacher_of(command),
            "training_seconds": seconds,
            "validation_dice": validation_dice(model),
            "measured": json.loads((model / "model.json").read_text())["provenance"]["measured"],
            "gap": site_gap_of(model, dataset, self.task.source),
            "sites": {site: _summary(scores, dataset, site) for site in scores["sites"]},
        }
        if last.exists():
            scores = _scores(last, dataset)
            result["last"] = {site: _summary(scores, dataset, site) for site in scores["sites"]}
        aside = file.with_name(f".{file.name}")
        aside.write_text(json.dumps(result, indent=1) + "\n")
        aside.replace(file)


def keep_last(job: Path, model: Path, last: Path) -> None:
    """Make a model of the last weights of a job, beside the one of those best on the source."""
    import torch
    from safetensors.torch import save_file

    from napari_graphflow.jobs.paths import JobPaths

    saved = torch.load(JobPaths(job).last_checkpoint, map_location="cpu", weights_only=True)
    aside = last.with_name(f".{last.name}")
    shutil.rmtree(aside, ignore_errors=True)  # of a benchmark that was stopped here
    shutil.copytree(model, aside)
    weights = {name: value.clone() for name, value in saved["student"].items()}
    save_file(weights, aside / "weights.safetensors")
    aside.rename(last)
    shutil.rmtree(job)


def _scores(model: Path, dataset: Path) -> dict[str, Any]:
    """Score a model on the test cases of both sites."""
    found: dict[str, Any] = json.loads(
        cli("evaluate", "--dataset", dataset, "--model", model, "--json")
    )
    return found


def teacher_of(command: list[str]) -> str | None:
    """Return the kind of the row of the teacher in a command."""
    if "--teacher" not in command:
        return None
    return Path(command[command.index("--teacher") + 1]).name.rpartition("-")[0]


def _summary(scores: dict[str, Any], dataset: Path, site: str) -> dict[str, Any]:
    lines = (dataset / "sites.csv").read_text().splitlines()[1:]
    names = {line.rpartition(",")[0] for line in lines if line.rpartition(",")[2] == site}
    dice = {
        case: sum(one["dice_score"] or 0.0 for one in classes.values()) / len(classes)
        for case, classes in scores["cases"].items()
        if case in names
    }
    poor = sum(value < POOR for value in dice.values()) / max(1, len(dice))
    return {
        "role": scores["sites"][site]["role"],
        "mean": sum(dice.values()) / max(1, len(dice)),
        "poor": poor,
        "cases": dice,
    }


def site_gap_of(model: Path, dataset: Path, source: str) -> dict[str, float] | None:
    """E between the test images of source and target, by the codes of the site check."""
    from napari_graphflow.config.model_card import read_model_card
    from napari_graphflow.dataset.cases import Dataset, read_case
    from napari_graphflow.distillation.generalisable.distances import FEWEST_IMAGES, site_gap
    from napari_graphflow.imaging.preprocessing import prepare
    from napari_graphflow.inference.site_check import image_code
    from napari_graphflow.models.saved import load_model

    card, loaded = read_model_card(model), load_model(model)
    codes: dict[bool, list[Any]] = {True: [], False: []}
    for case in Dataset.open(dataset).cases:
        # Of the source, images that were not learnt from.
        if case.site != source or case.split != "train":
            array = prepare(read_case(case), card.preprocessing).array
            codes[case.site == source].append(image_code(loaded.module, array, card.patch_size))
    if min(map(len, codes.values())) < FEWEST_IMAGES:
        return None
    return site_gap(codes[True], codes[False])._asdict()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rows", nargs="*", default=["*"], help="patterns of KIND-SEED")
    parser.add_argument("--steps", type=int, help="of every row, for a trial")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--work", type=Path, default=WORK, help="datasets and models are kept here")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each training")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    # A separate job folder: rows neither wait for other jobs of this user nor are listed with them.
    with TemporaryDirectory() as home:
        os.environ["GRAPHFLOW_HOME"] = home
        for task in options.tasks:
            benchmark = Benchmark(task, options)
            for seed in SEEDS:
                for kind in benchmark.kinds():
                    if not any(fnmatch(f"{kind}-{seed}", pattern) for pattern in options.rows):
                        continue
                    print(f"{task}-{kind}-{seed}") if options.list else benchmark.run(kind, seed)


if __name__ == "__main__":
    main()
