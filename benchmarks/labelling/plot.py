"""The table of ``README.md`` and ``dice.png`` from the rows of ``results.jsonl``.

python benchmarks/labelling/plot.py
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from replay import read_rows  # noqa: E402
from rows import markdown, put_table, spread  # noqa: E402

TITLES = {
    "random": "foreground-aware random",
    "entropy": "class-stratified entropy",
    "disagreement": "teacher-student disagreement",
}
COLOURS = {"random": "#555555", "entropy": "#2a6fbb", "disagreement": "#c0602a"}
Rows = Sequence[dict[str, Any]]


def by_round(rows: Rows, strategy: str) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of a strategy by round."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["strategy"] == strategy:
            found.setdefault(row["round"], []).append(row)
    return dict(sorted(found.items()))


def against_random(rows: Rows, strategy: str, number: int) -> list[float]:
    """Return the differences in Dice from random choice with the same seed, in a round."""
    values = {(row["strategy"], row["seed"]): row["mean"] for row in rows if row["round"] == number}
    pairs = [
        (value, values[("random", seed)])
        for (name, seed), value in values.items()
        if name == strategy and ("random", seed) in values
    ]
    return [own - random for own, random in pairs]


def table(rows: Rows) -> str:
    """Return a line per strategy and round."""
    lines = [["strategy", "round", "seeds", "slices", "test Dice", "minus random, same seed"]]
    for strategy, title in TITLES.items():
        for number, some in by_round(rows, strategy).items():
            seeds = " ".join(str(one["seed"]) for one in sorted(some, key=lambda row: row["seed"]))
            slices = statistics.mean(one["slices"] for one in some)
            differences = against_random(rows, strategy, number)
            paired = spread(differences) if strategy != "random" and differences else ""
            dice = spread([one["mean"] for one in some])
            lines.append([title, str(number), seeds, f"{slices:.0f}", dice, paired])
    return markdown(lines)


def plot(rows: Rows, path: Path) -> None:
    """Draw the mean Dice by number of annotated slices; dots are seeds."""
    from method_plots import canvas, pyqtgraph, save

    application = canvas()
    window = pyqtgraph.GraphicsLayoutWidget()
    window.resize(640, 420)
    panel = window.addPlot()
    panel.addLegend(offset=(-20, -20))
    panel.setLabel("bottom", "annotated slices")
    panel.setLabel("left", "mean test Dice")
    for axis in ("bottom", "left"):
        panel.getAxis(axis).enableAutoSIPrefix(False)
    for strategy, title in TITLES.items():
        rounds = by_round(rows, strategy).values()
        if not rounds:
            continue
        x, y = (
            [statistics.mean(row[key] for row in some) for some in rounds]
            for key in ("slices", "mean")
        )
        pen = pyqtgraph.mkPen(COLOURS[strategy], width=2)
        panel.plot(x, y, pen=pen, name=title)
        dots = [(row["slices"], row["mean"]) for some in rounds for row in some]
        panel.plot(
            *map(list, zip(*dots, strict=True)), pen=None, symbol="o", symbolSize=6,
            symbolBrush=COLOURS[strategy], symbolPen=None,
        )  # fmt: skip
    window.show()
    save(application, window.scene(), path)


def update_readme(folder: Path) -> None:
    """Write table and plot from all rows, if there are any."""
    rows = read_rows(folder / "results.jsonl")
    if rows:
        put_table(folder / "README.md", table(rows))
        plot(rows, folder / "dice.png")


if __name__ == "__main__":
    update_readme(HERE)
