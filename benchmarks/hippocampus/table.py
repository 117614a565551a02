"""Render the results of ``run.py`` as a table, into ``README.md`` between its two marks."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table, read_results, spread  # noqa: E402

TITLES = {
    "teacher_all": "teacher, all 120 labelled",
    "teacher": "teacher, 12 labelled",
    "student": "student, 12 labelled, no distillation",
    "logits": "student, logits distillation, 12 labelled + 108 unlabelled",
    "graph_flow": "student, Graph Flow, 12 labelled + 108 unlabelled",
}


def main() -> None:
    put_table(HERE / "README.md", table(read_results(HERE / "results")))


def table(results: list[dict[str, Any]]) -> str:
    """A row for each kind of model; mean and sample standard deviation over its seeds."""
    header = [
        "model", "parameters", "seeds", "validation Dice", "test Dice", "anterior", "posterior",
        "HD95 mm", "training min",
    ]  # fmt: skip
    lines = [header]
    for kind, title in TITLES.items():
        rows = [result for result in results if result["row"].rsplit("-", 1)[0] == kind]
        if not rows:
            continue
        summaries = [row["summary"] for row in rows]
        lines.append(
            [
                title,
                f"{rows[0]['parameters'] / 1e6:.2f} M",
                " ".join(row["row"].rsplit("-", 1)[1] for row in rows),
                spread([row["validation_dice"] for row in rows]),
                spread([s["mean"]["dice_score"]["mean"] for s in summaries]),
                spread([s["anterior"]["dice_score"]["mean"] for s in summaries]),
                spread([s["posterior"]["dice_score"]["mean"] for s in summaries]),
                spread([s["mean"]["hausdorff_distance_95"]["mean"] for s in summaries], 2),
                f"{max(row['training_seconds'] for row in rows) / 60:.1f}",
            ]
        )
    return markdown(lines)


if __name__ == "__main__":
    main()
