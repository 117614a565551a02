"""Table of the README from the results: mean Dice on the test cases, over seeds."""

import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import Kinds, difference, markdown, put_table, read_results, spread  # noqa: E402

ORDER = ("teacher", "alone", "logits", "dist", "graph_flow")


def table(results: Path) -> str:
    """Return the table of all rows of a folder."""
    dice: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    kinds: dict[str, Kinds] = defaultdict(lambda: defaultdict(dict))
    for result in read_results(results):
        _, network, kind, seed = result["row"].split("-")
        kinds[network][kind][seed] = result
        words = result.get("command", "").split()
        length = words[words.index("--steps") + 1] if "--steps" in words else ""
        dice[network, length, kind].append(result["summary"]["mean"]["dice_score"]["mean"])
    known = sorted(dice, key=lambda key: (key[0] != "nnunet", *key[:2], ORDER.index(key[2])))
    lines = [
        (*key, spread(dice[key]), str(len(dice[key])), difference(kinds[key[0]], key[2], "alone"))
        for key in known
    ]
    titles = ("network", "steps", "trained", "mean Dice", "seeds", "points over alone, paired")
    return markdown([titles, *lines])


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    if folder == HERE / "results":
        put_table(HERE / "README.md", table(folder))
    else:
        print(table(folder))
