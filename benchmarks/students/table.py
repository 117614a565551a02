"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import statistics
import sys
from pathlib import Path

from scipy.stats import wilcoxon

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from method_plots import plot_kinds  # noqa: E402
from method_tables import Kinds, by_student, table  # noqa: E402
from rows import AGAIN, markdown, put_table, read_results  # noqa: E402

TITLES = {
    "teacher": "teacher",
    f"teacher{AGAIN}": "teacher, trained again",
    "alone": "student alone",
    "alone_longer": "student alone, five times the steps",
    "logits": "logits distillation",
    "dist": "DIST",
    "channel_wise": "channel-wise distillation",
    "attention": "attention transfer",
    "emkd": "EMKD",
    "graph_flow": "Graph Flow",
    "graph_flow_dist": "Graph Flow, DIST as its logits term",
    "logits_hard": "logits distillation, hard answers",
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
#: What every method is compared with, case by case.
AGAINST = ("alone", "logits", "dist")


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


def paired(kinds: Kinds) -> str:
    """Write the differences of every kind from those in `AGAINST`."""
    lines = [["model", "seeds", *(f"minus {TITLES[other]}" for other in AGAINST)]]
    for kind, title in TITLES.items():
        if kind in kinds:
            cells = [difference(kinds, kind, other) for other in AGAINST]
            lines.append([title, " ".join(sorted(kinds[kind])), *cells])
    return markdown(lines)


def main() -> None:
    groups = by_student(read_results(HERE / "results"))
    parts = []
    for (task, network), kinds in groups.items():
        parts += [f"### {task}, {network}", table(kinds, TITLES), paired(kinds)]
    if groups:
        shown = {kind: title for kind, title in TITLES.items() if "search" not in kind}
        plot_kinds(groups, shown, HERE / "students.png")
        parts.append("![Test Dice by method](students.png)")
    put_table(HERE / "README.md", "\n\n".join(parts) or "No row has been run yet.")


if __name__ == "__main__":
    main()
