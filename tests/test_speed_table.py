"""The table of docs/speed.md is made from what was measured."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).parents[1] / "benchmarks" / "speed_table.py"
REPORT = {
    "machine": "Linux, 2 cores",
    "command": "python benchmarks/inference.py --rounds 3",
    "rows": [
        {"row": "2D ENet, slices", "windows": 540, "product_s": 1.5, "of_monai": float("nan")}
    ],
}


def load():
    spec = importlib.util.spec_from_file_location("speed_table", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_measured_rows_and_figures_are_in_the_table() -> None:
    made = load().table(REPORT)
    assert made.count("\n| ") == 2  # the head and one row
    assert "| 2D ENet, slices | 540 | 1.5 | – | – | – | – | – | – |" in made


def test_a_new_table_replaces_the_old_one_on_the_page() -> None:
    module = load()
    page = module.PAGE.read_text("utf-8")
    once = module.with_table(page, REPORT)
    assert module.with_table(once, REPORT) == once
    assert once.endswith(page.partition(module.END)[2])
    assert "2 cores" in once
