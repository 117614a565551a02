"""Whether the method keeps Dice on another site, in plain words, from the rows that there are.

The goal: on the target, the recommended preset keeps 95 % of the Dice of its teacher, and it beats
the best of rows 2 to 7, paired over cases, on two of three shifts. The best row is that with the
highest Dice on the *target*, which no one could choose in practice: the strictest comparison.
"""

import statistics
from typing import Any, NamedTuple

from napari_graphflow.evaluation.paired import PairedDifference, paired_difference

Row = dict[str, Any]
#: By kind, the rows of a task.
Kinds = dict[str, list[Row]]
OURS = "generalisable"
#: Rows 2 to 7: augmentation or normalisation alone, and the other ways of distilling.
RIVALS = (
    "alone_scale", "alone_none_equal", "alone_bigaug", "alone_gin", "alone_randconv", "logits",
    "dist", "graph_flow", "emkd",
)  # fmt: skip
KEPT, WINS = 0.95, 2


class Outcome(NamedTuple):
    """The verdict on one shift.

    Attributes
    ----------
    seeds
        Seeds that the method and the rival share.
    rival
        Kind of the best of rows 2 to 7 on the target.
    difference
        The method less the rival, over the target's cases, each the mean over the seeds.
    kept
        Dice of the method on the target in units of its teacher's; None if that has no row.
    absent
        Kinds of rows 2 to 7 without a row.
    """

    seeds: list[int]
    rival: str
    difference: PairedDifference
    kept: float | None
    absent: list[str]

    @property
    def reached(self) -> bool:
        return self.difference.outcome == "better" and (self.kept or 0.0) >= KEPT


def seed_of(row: Row) -> int:
    """Return the seed of a row, the last part of its name."""
    return int(row["row"].rpartition("-")[2])


def target_of(row: Row) -> Row:
    """Return the scores on the target."""
    found: Row = next(site for site in row["sites"].values() if site["role"] == "target")
    return found


def by_case(rows: list[Row], seeds: list[int]) -> dict[str, float]:
    """Return the Dice of each target case, the mean over some seeds."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if seed_of(row) in seeds:
            for case, dice in target_of(row)["cases"].items():
                found.setdefault(case, []).append(dice)
    return {case: statistics.mean(values) for case, values in found.items()}


def outcome(kinds: Kinds, rivals: tuple[str, ...] = RIVALS) -> Outcome | None:
    """Return the verdict on one shift; None without a row of the method or of a rival."""
    own = {seed_of(row): row for row in kinds.get(OURS, [])}
    found: dict[str, tuple[list[int], PairedDifference]] = {}
    for kind in rivals:
        seeds = sorted({seed_of(row) for row in kinds.get(kind, [])} & set(own))
        if seeds:
            ours, theirs = by_case(list(own.values()), seeds), by_case(kinds[kind], seeds)
            if (difference := paired_difference(ours, theirs)) is not None:
                found[kind] = seeds, difference
    if not found:
        return None
    rival = max(found, key=lambda kind: found[kind][1].last)
    seeds, difference = found[rival]
    absent = [kind for kind in rivals if kind not in found]
    return Outcome(seeds, rival, difference, _kept(kinds, own, seeds), absent)


def _kept(kinds: Kinds, own: dict[int, Row], seeds: list[int]) -> float | None:
    """Return the share of the teacher's Dice on the target, over the seeds with its row."""
    pairs = [
        (target_of(own[seed])["mean"], target_of(teacher)["mean"])
        for seed in seeds
        for teacher in kinds.get(own[seed].get("teacher", ""), [])
        if seed_of(teacher) == seed
    ]
    if not pairs:
        return None
    student, teacher = (statistics.mean(values) for values in zip(*pairs, strict=True))
    return student / teacher if teacher else None


def sentence(task: str, found: Outcome | None, titles: dict[str, str]) -> str:
    """Return the verdict on one shift in words."""
    if found is None:
        return f"**{task}**: not decided; rows of the method and of others are missing."
    d = found.difference
    low = "" if d.low is None or d.high is None else f" [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
    compared = {
        "better": "more than",
        "worse": "less than",
        "unclear": "not clearly different from",
    }[d.outcome]
    kept = "the teacher has no row" if found.kept is None else (
        f"{100 * found.kept:.0f} % of its teacher's"
    )  # fmt: skip
    absent = ""
    if found.absent:
        absent = f" Without a row: {', '.join(titles[kind] for kind in found.absent)}."
    return (
        f"**{task}**: {d.new:.3f} on the target, {kept}; {compared} {titles[found.rival]} "
        f"({d.last:.3f}; difference {100 * d.difference:+.1f} points{low}, {d.cases} cases, "
        f"{'seeds' if len(found.seeds) > 1 else 'seed'} {' '.join(map(str, found.seeds))}).{absent}"
    )


def verdict(
    tasks: dict[str, Kinds], titles: dict[str, str], rivals: dict[str, tuple[str, ...]]
) -> str:
    """Return the verdict on all shifts in plain words.

    Parameters
    ----------
    tasks
        The rows of every shift, by kind; empty for those without a row.
    titles
        Name of each kind.
    rivals
        For each shift, the kinds of rows 2 to 7 that it has.
    """
    found = {task: outcome(kinds, rivals[task]) for task, kinds in tasks.items()}
    lines = [f"- {sentence(task, one, titles)}" for task, one in found.items()]
    decided = [one for one in found.values() if one is not None]
    won = sum(one.reached for one in decided)
    complete = len(decided) == len(found) and not any(one.absent for one in decided)
    if won >= WINS:
        end = f"The goal is reached on {won} of {len(found)} shifts."
    elif complete:
        best = {titles[one.rival] for one in decided if not one.reached}
        end = (
            f"The goal is not reached: on {won} of {len(found)} shifts only, {WINS} are wanted. "
            f"What keeps more Dice on the target: {', '.join(sorted(best))}."
        )
    else:
        end = "**Partial**: rows are missing, so that there is no verdict yet."
    return "\n".join([*lines, "", end])
