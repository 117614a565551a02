"""Graph Flow: network efficiency, ablation and annotation efficiency, with the command line.

    python benchmarks/graph_flow/run.py --data DIR [--rows 'kvasir-mobile_unet-*-0' ...]

DIR contains ``hippocampus_msd``, ``kvasir_seg``, ``hrf_quarter`` and ``splits.json``. Finished
rows are not run again; ``README.md`` is generated from all of them. A row is named
``TASK-NETWORK-KIND-SEED``: KIND is ``teacher``, ``alone``, a method, a step of the ablation, or
``labels<N>_...`` for N labelled cases.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import SEEDS, TASKS, Command, base, run, student_rows, teacher_row  # noqa: E402

#: Settings of the logits term, which Graph Flow and logits distillation share.
T1, T4 = {"temperature": "1"}, {"temperature": "4"}
W1, W10 = {"weight": "1"}, {"weight": "10"}
PLAIN, STRONG, NONE = T1 | W1, T1 | W10, T1 | {"weight": "0"}
SOFT = T4 | W1
NO_LOGITS = ("--graph-flow.logits.weight", "0")
OFF = ("--graph-flow.vertex-weight", "0", "--graph-flow.edge-weight", "0")
Words = tuple[str, ...]
Settings = dict[str, Words]
SoftLabels = dict[str, str]


def soft_labels(group: str, logits: SoftLabels) -> Words:
    """Options of the logits term, which stand in a group of their method."""
    return tuple(word for name, value in logits.items() for word in (f"--{group}.{name}", value))


def by_logits(logits: SoftLabels, *others: str) -> Words:
    """Logits distillation."""
    return ("--method", "logits", *soft_labels("logits", logits), *others)


def graph_flow(
    logits: SoftLabels, graph: str, paraphraser: str = "0", peaks: str = "teacher", pairs: str = "3"
) -> Words:
    """Return the settings of Graph Flow with a logits term and a weight of the graph terms."""
    return (
        *("--method", "graph_flow", *soft_labels("graph-flow.logits", logits)),
        *("--graph-flow.vertex-weight", graph, "--graph-flow.edge-weight", graph),
        *("--graph-flow.paraphraser-steps", paraphraser, "--graph-flow.peaks", peaks),
        *("--graph-flow.tap-pairs", pairs),
    )


def own(logits: SoftLabels, graph: str, paraphraser: str = "150", pairs: str = "1") -> Words:
    """Return the reconstruction: paraphrasers, and the student's patches at its own peaks."""
    return graph_flow(logits, graph, paraphraser, "own", pairs)


def one(logits: SoftLabels, graph: str, paraphraser: str = "0") -> Words:
    """Return settings with one pair of taps, the student's patches at its teacher's peaks."""
    return graph_flow(logits, graph, paraphraser, pairs="1")


def methods(logits: Words, graph: Words) -> Settings:
    """Return the settings of each method."""
    return {
        "logits": logits,
        "attention": ("--method", "attention"),
        "graph_flow": graph,
    }


