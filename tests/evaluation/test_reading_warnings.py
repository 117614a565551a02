"""Warnings of reading reach the scores, the JSON and the terminal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling_cases import SHAPE, make_dataset, volume

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.dataset.checks import check
from napari_graphflow.evaluation.scores import warning_lines
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.inference.evaluate import evaluate_split


def image(odd: bool) -> np.ndarray:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    array[0, 0, 0] = np.nan if odd else 0
    return array


def case_of(folder: Path, name: str) -> Case:
    (case,) = (one for one in Dataset.open(folder).cases if one.name == name)
    return case


@pytest.fixture
def with_nan(tmp_path: Path) -> Path:
    """A dataset whose images have voxels that are not finite."""
    folder = make_dataset(tmp_path / "data", labelled=4)
    for number in range(4):
        write_volume(folder / "imagesTr" / f"scan_{number}_0000.nii.gz", volume(image(odd=True)))
    return folder


def test_warnings_of_reading_are_among_the_scores(with_nan: Path) -> None:
    (expected,) = read_case(case_of(with_nan, "scan_0")).warnings
    scores = evaluate_split(with_nan, "train", predictions=with_nan / "labelsTr")
    names = [case.name for case in Dataset.open(with_nan).labelled("train")]
    assert names
    assert scores["warnings"] == {expected: names}
    assert warning_lines(scores) == [f"{', '.join(names)}: {expected}"]


def test_warnings_of_reading_are_printed_and_in_the_json(with_nan: Path, capsys: Any) -> None:
    command = ["evaluate", with_nan, "--predictions", with_nan / "labelsTr", "--split", "train"]
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in (*command, *more)])
        assert not ended.value.code
        printed = capsys.readouterr()
        found = json.loads(printed.out)["warnings"] if more else printed.err
        assert "not finite" in str(found)


def test_a_check_after_an_import_repeats_what_the_import_said(
    with_nan: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "imported"
    command = ["datasets", "import", "--images", with_nan / "imagesTr", "--out", out]
    command += ["--masks", with_nan / "labelsTr"]
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in command])
    assert not ended.value.code
    # The files were written anew; only the record remembers.
    said = [one.text for one in check(Dataset.open(out)) if "import" in one.text]
    assert any("At the import" in text and "not finite" in text for text in said)
    assert "not finite" in capsys.readouterr().out


def test_warnings_of_every_channel_are_kept(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data", channel_names={"0": "T1", "1": "T2"})
    for number in range(4):
        path = folder / "imagesTr" / f"scan_{number}_0001.nii.gz"
        write_volume(path, volume(image(odd=number == 0)))
    assert read_case(case_of(folder, "scan_0")).warnings
    assert not read_case(case_of(folder, "scan_1")).warnings
