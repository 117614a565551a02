"""Table of the README from the results: mean Dice on the test cases, over seeds."""

import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table, read_results, spread  # noqa: E402

ORDER = ("teacher", "alone", "logits", "dist", "graph_flow")


def table(results: Path) -> str:
    """Return the table of all rows of a folder."""
    dice: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result in read_results(results):
        _, network, kind, _ = result["row"].split("-")
        dice[network, kind].append(result["summary"]["mean"]["dice_score"]["mean"])
    known = sorted(dice, key=lambda key: (key[0] != "nnunet", key[0], ORDER.index(key[1])))
    lines = [
        (network, kind, spread(dice[network, kind]), str(len(dice[network, kind])))
        for network, kind in known
    ]
    return markdown([("network", "trained", "mean Dice", "seeds"), *lines])


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    if folder == HERE / "results":
        put_table(HERE / "README.md", table(folder))
    else:
        print(table(folder))
