"""Render the results of ``run.py`` as tables and a plot, into ``README.md`` between its marks."""

import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table, read_results, spread  # noqa: E402
from verdict import RIVALS, Kinds, by_case, seed_of, target_of, verdict  # noqa: E402

from napari_graphflow.evaluation.paired import paired_difference  # noqa: E402

Row = dict[str, Any]
AUGMENTATIONS = ("none", "scale", "bigaug", "gin", "randconv")
TITLES = {
    **{f"teacher_{a}": f"teacher, augmentation {a}" for a in AUGMENTATIONS},
    "teacher_none_equal": "teacher, images of equal pixels per degree",
    **{f"alone_{a}": f"student alone, augmentation {a}" for a in AUGMENTATIONS},
    "alone_none_equal": "student alone, images of equal pixels per degree",
    "logits": "logits distillation, best augmentation",
    "dist": "DIST, best augmentation",
    "graph_flow": "Graph Flow, best augmentation",
    "emkd": "EMKD, best augmentation",
    "faithful": "generalisable, faithful",
    "generalisable": "generalisable, best augmentation",
    "views_only": "... its loss on views alone, without the teacher",
    "without_intra": "... without the star graph",
    "without_inter": "... without the complete graph",
    "without_cross": "... without cross distillation",
    "without_views": "... without the loss on views",
    "mse_edges": "... edges compared by their squares",
    "skip_drop": "... half of the teacher's skips dropped",
    "gin_views": "... views by random convolutions",
    "batch_nodes": "... a graph of the batch",
}  # fmt: skip
ALONE = "alone_none"
#: The shifts, and the rows among 2 to 7 that each has.
TASKS = {
    "vessels": RIVALS,
    "hippocampus": tuple(kind for kind in RIVALS if not kind.endswith("_equal")),
    "phantom": tuple(kind for kind in RIVALS if not kind.endswith("_equal")),
}


def main() -> None:
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in read_results(HERE / "results"):
        task, kind, _ = row["row"].split("-")
        groups[task][kind].append(row)
    tables = [f"### {task}\n\n{_table(kinds)}" for task, kinds in groups.items()]
    if groups:
        _plot(groups)
        tables.insert(0, verdict({task: groups.get(task, {}) for task in TASKS}, TITLES, TASKS))
        tables.append("![Dice by site and model](sites.png)")
    put_table(HERE / "README.md", "\n\n".join(tables) or "No row yet.")


def _table(kinds: dict[str, list[Row]]) -> str:
    header = [
        "model",
        "seeds",
        "val. Dice",
        "source",
        "target",
        "target, last",
        "drop",
        "target minus alone [95 %]",
        "cases < 0.1",
        "E",
        "same site",
        "min",
    ]
    lines = [header]
    for kind, title in TITLES.items():
        if rows := kinds.get(kind):
            source, target = (_means(rows, role) for role in ("source", "target"))
            drop = [a - b for a, b in zip(source, target, strict=True)]
            poor = statistics.mean(target_of(row)["poor"] for row in rows)
            gaps = [row["gap"] for row in rows if row["gap"]]
            seconds = [row["training_seconds"] for row in rows if row["training_seconds"]]
            lines.append([
                title, str(len(rows)),
                spread([row["validation_dice"] for row in rows], 3),
                spread(source, 3), spread(target, 3), _last(rows), spread(drop, 3),
                _against(kinds, kind), f"{100 * poor:.0f} %",
                spread([gap["gap"] for gap in gaps], 2) if gaps else "",
                spread([gap["control"] for gap in gaps], 2) if gaps else "",
                f"{statistics.mean(seconds) / 60:.1f}" if seconds else "",
            ])  # fmt: skip
    return markdown(lines)


def _against(kinds: Kinds, kind: str) -> str:
    """Write the difference in points from the student alone, over the target's cases."""
    seeds = sorted({seed_of(row) for row in kinds[kind]} & set(map(seed_of, kinds.get(ALONE, []))))
    if kind == ALONE or not seeds:
        return ""
    found = paired_difference(by_case(kinds[kind], seeds), by_case(kinds[ALONE], seeds))
    if found is None or found.low is None or found.high is None:
        return ""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def _last(rows: list[Row]) -> str:
    """Write the Dice on the target of the last weights, instead of those chosen on the source."""
    sites = [site for row in rows if row.get("last") for site in row["last"].values()]
    means = [site["mean"] for site in sites if site["role"] == "target"]
    return spread(means, 3) if len(means) == len(rows) else ""


def _of(row: Row, role: str) -> Row:
    found: Row = next(one for one in row["sites"].values() if one["role"] == role)
    return found


def _means(rows: list[Row], role: str) -> list[float]:
    return [_of(row, role)["mean"] for row in rows]


def _plot(groups: dict[str, dict[str, list[Row]]]) -> None:
    """Plot the Dice of each case by site and model: bars are means over cases and seeds."""
    import pyqtgraph
    from method_plots import BLUE, GREY, PANEL, canvas, save

    application = canvas()
    window = pyqtgraph.GraphicsLayoutWidget()
    height = 0
    for column, (task, kinds) in enumerate(groups.items()):
        shown = [kind for kind in reversed(TITLES) if kind in kinds]
        height = max(height, 90 + PANEL[1] * len(shown))
        panel = window.addPlot(row=0, col=column, title=f"{task}: grey source, blue target")
        panel.getAxis("left").setTicks([[(y, TITLES[kind]) for y, kind in enumerate(shown)]])
        panel.getAxis("left").setWidth(250)
        panel.setLabel("bottom", "test Dice")
        panel.setXRange(0, 1, padding=0)
        for y, kind in enumerate(shown):
            for role, colour, offset in (("source", GREY, 0.18), ("target", BLUE, -0.18)):
                cases = [v for row in kinds[kind] for v in _of(row, role)["cases"].values()]
                middle = [statistics.mean(cases)]
                bar = pyqtgraph.BarGraphItem(
                    x0=[0], y=[y + offset], width=middle, height=0.3, brush=colour, pen=None
                )
                panel.addItem(bar)
                places = [y + offset] * len(cases)
                panel.plot(cases, places, pen=None, symbol="o", symbolSize=3, symbolPen=None)
    window.resize((PANEL[0] + 300) * len(groups), height)
    save(application, window.scene(), HERE / "sites.png")


if __name__ == "__main__":
    main()
