"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table, read_results, spread  # noqa: E402

Result = dict[str, Any]
#: Order of the kinds of rows; those of the annotation efficiency come after, by their number.
KINDS = (
    "teacher", "alone", "logits", "attention", "graph_flow", "vertices", "vertices_edges",
    "no_paraphraser", "adversarial", "full", "two_pairs", "three_pairs",
)  # fmt: skip


def main() -> None:
    results = read_results(HERE / "results")
    put_table(HERE / "README.md", tables(results) if results else "No row has been run yet.")


def tables(results: list[Result]) -> str:
    """One table a task; mean and sample standard deviation over the seeds of each row."""
    tasks: dict[str, dict[tuple[str, str], list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        task, network, kind, _ = result["row"].split("-")
        tasks[task][kind, network].append(result)
    parts = []
    for task, groups in tasks.items():
        lines = [["network", "row", "parameters", "seeds", "validation Dice", "test Dice", "HD95"]]
        for (kind, network), rows in sorted(groups.items(), key=lambda item: _order(*item[0])):
            means = [row["summary"]["mean"] for row in rows]
            lines.append(
                [
                    network,
                    kind.replace("_", " "),
                    f"{rows[0]['parameters'] / 1e6:.2f} M",
                    " ".join(row["row"].rsplit("-", 1)[1] for row in rows),
                    spread([row["validation_dice"] for row in rows]),
                    spread([mean["dice_score"]["mean"] for mean in means]),
                    spread([mean["hausdorff_distance_95"]["mean"] for mean in means], 2),
                ]
            )
        parts.append(f"### {task}\n\n{markdown(lines)}")
    return "\n\n".join(parts)


def _order(kind: str, network: str) -> tuple[int, int, str, str]:
    if kind.startswith("labels"):
        number, _, what = kind.removeprefix("labels").partition("_")
        return len(KINDS), int(number), what, network
    return KINDS.index(kind), 0, kind, network


if __name__ == "__main__":
    main()
