"""Tables of teachers, students and distilled students, one line a kind of model."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rows import markdown, spread

Result = dict[str, Any]
#: Kind of a row -> seed -> its result, of one task and student.
Kinds = dict[str, dict[str, Result]]
COLUMNS = {
    "test Dice": ("dice_score", 4),
    "VOE": ("volume_overlap_error", 4),
    "abs. RVD": ("absolute_volume_error", 3),
    "HD95": ("hausdorff_distance_95", 2),
}


def by_student(results: Sequence[Result]) -> dict[tuple[str, str], Kinds]:
    """Results of each (task, student), with those of the task's teacher."""
    found: dict[tuple[str, str], Kinds] = {}
    teachers: dict[str, Kinds] = {}
    for result in results:
        task, network, kind, seed = result["row"].split("-")
        group = teachers if "teacher" in kind else found
        key = task if "teacher" in kind else (task, network)
        group.setdefault(key, {}).setdefault(kind, {})[seed] = result  # type: ignore[arg-type,index]
    return {key: _teachers(teachers.get(key[0], {}), kinds) | kinds for key, kinds in found.items()}


def _teachers(teachers: Kinds, students: Kinds) -> Kinds:
    """Leave out the teachers that were trained once more and have no student here."""
    rows = [row for kind, seeds in students.items() if kind != "alone" for row in seeds.values()]
    used = {taught(row) for row in rows} or {"teacher"}
    return {
        kind: seeds
        for kind, seeds in teachers.items()
        if kind in used or not kind.startswith("teacher")
    }


def table(kinds: Kinds, titles: Mapping[str, str]) -> str:
    """A line for each kind that has results; mean and sample standard deviation over its seeds."""
    lines = [["model", "parameters", "seeds", "val. Dice", *COLUMNS, *GAPS, "training min"]]
    for kind, title in titles.items():
        rows = list(kinds.get(kind, {}).values())
        if not rows:
            continue
        cells = [title, f"{rows[0]['parameters'] / 1e6:.2f} M", " ".join(kinds[kind])]
        cells.append(spread([row["validation_dice"] for row in rows]))
        for metric, digits in COLUMNS.values():
            # A distance is not there where a structure was found in no case.
            values = [v for v in (mean(row, metric) for row in rows) if v is not None]
            missing = f" ({len(values)} of {len(rows)})" if len(values) < len(rows) else ""
            cells.append((spread(values, digits) if values else "none") + missing)
        # A model of another benchmark was not trained here.
        seconds = [row["training_seconds"] for row in rows if row["training_seconds"]]
        minutes = f"{statistics.mean(seconds) / 60:.1f}" if seconds else ""
        cells += [*(gap_closed(kind, kinds, score) for score in GAPS.values()), minutes]
        lines.append(cells)
    return markdown(lines)


def mean(result: Result, metric: str = "dice_score") -> Any:
    """Mean of a metric over test cases and classes."""
    return result["summary"]["mean"][metric]["mean"]


def validation_dice(result: Result) -> float:
    """Mean Dice over validation cases and classes, of the weights that were kept."""
    dice: float = result["validation_dice"]
    return dice


def gap_closed(kind: str, kinds: Kinds, score: Callable[[Result], float]) -> str:
    """Share of the gap in a score between student and teacher, on the seeds of all three."""
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
    """Kind of the row of its teacher."""
    kind: str = result.get("teacher", "teacher")
    return kind


#: Column -> the score whose gap between student and teacher it is about.
GAPS = {"gap closed, val.": validation_dice, "gap closed, test": mean}
