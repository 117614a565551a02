"""Students against every baseline: alone, logits, DIST, channel-wise, attention, EMKD, Graph Flow.

    python benchmarks/students/run.py --data DIR [--rows 'hippocampus-enet-*-0' ...]

DIR contains ``hippocampus_msd``, ``hrf_quarter`` and ``splits.json``. Finished rows are not run
again; ``README.md`` is generated from all of them. A row is named ``TASK-NETWORK-KIND-SEED``.
"""

import sys
from pathlib import Path

from napari_graphflow.config.run import PRESETS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from chosen import METHODS  # noqa: E402
from tasks import SEEDS, TASKS, Command, base, run, steps, student_rows, teacher_row  # noqa: E402

#: Weights of DIST and channel-wise distillation that are tried with the first seed.
WEIGHTS = ("1", "3", "10")
#: The recipe: parts on top of Graph Flow, each left out once.
RECIPE: dict[str, tuple[str, ...]] = {
    "averaged": ("--ema-decay", "0.995"),
    "cutmix": ("--cutmix", "0.5"),
    "augmentation": ("--augmentation", "strong"),
}
#: What unlabelled cases are worth, and how to learn from them.
ANSWERS = {
    "logits_hard": (*METHODS["logits"], "--answers", "hard"),
    "logits_labelled": (*METHODS["logits"], "--no-unlabelled"),
    "graph_flow_labelled": (*METHODS["graph_flow"], "--no-unlabelled"),
}
TASK = "hippocampus"
OTHERS = (
    ("hippocampus24", "enet"),
    ("hrf", "enet"),
    ("kvasir256", "enet"),
    (TASK, "erfnet"),
    ("hrf", "erfnet"),
    (TASK, "plain_conv_unet"),
)


def rows(work: Path) -> dict[str, Command]:
    """Return the training arguments of each row by name, the most important rows first."""
    table: dict[str, Command] = {}
    for seed in SEEDS:
        table |= rows_of(TASK, "enet", work, seed, METHODS)
    for seed in SEEDS:
        table |= self_trained(TASK, work, seed)
        table |= efforts(work, seed)
    first = SEEDS[0]
    table |= student_rows(TASK, "enet", work, first, weights())
    for seed in SEEDS:
        table |= student_rows(TASK, "enet", work, seed, recipe() | ANSWERS)
    for task, network in OTHERS:
        for seed in SEEDS:
            table |= rows_of(task, network, work, seed, METHODS)
    return table


def rows_of(
    task: str, network: str, work: Path, seed: int, kinds: dict[str, tuple[str, ...]]
) -> dict[str, Command]:
    """Return the rows of teacher, student alone, student alone for as many minutes, and methods."""
    table = teacher_row(task, work, seed) | student_rows(task, network, work, seed, kinds)
    alone = table[f"{task}-{network}-alone-{seed}"]
    # The schedule is the end of a student's settings.
    total = LONGER * int(alone[alone.index("--steps") + 1])
    longer = [*alone[: -len(steps(1))], *steps(total)]
    more = {"alone_longer": longer, "alone_balanced": [*alone, "--class-weights", "balanced"]}
    return table | {f"{task}-{network}-{kind}-{seed}": words for kind, words in more.items()}


def efforts(work: Path, seed: int) -> dict[str, Command]:
    """Return students of the efforts of the window, with what is recommended for organs."""
    table: dict[str, Command] = {}
    for effort, preset in PRESETS.items():
        kind = {effort: ("--task", "organs")}
        alone, distilled = student_rows(TASK, "enet", work, seed, kind).items()
        schedule = [word for name, value in preset.items() for word in (option(name), str(value))]
        for name, words in ((f"{TASK}-enet-{effort}_alone-{seed}", alone[1]), distilled):
            place = words.index("--steps")
            table[name] = [*words[:place], *schedule, *words[place + len(schedule) :]]
    return table


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


#: Times the steps with which the student alone takes about as long as with Graph Flow.
LONGER = 5


def weights() -> dict[str, tuple[str, ...]]:
    """Return DIST and channel-wise distillation with other weights."""
    return {
        f"search_{method}_{weight}": ("--method", method, f"--{option}.weight", weight)
        for method, option in (("dist", "dist"), ("channel_wise", "channel-wise"))
        for weight in WEIGHTS
        if weight != "3"
    }


def recipe() -> dict[str, tuple[str, ...]]:
    """Return Graph Flow with the whole recipe, and with each part left out."""
    whole = METHODS["graph_flow"]
    kinds = {"recipe": tuple(word for part in RECIPE.values() for word in part)}
    for name in RECIPE:
        left = (part for other, part in RECIPE.items() if other != name)
        kinds[f"recipe_without_{name}"] = tuple(word for part in left for word in part)
    return {name: (*whole, *words) for name, words in kinds.items()}


def self_trained(task: str, work: Path, seed: int) -> dict[str, Command]:
    """Return teachers that were trained twice, with soft and with hard answers."""
    network, *settings = TASKS[task].teacher
    same = ["train", *base(TASKS[task], work, seed), "--network", network, *settings]
    return {
        f"{task}-{network}-{answers}_teacher-{seed}": [*same, "--self-training", answers]
        for answers in ("soft", "hard")
    }


if __name__ == "__main__":
    run(HERE, rows, __doc__)
