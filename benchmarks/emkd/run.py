"""EMKD module by module: teacher, student alone, and every choice of its three terms.

    python benchmarks/emkd/run.py --data DIR [--rows 'kvasir-mobile_unet-*-0' ...]

DIR holds ``hippocampus_msd``, ``kvasir_seg`` and ``splits.json``. Rows that are done are not run
again; from all of them comes ``README.md``. A row is named ``TASK-NETWORK-KIND-SEED``: KIND is
``teacher``, ``alone``, or the modules: ``pm`` (prediction maps), ``im`` (importance maps), ``ra``
(region affinity).
"""

import sys
from itertools import combinations
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import SEEDS, Command, run, student_rows, teacher_row  # noqa: E402

#: Names of the terms and their published weights.
MODULES = {"pm": ("prediction", "0.1"), "im": ("importance", "0.9"), "ra": ("affinity", "0.9")}
TASKS, STUDENT = ("kvasir", "hippocampus"), "mobile_unet"


def choices() -> dict[str, tuple[str, ...]]:
    """Every choice of modules, all three first, with the settings of its row."""
    found = {}
    for number in (3, 1, 2):
        for chosen in combinations(MODULES, number):
            weights = [
                word
                for module, (term, weight) in MODULES.items()
                for word in (f"--emkd.{term}-weight", weight if module in chosen else "0")
            ]
            found["_".join(chosen)] = ("--method", "emkd", *weights)
    return found


def rows(work: Path) -> dict[str, Command]:
    """Name of a row -> arguments that train its model; a seed ends before the next begins."""
    table: dict[str, Command] = {}
    for seed in SEEDS:
        for task in TASKS:
            table |= teacher_row(task, work, seed)
            table |= student_rows(task, STUDENT, work, seed, choices())
    return table


if __name__ == "__main__":
    run(HERE, rows, __doc__)
