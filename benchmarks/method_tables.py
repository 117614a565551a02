"""Tables of teachers, students and distilled students, one line per kind of model."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rows import Kinds, markdown, spread

Result = dict[str, Any]
COLUMNS = {
    "test Dice": ("dice_score", 4),
    "VOE": ("volume_overlap_error", 4),
    "abs. RVD": ("absolute_volume_error", 3),
    "HD95": ("hausdorff_distance_95", 2),
}


def by_student(results: Sequence[Result]) -> dict[tuple[str, str], Kinds]:
    """Group results by (task, student), together with those of the task's teacher."""
    found: dict[tuple[str, str], Kinds] = {}
    teachers: dict[str, Kinds] = {}
    for result in results:
        task, network, kind, seed = result["row"].split("-")
        group = teachers if "teacher" in kind else found
        key = task if "teacher" in kind else (task, network)
        group.setdefault(key, {}).setdefault(kind, {})[seed] = result  # type: ignore[arg-type,index]
    return {key: _teachers(teachers.get(key[0], {}), kinds) | kinds for key, kinds in found.items()}


def _teachers(teachers: Kinds, students: Kinds) -> Kinds:
    """Exclude retrained teachers without a student among these rows."""
    rows = [row for kind, seeds in students.items() if kind != "alone" for row in seeds.values()]
    used = {taught(row) for row in rows} or {"teacher"}
    return {
        kind: seeds
        for kind, seeds in teachers.items()
        if kind in used or not kind.startswith("teacher")
    }


def table(kinds: Kinds, titles: Mapping[str, str]) -> str:
    """Write a line for each kind with results: mean and sample standard deviation over seeds."""
    lines = [["model", "parameters", "seeds", "val. Dice", *COLUMNS, *GAPS, "training min"]]
    for kind, title in titles.items():
        rows = list(kinds.get(kind, {}).values())
        if not rows:
            continue
        cells = [title, f"{rows[0]['parameters'] / 1e6:.2f} M", " ".join(kinds[kind])]
        cells.append(spread([row["validation_dice"] for row in rows]))
        for metric, digits in COLUMNS.values():
            # There is no distance if a structure was missed in every case.
            values = [v for v in (mean(row, metric) for row in rows) if v is not None]
            missing = f" ({len(values)} of {len(rows)})" if len(values) < len(rows) else ""
            cells.append((spread(values, digits) if values else "none") + missing)
        # Models of another benchmark have no training time.
        seconds = [row["training_seconds"] for row in rows if row["training_seconds"]]
        minutes = f"{statistics.mean(seconds) / 60:.1f}" if seconds else ""
        cells += [*(gap_closed(kind, kinds, score) for score in GAPS.values()), minutes]
        lines.append(cells)
    return markdown(lines)


def mean(result: Result, metric: str = "dice_score") -> Any:
    """Return the mean of a metric over test cases and classes."""
    return result["summary"]["mean"][metric]["mean"]


def validation_dice(result: Result) -> float:
    """Return the mean Dice over validation cases and classes, of the saved weights."""
    dice: float = result["validation_dice"]
    return dice


def gap_closed(kind: str, kinds: Kinds, score: Callable[[Result], float]) -> str:
    """Return the closed share of the gap between student and teacher, on their common seeds."""
    triples = [
        (teacher, alone, row)
        for seed, row in kinds.get(kind, {}).items()
        if (teacher := kinds.get(taught(row), {}).get(seed))
        and (alone := kinds.get("alone", {}).get(seed))
    ]
    if kind == "alone" or "teacher" in kind or not triples:
        return ""
    teacher, alone, ours = (
        statistics.mean(score(one) for one in ones) for ones in zip(*triples, strict=True)
    )
    return f"{100 * (ours - alone) / (teacher - alone):.0f} %" if teacher > alone else "no gap"


def taught(result: Result) -> str:
    """Return the kind of the teacher's row."""
    kind: str = result.get("teacher", "teacher")
    return kind


#: Column -> the score whose gap between student and teacher is reported.
GAPS = {"gap closed, val.": validation_dice, "gap closed, test": mean}
