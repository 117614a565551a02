"""Text from files is text everywhere: in tables, terminals, tooltips and listings."""

import csv
import io
import json
from pathlib import Path

import pytest

from napari_graphflow.cli.terminal import Terminal
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.scores import write_scores
from napari_graphflow.plugin.widgets.words import as_text


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_calculates_nothing_from_a_name(name: str, tmp_path: Path) -> None:
    scores = {"cases": {name: {name: {"dice": -0.5}}}}
    _, table = write_scores(scores, tmp_path / "scores")
    ((case, label, dice),) = list(csv.reader(table.read_text("utf-8").splitlines()))[1:]
    assert case == label == f"'{name}"
    assert dice == "-0.5", "a number stays one"


def test_a_name_cannot_change_the_terminal() -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, highlight=False, markup=False)
    terminal.print("a\x1b]0;title\x07b\x9b2Jc", soft_wrap=True)
    mark = "\N{REPLACEMENT CHARACTER}"
    assert file.getvalue() == f"a{mark}]0;title{mark}b{mark}2Jc\n"


def test_markup_in_a_tooltip_is_shown_as_text() -> None:
    assert as_text("lesion\nof the liver") == "lesion\nof the liver"
    shown = as_text('<img src="x">\nnext')
    assert shown == "<qt>&lt;img src=&quot;x&quot;&gt;<br>next</qt>"


def test_variables_of_the_environment_in_a_listing_are_not_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t")
    description = {
        "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz",
        "channel_names": {"0": "MR"}, "numTraining": 1,
        "training": [{"image": "$SECRET/a.nii.gz", "label": "${SECRET}/b.nii.gz"}],
    }  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    shown = ""
    try:
        shown = str(Dataset.open(tmp_path).cases)
    except UserError as error:
        shown = str(error)
    assert "SECRET" in shown and "s3cr3t" not in shown
