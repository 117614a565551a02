"""Write the table of docs/speed.md from inference.json.

python benchmarks/speed_table.py
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "inference.json"
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
COLUMNS = {
    "row": "network and image",
    "windows": "windows",
    "product_s": "seconds",
    "times_openvino": "of raw OpenVINO",
    "of_monai": "of MONAI in eager PyTorch",
    "of_teacher": "of its teacher there",
    "times_beside": "beside a training",
    "volumes": "memory, in volumes",
    "start_s": "first mask, s",
}


def table(report: dict[str, Any]) -> str:
    """Return the table of the rows that were measured; a figure that was not is left out."""
    lines = [f"Measured on {report['machine']}: `{report['command']}`.", ""]
    lines += [f"| {' | '.join(COLUMNS.values())} |", "|---" * len(COLUMNS) + "|"]
    for row in report["rows"]:
        cells = [row.get(key) for key in COLUMNS]
        # NaN, such as of MONAI out of memory, is not equal to itself.
        shown = ["–" if cell is None or cell != cell else str(cell) for cell in cells]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def with_table(page: str, report: dict[str, Any]) -> str:
    """Return a page with another table between the marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(report)}\n{END}{tail}"


def main() -> int:
    if not RESULT.is_file():
        print("There is no inference.json; run benchmarks/inference.py first.")
        return 2
    report = json.loads(RESULT.read_text("utf-8"))
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), report), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
