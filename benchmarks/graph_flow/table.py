"""Render the results of ``run.py`` as tables and a plot, into ``README.md``."""

import json
import sys
from pathlib import Path

import numpy as np
import pyqtgraph

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from method_plots import canvas, plot_kinds, save  # noqa: E402
from method_tables import Kinds, by_student, mean, table  # noqa: E402
from rows import AGAIN, markdown, put_table, read_results, spread  # noqa: E402
from run import LABELS, STUDENT, TASK, TASKS  # noqa: E402

METHODS = {
    "all_teacher": "teacher, every case labelled",
    "teacher": "teacher",
    f"teacher{AGAIN}": "teacher, trained again",
    "alone": "student alone",
    "logits": "logits distillation",
    "attention": "attention transfer",
    "graph_flow": "Graph Flow",
}
ABLATION = {
    "teacher": "teacher",
    "alone": "student alone",
    "vertices": "vertices",
    "vertices_edges": "vertices + edges",
    "adversarial": "adversarial",
    "search_logits_t1_w10": "logits, no warm-up",
    "logits": "logits, as above",
    "graph_flow": "vertices + edges + logits, as above",
    "own_peaks": "the same, each network at its own peaks",
    "paraphraser": "the same, through paraphrasers",
    "one_pair": "the same, one tap pair",
    "two_pairs": "the same, two tap pairs",
    "full": "the same + adversarial",
    "reconstruction": "as reconstructed: own peaks, paraphrasers, one tap pair, weights of 0.1",
}
#: Annotation efficiency: title of a curve, and the suffix of its rows' names.
CURVES = {
    "teacher": "teacher",
    "student alone": "alone",
    "Graph Flow, labelled": "labelled",
    "Graph Flow, labelled and unlabelled": "both",
}
#: The same rows where no case is left unlabelled.
WHOLE = {"teacher": "teacher", "alone": "alone", "labelled": "graph_flow", "both": "graph_flow"}


def main() -> None:
    groups = by_student(read_results(HERE / "results"))
    parts = ["## Network efficiency"]
    for (task, network), kinds in groups.items():
        parts += [f"### {task}, {network}", table(kinds, METHODS)]
    plot_kinds(groups, METHODS, HERE / "efficiency.png")
    parts.append("![Test Dice of each method, by task and student](efficiency.png)")
    parts += ["## Settings tried, first seed, validation Dice", search(groups)]
    main_group = groups.get((TASK, STUDENT), {})
    if set(main_group) & (set(ABLATION) - set(METHODS)):
        parts += [f"## Ablation: {TASK}, {STUDENT}", table(main_group, ABLATION)]
    if (HERE / "peaks.json").exists():
        parts += [f"## Dependence of the graph on the image: {TASK}, {STUDENT}", peaks()]
    if any(kind.startswith("labels") for kind in main_group):
        parts += [f"## Annotation efficiency: {TASK}, {STUDENT}", annotation(main_group)]
        plot(main_group, HERE / "annotation.png")
        parts.append("![Test Dice by number of labelled cases](annotation.png)")
    put_table(HERE / "README.md", "\n\n".join(parts) if groups else "No row has been run yet.")


def search(groups: dict[tuple[str, str], Kinds]) -> str:
    """Write the validation Dice on which the choice of settings is based."""
    lines = [["task", "student", "row", "settings", "validation Dice"]]
    for (task, network), kinds in groups.items():
        for kind, seeds in kinds.items():
            if "0" in seeds and (kind in METHODS or kind.startswith("search_")):
                words = seeds["0"]["command"].split("--method ")
                settings = words[1].split(" --threads")[0] if len(words) > 1 else ""
                dice = f"{seeds['0']['validation_dice']:.4f}"
                lines.append([task, network, kind, settings, dice])
    return markdown(lines)


def peaks() -> str:
    """Write the results of ``peaks.py`` for the rows of the ablation."""
    found = json.loads((HERE / "peaks.json").read_text())
    columns = ["correlation", "at the teacher's peaks", "constant", "constant of its teacher"]
    lines = [["model", "seeds", *columns]]
    titles = ABLATION | {"attention": METHODS["attention"]}
    for kind, title in titles.items():
        seeds = {
            row[-1]: numbers
            for row, numbers in found.items()
            if row.rpartition("-")[0] == f"{TASK}-{STUDENT}-{kind}"
        }
        if seeds:
            values = ([one[name] for one in seeds.values() if name in one] for name in columns)
            cells = [spread(value, 3) if value else "" for value in values]
            lines.append([title, " ".join(seeds), *cells])
    return markdown(lines)


def annotation(kinds: Kinds) -> str:
    """Write the test Dice of each curve by number of labelled cases, over common seeds."""
    lines = [["labelled cases", "seeds", *CURVES]]
    for count, (seeds, cells) in points(kinds).items():
        values = (spread(cell) if cell else "" for cell in cells)
        lines.append([str(count), " ".join(seeds), *values])
    return markdown(lines)


def points(kinds: Kinds) -> dict[int, tuple[list[str], list[list[float]]]]:
    """Return, by number of labelled cases, the seeds and the test Dice of each curve."""
    found = {}
    every = TASKS[TASK].labelled
    for count in (*LABELS, every):
        names = [
            WHOLE[end] if count == every else f"labels{count}_{end}" for end in CURVES.values()
        ]
        rows = [kinds.get(name, {}) for name in names]
        seeds = sorted(set.intersection(*(set(row) for row in rows if row)))
        found[count] = seeds, [[mean(row[seed]) for seed in seeds] if row else [] for row in rows]
    return found


def plot(kinds: Kinds, path: Path) -> None:
    """Plot the curves of the annotation efficiency, mean and spread over seeds."""
    application = canvas()
    window = pyqtgraph.plot()
    window.resize(760, 460)
    window.addLegend(offset=(-20, -20))
    window.setLabel("bottom", "labelled cases")
    window.getAxis("left").enableAutoSIPrefix(False)
    window.setLabel("left", "test Dice")
    window.setLogMode(x=True)
    found = points(kinds)
    for number, title in enumerate(CURVES):
        curve = [(n, cells[number]) for n, (_, cells) in found.items() if cells[number]]
        if not curve:
            continue
        x = np.log10([n for n, _ in curve])
        y = np.array([np.mean(values) for _, values in curve])
        error = np.array([np.std(values, ddof=1) if len(values) > 1 else 0 for _, values in curve])
        pen = pyqtgraph.mkPen(pyqtgraph.intColor(number, len(CURVES)), width=2)
        # A small shift keeps the bars of the curves apart.
        shifted = x + 0.012 * (number - 1.5)
        window.addItem(pyqtgraph.ErrorBarItem(x=shifted, y=y, height=2 * error, pen=pen))
        window.plot(10**shifted, y, pen=pen, symbol="o", symbolBrush=pen.color(), name=title)
    window.getAxis("bottom").setTicks([[(float(np.log10(n)), str(n)) for n in found]])
    save(application, window.plotItem, path)
    window.close()


if __name__ == "__main__":
    main()
