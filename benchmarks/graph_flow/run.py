"""Graph Flow: network efficiency, ablation and annotation efficiency, by the command line.

    python benchmarks/graph_flow/run.py --data DIR [--rows 'kvasir-mobile_unet-*-0' ...]

DIR holds ``hippocampus_msd``, ``kvasir_seg``, ``hrf_quarter`` and ``splits.json``. Rows that are
done are not run again; from all of them comes ``README.md``. A row is named
``TASK-NETWORK-KIND-SEED``: KIND is ``teacher``, ``alone``, a method, a step of the ablation, or
``labels<N>_...`` for N labelled cases.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import SEEDS, TASKS, Command, base, run, student_rows, teacher_row  # noqa: E402

T1, T4 = ("--temperature", "1"), ("--temperature", "4")
W10 = (*T1, "--logits-weight", "10")
FEW_STEPS = ("--graph-flow.paraphraser-steps", "150")
GRAPH_HALF = ("--graph-flow.vertex-weight", "0.5", "--graph-flow.edge-weight", "0.5")
#: With the weights that were best on the validation cases of the first seed, see `SEARCH`.
METHODS: dict[str, tuple[str, ...]] = {
    "logits": ("--method", "logits", *W10),
    "attention": ("--method", "attention"),
    "graph_flow": ("--method", "graph_flow", *W10, *GRAPH_HALF, *FEW_STEPS),
}
#: The student of the ablation and of the annotation efficiency.
TASK, STUDENT = "kvasir", "mobile_unet"
OFF = ("--graph-flow.vertex-weight", "0", "--graph-flow.edge-weight", "0")
NO_LOGITS = ("--logits-weight", "0")
#: Steps of the ablation, each the changes to Graph Flow as it is by default.
ABLATION: dict[str, tuple[str, ...]] = {
    "vertices": (*NO_LOGITS, "--graph-flow.edge-weight", "0"),
    "vertices_edges": NO_LOGITS,
    "no_paraphraser": ("--graph-flow.paraphraser-steps", "0"),
    "adversarial": (*NO_LOGITS, *OFF, "--adversarial.weight", "0.1"),
    "full": ("--adversarial.weight", "0.1"),
    "two_pairs": ("--graph-flow.tap-pairs", "2"),
    "three_pairs": ("--graph-flow.tap-pairs", "3"),
}
#: What was tried before, with the first seed: temperature and weights, chosen on validation.
SEARCH: dict[str, tuple[str, ...]] = {
    "search_logits_t4_w3": ("--method", "logits", *T4, "--logits-weight", "3"),
    "search_attention_w10": ("--method", "attention", "--attention.weight", "10"),
    "search_graph_0.5_adapters": (
        *("--method", "graph_flow", *W10, *GRAPH_HALF),
        *("--graph-flow.paraphraser-steps", "0"),
    ),
}
#: Labelled cases of the 200; with all of them the rows are those of the network efficiency.
LABELS = (10, 20, 40, 100)


def rows(work: Path) -> dict[str, Command]:
    """Name of a row -> arguments that train its model, what matters most first."""
    table: dict[str, Command] = {}
    for network in TASKS[TASK].students:
        for seed in SEEDS:
            for task in TASKS:
                table |= teacher_row(task, work, seed)
                table |= student_rows(task, network, work, seed, METHODS)
    table |= student_rows(TASK, STUDENT, work, SEEDS[0], SEARCH)
    for seed in SEEDS:
        table |= ablation(work, seed)
        table |= annotation(work, seed)
    return table


def ablation(work: Path, seed: int) -> dict[str, Command]:
    """Parts of Graph Flow, alone and together."""
    whole = METHODS["graph_flow"]
    kinds = {name: changed(whole, changes) for name, changes in ABLATION.items()}
    return student_rows(TASK, STUDENT, work, seed, kinds)


def changed(options: tuple[str, ...], changes: tuple[str, ...]) -> tuple[str, ...]:
    """Options with other values for some of them."""
    values = dict(zip(options[::2], options[1::2], strict=True))
    values |= dict(zip(changes[::2], changes[1::2], strict=True))
    return tuple(word for pair in values.items() for word in pair)


def annotation(work: Path, seed: int) -> dict[str, Command]:
    """The same with fewer labelled cases; the teacher knows only those."""
    task, table = TASKS[TASK], {}
    network, *settings = task.teacher
    for count in LABELS:
        few = base(task, work, seed, count)
        teacher = f"{TASK}-{network}-labels{count}_teacher-{seed}"
        student = [*few, "--network", STUDENT, *task.students[STUDENT]]
        distilled = ["distill", *student, "--teacher", str(work / teacher), *METHODS["graph_flow"]]
        prefix = f"{TASK}-{STUDENT}-labels{count}"
        table |= {
            teacher: ["train", *few, "--network", network, *settings],
            f"{prefix}_alone-{seed}": ["train", *student],
            f"{prefix}_labelled-{seed}": [*distilled, "--no-unlabelled"],
            f"{prefix}_both-{seed}": distilled,
        }
    return table


if __name__ == "__main__":
    run(HERE, rows, __doc__)
