"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
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
}


def main() -> None:
    groups = by_student(read_results(HERE / "results"))
    tables = [f"### {task}\n\n{table(kinds, TITLES)}" for (task, _), kinds in groups.items()]
    put_table(HERE / "README.md", "\n\n".join(tables) or "No row yet.")


if __name__ == "__main__":
    main()
