"""Render the results of ``run.py`` as tables, into ``README.md`` between their marks."""

import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- tables: made by table.py -->", "<!-- end of tables -->"
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


def main() -> None:
    found = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))]
    datasets = list(dict.fromkeys(result["row"].split("-")[0] for result in found))
    blocks = [f"### {name}\n\n{table(name, found)}" for name in datasets] or ["No row yet."]
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    body = "\n\n".join(blocks)
    readme.write_text(f"{before}{START}\n\n{body}\n\n{END}{after}")


def table(dataset: str, results: list[dict]) -> str:
    """A row for each kind of model; mean and sample standard deviation over its seeds.

    The last column is the share of the gap between teacher and student that remains, on the seeds
    that all three have.
    """
    by_kind: dict[str, dict[str, dict]] = {}
    for result in results:
        name, kind, seed = result["row"].split("-")
        if name == dataset:
            by_kind.setdefault(kind, {})[seed] = result
    header = ["model", "parameters", "seeds", *COLUMNS, "gap left", "training min"]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    for kind, title in TITLES.items():
        if kind not in by_kind:
            continue
        rows = list(by_kind[kind].values())
        cells = [title, f"{rows[0]['parameters'] / 1e6:.2f} M", " ".join(by_kind[kind])]
        for metric, digits in COLUMNS.values():
            cells.append(spread([mean(row, metric) for row in rows], digits))
        cells += [gap_left(kind, by_kind), f"{max(r['training_seconds'] for r in rows) / 60:.1f}"]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def mean(result: dict, metric: str = "dice_score") -> float | None:
    return result["summary"]["mean"][metric]["mean"]


def gap_left(kind: str, by_kind: dict[str, dict[str, dict]]) -> str:
    three = [by_kind.get(one, {}) for one in ("teacher", "student", kind)]
    seeds = set.intersection(*(set(one) for one in three))
    if kind in ("teacher", "student") or not seeds:
        return ""
    teacher, student, ours = (statistics.mean(mean(one[seed]) for seed in seeds) for one in three)
    return f"{(teacher - ours) / (teacher - student):.2f}" if teacher > student else "no gap"


def spread(values: list[float | None], digits: int) -> str:
    """Mean and spread of what could be measured; a distance cannot where nothing was found."""
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    average = f"{statistics.mean(known):.{digits}f}"
    if len(known) > 1:
        average += f" ± {statistics.stdev(known):.{digits}f}"
    return average if len(known) == len(values) else f"{average} ({len(known)} of {len(values)})"


if __name__ == "__main__":
    main()