WARM = ("--warmup", "500")
#: Half of the schedule of ERFNet on the hippocampus.
HALF = ("--warmup", "800")
PATCH = ("--graph-flow.patch",)
CHANNEL = ("--graph-flow.normalise", "channel")
#: Chosen on the validation cases of the first seed among these and what `SEARCH` lists, for a task
#: or for one student of it; the number of tap pairs of Graph Flow on that of all seeds. Both
#: settings of the logits term came to the same for Mobile U-Net on the hippocampus.
METHODS: dict[str, Settings] = {
    "kvasir": methods(by_logits(STRONG, *WARM), graph_flow(STRONG, "1")),
    "hippocampus": methods(by_logits(STRONG), graph_flow(STRONG, "0.1")),
    "hippocampus-mobile_unet": methods(by_logits(SOFT), own(SOFT, "0.02", "100")),
    "hippocampus-erfnet": methods(by_logits(STRONG, *HALF), (*graph_flow(STRONG, "0.1"), *HALF)),
    "hrf": methods(by_logits(STRONG), graph_flow(STRONG, "1")),
    "hrf-erfnet": methods(by_logits(STRONG), graph_flow(STRONG, "0.02")),
    "hrf-mobile_unet": methods(by_logits(STRONG), own(STRONG, "0.1")),
}
#: The student of the ablation and of the annotation efficiency.
TASK, STUDENT = "kvasir", "enet"
ADVERSARIAL = ("--graph-flow.adversarial.weight", "0.1")
#: A discriminator that fits images of 64 x 64.
SMALL = ("--graph-flow.adversarial.width", "16")
#: Rows of the ablation: options that differ from the row of Graph Flow.
ABLATION: Settings = {
    "vertices": (*NO_LOGITS, "--graph-flow.edge-weight", "0"),
    "vertices_edges": NO_LOGITS,
    "adversarial": (*NO_LOGITS, *OFF, *ADVERSARIAL, *SMALL),
    "own_peaks": ("--graph-flow.peaks", "own"),
    "paraphraser": ("--graph-flow.paraphraser-steps", "300"),
    "one_pair": ("--graph-flow.tap-pairs", "1"),
    "two_pairs": ("--graph-flow.tap-pairs", "2"),
    "full": (*ADVERSARIAL, *SMALL),
}
ATTENTION: Settings = {
    f"search_attention_{weight}": ("--method", "attention", "--attention.weight", weight)
    for weight in ("0.1", "10")
}
#: Further settings tried with the first seed, by task and student.
TRIED: Settings = {
    "search_logits_t4_w1": by_logits(SOFT),
    "search_logits_t1_w10": by_logits(STRONG),
    "search_logits_t1_w1": by_logits(PLAIN),
    **ATTENTION,
    "search_graph_0.1": own(STRONG, "0.1"),
    "search_graph_warm": (*own(STRONG, "0.1"), *WARM),
    "search_graph_0.5": own(STRONG, "0.5"),
    "search_graph_t1_w1": own(PLAIN, "0.1"),
    "search_graph_t1_w1_0.5": own(PLAIN, "0.5"),
    "search_graph_three_pairs": own(STRONG, "0.1", pairs="3"),
    "search_graph_full": (*own(STRONG, "0.1"), *ADVERSARIAL),
    "search_channel_t1_w10_0.5": (*own(STRONG, "0.5", "600"), *CHANNEL),
    "search_channel_t1_w1_0.5": (*own(PLAIN, "0.5", "600"), *CHANNEL),
    "search_channel_t4_w0.1_2": (*own(T4 | {"weight": "0.1"}, "2", "600"), *CHANNEL),
    "search_patch_9": (*own(STRONG, "0.1"), *PATCH, "9"),
    "search_patch_15": (*own(STRONG, "0.1"), *PATCH, "15"),
    "search_patch_9_0.5": (*own(STRONG, "0.5", "600"), *PATCH, "9", *CHANNEL),
    "search_peaks_alone_1": one(NONE, "1", "150"),
    "search_peaks_t1_w1_1": one(PLAIN, "1", "150"),
    "search_peaks_t1_w10_1": one(STRONG, "1", "150"),
    "search_peaks_raw_1": one(NONE, "1"),
    "search_peaks_raw_5": one(NONE, "5"),
    "search_peaks_raw_t1_w1_1": one(PLAIN, "1"),
    "search_peaks_raw_t1_w1_5": one(PLAIN, "5"),
    "search_peaks_raw_t1_w10_5": one(STRONG, "5"),
}
SEARCH: dict[tuple[str, str], Settings] = {
    ("kvasir", STUDENT): TRIED,
    ("hippocampus", "enet"): {
        "search_logits_t4_w1": TRIED["search_logits_t4_w1"],
        "search_peaks_1": graph_flow(STRONG, "1"),
        **ATTENTION,
    },
    ("hippocampus", "mobile_unet"): {
        "search_logits_t1_w10": TRIED["search_logits_t1_w10"],
        "search_graph_t1_w10_0.5": own(STRONG, "0.5"),
    },
    ("hrf", "mobile_unet"): {
        "search_graph_alone_0.5": own(NONE, "0.5"),
        "search_peaks": graph_flow(STRONG, "1"),
    },
    ("hippocampus", "erfnet"): {
        "search_logits_t1_w1": TRIED["search_logits_t1_w1"],
        "search_logits_t1_w10": TRIED["search_logits_t1_w10"],
        "search_peaks_0.1": graph_flow(STRONG, "0.1"),
    },
    ("hrf", "erfnet"): {
        "search_peaks_0.1": graph_flow(STRONG, "0.1"),
        "search_peaks_t1_w1_0.1": graph_flow(PLAIN, "0.1"),
        "search_peaks_one_pair": one(STRONG, "0.1"),
        "search_peaks_warm": (*graph_flow(STRONG, "1"), "--warmup", "750"),
    },
    ("hrf", "enet"): {
        "search_logits_t4_w1": TRIED["search_logits_t4_w1"],
        "search_logits_t1_w1": TRIED["search_logits_t1_w1"],
        "search_peaks_0.1": graph_flow(STRONG, "0.1"),
        **ATTENTION,
    },
}
#: Labelled cases of the 200; with all of them the rows are those of the network efficiency.
LABELS = (10, 20, 40, 100)


