"""EMKD module by module: teacher, student alone, and every choice of its three terms.

    python benchmarks/emkd/run.py --data DIR [--rows 'kvasir-mobile_unet-*-0' ...]

DIR contains ``hippocampus_msd``, ``kvasir_seg`` and ``splits.json``. Finished rows are not run
again; ``README.md`` is generated from all. A row is named ``TASK-NETWORK-KIND-SEED``: KIND is
``teacher``, ``alone``, or the modules: ``pm`` (prediction maps), ``im`` (importance maps), ``ra``
(region affinity).
"""

import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import SEEDS, Command, run, student_rows, teacher_row  # noqa: E402

#: The terms and their names.
MODULES = {"pm": "prediction", "im": "importance", "ra": "affinity"}
STUDENT = "enet"
Weights = dict[str, str]


class Choice(NamedTuple):
    """Weights of the modules, and the temperature of the prediction maps."""

    weights: Weights
    temperature: str = "4"


PUBLISHED = Choice({"pm": "0.1", "im": "0.9", "ra": "0.9"})
MORE_PREDICTION = Choice({"pm": "1", "im": "0.1", "ra": "0.1"})
SHARPER = Choice({"pm": "10", "im": "0.1", "ra": "0.1"}, "1")
TRIED = {
    "search_published": PUBLISHED,
    "search_1_0.1_0.1": MORE_PREDICTION,
    "search_10_0.1_0.1_t1": SHARPER,
}
#: Chosen among those of `TRIED` on the validation cases of the first seed.
CHOSEN = {"kvasir": PUBLISHED, "hippocampus": SHARPER}


def settings(choice: Choice, modules: Iterable[str] = MODULES) -> tuple[str, ...]:
    """Settings of EMKD with some of its modules."""
    words = [
        word
        for module, term in MODULES.items()
        for word in (f"--emkd.{term}-weight", choice.weights[module] if module in modules else "0")
    ]
    return ("--method", "emkd", "--emkd.temperature", choice.temperature, *words)


def modules(choice: Choice) -> dict[str, tuple[str, ...]]:
    """Settings of every choice of modules, all three first."""
    return {
        "_".join(some): settings(choice, some)
        for number in (3, 1, 2)
        for some in combinations(MODULES, number)
    }


def rows(work: Path) -> dict[str, Command]:
    """Name of a row -> arguments that train its model; a seed ends before the next begins."""
    table: dict[str, Command] = {}
    for seed in SEEDS:
        for task, chosen in CHOSEN.items():
            table |= teacher_row(task, work, seed)
            kinds = modules(chosen)
            if seed == SEEDS[0]:
                kinds |= {n: settings(one) for n, one in TRIED.items() if one != chosen}
            table |= student_rows(task, STUDENT, work, seed, kinds)
    return table


if __name__ == "__main__":
    run(HERE, rows, __doc__)
