"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from method_plots import plot_kinds  # noqa: E402
from method_tables import by_student, table  # noqa: E402
from rows import put_table, read_results  # noqa: E402

TITLES = {
    "teacher": "teacher",
    "alone": "student, no distillation",
    "pm": "prediction maps",
    "im": "importance maps",
    "ra": "region affinity",
    "pm_im": "prediction and importance maps",
    "pm_ra": "prediction maps and region affinity",
    "im_ra": "importance maps and region affinity",
    "pm_im_ra": "EMKD, all three",
    "search_published": "all three, weights 0.1, 0.9, 0.9, temperature 4",
    "search_1_0.1_0.1": "all three, weights 1, 0.1, 0.1, temperature 4",
    "search_10_0.1_0.1_t1": "all three, weights 10, 0.1, 0.1, temperature 1",
}


def main() -> None:
    groups = by_student(read_results(HERE / "results"))
    tables = [
        f"### {task}, {network}\n\n{table(kinds, TITLES)}"
        for (task, network), kinds in groups.items()
    ]
    shown = {kind: title for kind, title in TITLES.items() if "search" not in kind}
    plot_kinds(groups, shown, HERE / "modules.png")
    tables.append("![Test Dice by choice of modules](modules.png)")
    put_table(HERE / "README.md", "\n\n".join(tables) or "No row yet.")


if __name__ == "__main__":
    main()
