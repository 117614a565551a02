"""The benchmark of strategies, in a tiny setting: rows, resuming, table."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling_cases import make_dataset

from napari_graphflow.dataset.cases import Dataset, read_case_labels
from napari_graphflow.labelling.store import Labelling

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the benchmark, which are scripts."""
    for folder in (BENCHMARKS, BENCHMARKS / "labelling"):
        monkeypatch.syspath_prepend(str(folder))
    import replay

    yield replay
    for name in ("replay", "plot", "rows", "run"):
        sys.modules.pop(name, None)


@pytest.fixture
def whole(tmp_path: Path) -> Dataset:
    """Twelve labelled cases: eight for training, two for validation, two for testing."""
    folder = make_dataset(tmp_path / "whole", count=12, labelled=12)
    splits = {"val": ["scan_8", "scan_9"], "test": ["scan_10", "scan_11"]}
    (folder / "splits.json").write_text(json.dumps(splits), "utf-8")
    return Dataset.open(folder)


TINY = {
    "each": 2, "pool": 6, "validation": 1, "steps": 2, "batch_size": 1, "width": 4,
    "student_width": 8, "patch_size": (16, 16), "thickness": 4,
}  # fmt: skip


@pytest.mark.slow
def test_the_loop_is_replayed_row_by_row_and_continued(
    benchmark_: Any, whole: Dataset, tmp_path: Path
) -> None:
    settings, results = benchmark_.Settings(**TINY), tmp_path / "results.jsonl"
    work = tmp_path / "work"
    strategies = ("random", "disagreement")
    common = (whole, work, results, strategies, (3,), 2, settings)
    assert benchmark_.replay(*common, left=1) == 1
    with results.open("a", encoding="utf-8") as file:
        file.write('{"strategy": "rand')  # torn by a kill
    assert benchmark_.replay(*common) == 3 and benchmark_.replay(*common) == 0
    rows = benchmark_.read_rows(results)
    assert [(row["strategy"], row["round"]) for row in rows] == [
        ("random", 1), ("random", 2), ("disagreement", 1), ("disagreement", 2),
    ]  # fmt: skip
    # The strategies of a seed begin with the same slices and the same network.
    assert rows[0]["chosen"] == rows[2]["chosen"] and rows[0]["dice"] == rows[2]["dice"]
    assert rows[1]["cases"] == 4 and rows[1]["slices"] > rows[0]["slices"]
    assert all(0 <= row["mean"] <= 1 for row in rows)
    # What was annotated is the truth in the chosen slices, and ignored elsewhere.
    labelling = Labelling(work / "random-3" / "scans")
    one = rows[0]["chosen"][0]
    case = labelling.case(one["case"])
    stored = read_case_labels(labelling.dataset, case).array
    first, last = one["slices"]
    truth = {case.name: case for case in whole.cases}[one["case"]]
    np.testing.assert_array_equal(
        stored[first : last + 1], read_case_labels(whole, truth).array[first : last + 1]
    )
    assert np.all(np.delete(stored, range(first, last + 1), axis=0) == 255)
    import plot

    (tmp_path / "README.md").write_text(
        f"# x\n{plot.put_table.__globals__['START']}\n{plot.put_table.__globals__['END']}\n"
    )
    plot.update_readme(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "teacher-student disagreement | 2 | 3 |" in text
    assert (tmp_path / "dice.png").stat().st_size > 1000


def test_the_masks_of_cases_to_choose_from_are_hidden(
    benchmark_: Any, whole: Dataset, tmp_path: Path
) -> None:
    trajectory = benchmark_.Trajectory(
        whole, tmp_path / "one", "random", 0, benchmark_.Settings(**TINY)
    )
    hidden = trajectory.labelling.dataset
    assert len(hidden.unlabelled("train")) == 6 and not hidden.labelled("train")
    assert [case.name for case in hidden.labelled("val")] == ["scan_8"]
    first = trajectory._chosen(1)
    shutil.rmtree(tmp_path / "one")
    again = benchmark_.Trajectory(
        whole, tmp_path / "one", "entropy", 0, benchmark_.Settings(**TINY)
    )
    assert again._chosen(1) == first
