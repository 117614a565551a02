"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import sys
from pathlib import Path

from napari_graphflow.config.run import PRESETS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from method_plots import plot_kinds  # noqa: E402
from method_tables import by_student, mean, table  # noqa: E402
from rows import AGAIN, Kinds, difference, markdown, put_table, read_results, spread  # noqa: E402

TITLES = {
    "teacher": "teacher",
    f"teacher{AGAIN}": "teacher, trained again",
    "alone": "student alone",
    "alone_longer": "student alone, five times the steps",
    "alone_balanced": "student alone, balanced class weights",
    "logits": "logits distillation",
    "dist": "DIST",
    "channel_wise": "channel-wise distillation",
    "attention": "attention transfer",
    "emkd": "EMKD",
    "graph_flow": "Graph Flow",
    "graph_flow_dist": "Graph Flow, DIST as its logits term",
    "logits_hard": "logits distillation, hard answers",
    "logits_labelled": "logits distillation, labelled cases only",
    "graph_flow_labelled": "Graph Flow, labelled cases only",
    "recipe": "Graph Flow with the whole recipe",
    "recipe_without_averaged": "the same without averaged weights",
    "recipe_without_cutmix": "the same without CutMix",
    "recipe_without_augmentation": "the same with the default augmentation",
    "soft_teacher": "teacher, self-trained with soft answers",
    "hard_teacher": "teacher, self-trained with hard answers",
}
TITLES |= {
    f"search_{method}_{weight}": f"{title}, weight {weight}"
    for method, title in (("dist", "DIST"), ("channel_wise", "channel-wise distillation"))
    for weight in ("1", "10")
}
#: Students with the steps of the window's efforts, which have a table of their own.
EFFORTS = {
    kind: title
    for effort in PRESETS
    for kind, title in (
        (effort, f"*{effort}*, recommended for organs"),
        (f"{effort}_alone", f"*{effort}*, student alone"),
    )
}
#: What every method is compared with, case by case.
AGAINST = ("alone", "logits", "dist")


def paired(kinds: Kinds) -> str:
    """Write the differences of every kind from those in `AGAINST`."""
    lines = [["model", "seeds", *(f"minus {TITLES[other]}" for other in AGAINST)]]
    for kind, title in TITLES.items():
        if kind in kinds:
            cells = [difference(kinds, kind, other) for other in AGAINST]
            lines.append([title, " ".join(sorted(kinds[kind])), *cells])
    return markdown(lines)


def efforts(kinds: Kinds) -> str:
    """Write the Dice of the students of each effort, and its share of that of their teacher."""
    lines = [["effort", "seeds", "steps", "val. Dice", "test Dice", "of its teacher's", "min"]]
    for kind, title in EFFORTS.items():
        if not (rows := kinds.get(kind)):
            continue
        words = next(iter(rows.values()))["command"].split()
        dice = [mean(row) for row in rows.values()]
        teacher = [mean(row) for seed, row in kinds["teacher"].items() if seed in rows]
        minutes = [row["training_seconds"] for row in rows.values() if row["training_seconds"]]
        lines.append(
            [
                *(title, " ".join(sorted(rows)), words[words.index("--steps") + 1]),
                spread([row["validation_dice"] for row in rows.values()]),
                *(spread(dice), f"{100 * sum(dice) / sum(teacher):.0f} %"),
                f"{sum(minutes) / len(minutes) / 60:.1f}" if minutes else "",
            ]
        )
    return markdown(lines) if lines[1:] else ""


def main() -> None:
    groups = by_student(read_results(HERE / "results"))
    parts = []
    for (task, network), kinds in groups.items():
        parts += [f"### {task}, {network}", table(kinds, TITLES), paired(kinds)]
        parts += [found] if (found := efforts(kinds)) else []
    if groups:
        shown = {kind: title for kind, title in TITLES.items() if "search" not in kind}
        plot_kinds(groups, shown, HERE / "students.png")
        parts.append("![Test Dice by method](students.png)")
    put_table(HERE / "README.md", "\n\n".join(parts) or "No row has been run yet.")


if __name__ == "__main__":
    main()
