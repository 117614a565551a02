"""``compare`` on masks; on models see tests/training/test_comparing.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_graphflow.cli import main
from napari_graphflow.imaging.files import write_labels
from napari_graphflow.imaging.volume import Volume

CLASSES = {"background": 0, "liver": 1}


def mask(path: Path, first: int, classes: dict[str, int] | None = CLASSES) -> Path:
    array = np.zeros((8, 20, 20), np.uint8)
    array[2:6, first : first + 10, 4:14] = 1
    grid = Volume(array, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    write_labels(path, array, grid, classes=classes)
    return path


def run(*arguments: Path | str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_masks_are_scored_against_the_reference(tmp_path: Path, capsys) -> None:
    truth, a, b = (mask(tmp_path / f"Doe-{n}.nii.gz", n) for n in (4, 5, 6))
    page = tmp_path / "out.html"
    assert run(a, b, "--reference", truth, "--report", page, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    dice = [side["scores"]["case 1"]["liver"]["dice_score"] for side in data["sides"]]
    assert dice == pytest.approx([0.9, 0.8])
    assert "Mask B has a mean Dice of 0.800, Mask A 0.900" in page.read_text("utf-8")
    for file in (page, page.with_suffix(".csv"), page.with_suffix(".json")):
        assert "Doe" not in file.read_text("utf-8")
    assert run(a, b, "--report", page) == 2, "an existing report is not replaced"
    assert run(a, b, "--report", page, "--overwrite") == 0
    assert "A and B agree with a mean Dice of 0.900" in page.read_text("utf-8")


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys) -> None:
    a, b = mask(tmp_path / "a.nii.gz", 4), mask(tmp_path / "b.nii.gz", 4, {"spleen": 1})
    page = tmp_path / "out.html"
    assert run(a, b, "--report", page) == 2
    assert "The value 1 is liver in one mask and spleen in another" in capsys.readouterr().err
    assert run(tmp_path, a, "--report", page) == 2
    assert "neither a mask nor a saved model" in capsys.readouterr().err
    assert run(a, a, "--report", a) == 2
    assert not page.exists()
