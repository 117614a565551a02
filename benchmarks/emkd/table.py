"""Render the results of ``run.py`` as tables, into ``README.md`` between its two marks."""

import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table, read_results, spread  # noqa: E402

TITLES = {
    "teacher": "teacher",
    "student": "student, no distillation",
    "pm": "prediction maps",
    "im": "importance maps",
    "ra": "region affinity",
    "pm_im": "prediction and importance maps",
    "pm_ra": "prediction maps and region affinity",
    "im_ra": "importance maps and region affinity",
    "pm_im_ra": "EMKD, all three",
}
COLUMNS = {
    "test Dice": ("dice_score", 4),
    "VOE": ("volume_overlap_error", 4),
    "abs. RVD": ("absolute_volume_error", 3),
    "HD95 mm": ("hausdorff_distance_95", 2),
}
#: Kind of a row -> seed -> its result.
Results = dict[str, dict[str, dict[str, Any]]]


def main() -> None:
    found: dict[str, Results] = {}
    for result in read_results(HERE / "results"):
        dataset, kind, seed = result["row"].split("-")
        found.setdefault(dataset, {}).setdefault(kind, {})[seed] = result
    tables = [f"### {dataset}\n\n{table(results)}" for dataset, results in found.items()]
    put_table(HERE / "README.md", "\n\n".join(tables) or "No row yet.")


def table(results: Results) -> str:
    """A row for each kind of model; mean and sample standard deviation over its seeds."""
    lines = [["model", "parameters", "seeds", *COLUMNS, "gap left", "training min"]]
    for kind, title in TITLES.items():
        rows = list(results.get(kind, {}).values())
        if not rows:
            continue
        cells = [title, f"{rows[0]['parameters'] / 1e6:.2f} M", " ".join(results[kind])]
        for metric, digits in COLUMNS.values():
            # A distance is not there where a structure was found in no case.
            values = [v for v in (mean(row, metric) for row in rows) if v is not None]
            missing = f" ({len(values)} of {len(rows)})" if len(values) < len(rows) else ""
            cells.append((spread(values, digits) if values else "none") + missing)
        cells += [gap_left(kind, results), f"{max(r['training_seconds'] for r in rows) / 60:.1f}"]
        lines.append(cells)
    return markdown(lines)


def mean(result: dict[str, Any], metric: str = "dice_score") -> Any:
    return result["summary"]["mean"][metric]["mean"]


def gap_left(kind: str, results: Results) -> str:
    """Share of the gap between teacher and student that is left, on the seeds of all three."""
    three = [results.get(one, {}) for one in ("teacher", "student", kind)]
    seeds = set.intersection(*(set(one) for one in three))
    if kind in ("teacher", "student") or not seeds:
        return ""
    teacher, student, ours = (statistics.mean(mean(one[seed]) for seed in seeds) for one in three)
    return f"{(teacher - ours) / (teacher - student):.2f}" if teacher > student else "no gap"


if __name__ == "__main__":
    main()
