"""Render the results of ``run.py`` as a table, into ``README.md`` between its two marks."""

import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- table: made by table.py -->", "<!-- end of table -->"
TITLES = {
    "teacher_all": "teacher, all 120 labelled",
    "teacher": "teacher, 12 labelled",
    "student": "student, 12 labelled, no distillation",
    "logits": "student, logits distillation, 12 labelled + 108 unlabelled",
    "graph_flow": "student, Graph Flow, 12 labelled + 108 unlabelled",
}


def main() -> None:
    found = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))]
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(START)
    _, after = rest.split(END)
    readme.write_text(f"{before}{START}\n\n{table(found)}\n\n{END}{after}")


def table(results: list[dict]) -> str:
    """A row for each kind of model; mean and sample standard deviation over its seeds."""
    header = [
        "model", "parameters", "seeds", "validation Dice", "test Dice", "anterior", "posterior",
        "HD95 mm", "training min",
    ]  # fmt: skip
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    for kind, title in TITLES.items():
        rows = [result for result in results if result["row"].rsplit("-", 1)[0] == kind]
        if not rows:
            continue
        summaries = [row["summary"] for row in rows]
        lines.append(
            " | ".join(
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
        )
    return "\n".join(f"| {line} |" for line in lines)


def spread(values: list[float], digits: int = 4) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