def rows(work: Path) -> dict[str, Command]:
    """Return the training arguments of each row by name, the most important rows first."""
    table: dict[str, Command] = teacher_of_all(work)
    for network in TASKS[TASK].students:
        for seed in SEEDS:
            for task in TASKS:
                table |= teacher_row(task, work, seed)
                choice = METHODS.get(f"{task}-{network}", METHODS[task])
                table |= student_rows(task, network, work, seed, choice)
    for (task, network), choices in SEARCH.items():
        table |= student_rows(task, network, work, SEEDS[0], choices)
    for seed in SEEDS:
        table |= ablation(work, seed)
        table |= annotation(work, seed)
    return table


def teacher_of_all(work: Path) -> dict[str, Command]:
    """Return an upper bound for the hippocampus: a mask for every case, and whole images."""
    data = str(work / TASKS["hippocampus"].key)
    network = ("--network", "unet", "--patch-size", "48", "64", "48", "--mirror", "x")
    schedule = ("--steps", "1200", "--validate-every", "300", "--learning-rate", "2e-3")
    return {
        "hippocampus-unet-all_teacher-0": [
            *("train", "--dataset", data, "--dims", "3", "--batch-size", "2", *network),
            *(*schedule, "--seed", "0"),
        ]
    }


def ablation(work: Path, seed: int) -> dict[str, Command]:
    """Return the rows of the ablation: parts of Graph Flow, alone and together."""
    whole = METHODS[TASK]["graph_flow"]
    kinds = {name: changed(whole, changes) for name, changes in ABLATION.items()}
    kinds["reconstruction"] = own(STRONG, "0.1")
    kinds["search_logits_t1_w10"] = TRIED["search_logits_t1_w10"]
    return student_rows(TASK, STUDENT, work, seed, kinds)


def changed(options: tuple[str, ...], changes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options with some values replaced."""
    values = dict(zip(options[::2], options[1::2], strict=True))
    values |= dict(zip(changes[::2], changes[1::2], strict=True))
    return tuple(word for pair in values.items() for word in pair)


def annotation(work: Path, seed: int) -> dict[str, Command]:
    """Return rows with fewer labelled cases, for the teacher as well."""
    task, table = TASKS[TASK], {}
    network, *settings = task.teacher
    for count in LABELS:
        few = base(task, work, seed, count)
        prefix = f"{TASK}-{STUDENT}-labels{count}"
        teacher = f"{TASK}-{network}-labels{count}_teacher-{seed}"
        student = [*few, "--network", STUDENT, *task.students[STUDENT]]
        distilled = [
            *("distill", *student, "--teacher", str(work / teacher), "--teacher-min-dice", "0"),
            *METHODS[TASK]["graph_flow"],
        ]
        table |= {
            teacher: ["train", *few, "--network", network, *settings],
            f"{prefix}_alone-{seed}": ["train", *student],
            f"{prefix}_labelled-{seed}": [*distilled, "--no-unlabelled"],
            f"{prefix}_both-{seed}": distilled,
        }
    return table


if __name__ == "__main__":
    run(HERE, rows, __doc__)
