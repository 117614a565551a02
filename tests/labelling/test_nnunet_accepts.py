"""nnU-Net itself checks the dataset after three rounds, where it is installed.

``GRAPHFLOW_NNUNET`` is its command ``nnUNetv2_plan_and_preprocess``, if that is in another
environment.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from labelling_cases import box, make_dataset, propose
from round_cases import judged_round

from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.labelling.rounds import undo
from napari_graphflow.labelling.store import Labelling

COMMAND = os.environ.get("GRAPHFLOW_NNUNET") or shutil.which("nnUNetv2_plan_and_preprocess")


def label_in_three_rounds(folder: Path) -> None:
    """Accept, edit, annotate partly, flag, exclude, reject and undo between rounds."""
    ada = Labelling(folder, "Ada")
    judged_round(ada, 0.7)
    for number in range(4, 9):
        propose(ada, f"scan_{number}", number=number)
    ada.accept("scan_4")
    ada.save(ada.open_case("scan_5"), box(2))
    ada.save(ada.open_case("scan_6"), box(1), slices=[3, 4, 5])  # the others are ignored
    ada.reject("scan_7")
    judged_round(ada, 0.8)
    ada.step("scan_0", "flag")
    ada.step("scan_4", "exclude")
    ada.step("scan_5", "approve")
    ada.accept("scan_8")
    judged_round(ada, 0.75)
    undo(ada, 3)
    judged_round(ada, 0.9)


def test_what_nnunet_checks_holds_after_three_rounds(tmp_path: Path) -> None:
    """The conditions of its ``verify_dataset_integrity``, without nnU-Net."""
    folder = make_dataset(tmp_path / "Dataset007_scans", count=10, labelled=4)
    label_in_three_rounds(folder)
    described = json.loads((folder / "dataset.json").read_text("utf-8"))
    listed = described["dataset"]
    assert described["numTraining"] == len(listed) == 6
    assert {"scan_5", "scan_6", "scan_8"} < set(listed)
    values = sorted(described["labels"].values())
    assert values == list(range(len(values))) and described["labels"]["ignore"] == values[-1]
    masks = {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert masks == set(listed)
    for one in listed.values():
        image, mask = (read(folder / path) for read, path in (
            (read_volume, one["images"][0]), (read_labels, one["label"]),
        ))  # fmt: skip
        assert image.same_grid(mask) and set(np.unique(mask.array)) <= set(values)


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND, reason="nnU-Net is not installed; set GRAPHFLOW_NNUNET")
def test_nnunet_verifies_the_dataset_after_three_rounds(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    label_in_three_rounds(make_dataset(raw / "Dataset007_scans", count=10, labelled=4))
    folders = {"raw": raw, "preprocessed": tmp_path / "pre", "results": tmp_path / "results"}
    environment = {f"nnUNet_{name}": str(path) for name, path in folders.items()}
    done = subprocess.run(
        [str(COMMAND), "-d", "7", "--verify_dataset_integrity", "--no_pp", "-npfp", "1"],
        env=os.environ | environment | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=140, check=False,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert "verify_dataset_integrity Done" in text, text
    assert "Error" not in text and "Warning" not in done.stdout, text
    assert done.returncode == 0, text
