"""Which case and which slices to annotate next: strategies replayed on a fully labelled dataset.

    python benchmarks/labelling/run.py --data DIR [--strategies random entropy] [--seeds 0]

DIR contains ``hippocampus_msd`` and ``splits.json``. Rows in ``results.jsonl`` are not run again;
an interrupted row is continued. ``README.md`` and ``dice.png`` are made from all rows.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from plot import update_readme  # noqa: E402
from replay import Settings, replay  # noqa: E402
from rows import import_dataset  # noqa: E402

from napari_graphflow.dataset.cases import Dataset  # noqa: E402

STRATEGIES = ("random", "entropy", "disagreement")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--work", type=Path, default=Path("work/labelling"))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--rows", type=int, help="stop after this number of rows")
    options = parser.parse_args()
    whole = Dataset.open(
        import_dataset(
            options.data, "hippocampus_msd", "images", "masks", options.work / "hippocampus"
        )
    )
    replay(
        whole,
        options.work,
        HERE / "results.jsonl",
        options.strategies,
        options.seeds,
        options.rounds,
        Settings(),
        lambda row: print(
            f"{row['strategy']}, seed {row['seed']}, round {row['round']}: {row['slices']} slices, "
            f"Dice {row['mean']:.4f}, {row['seconds']} s",
            flush=True,
        ),
        options.rows,
    )
    update_readme(HERE)


if __name__ == "__main__":
    main()
