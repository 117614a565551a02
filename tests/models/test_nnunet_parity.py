"""An imported model computes the masks of nnU-Net's own predictor."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_cases import save
from scipy.ndimage import gaussian_filter

from napari_graphflow.export.nnunet import write_nnunet
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.segment_files import segment_files
from napari_graphflow.models.importing import ImportOptions, import_teacher
from napari_graphflow.models.saved import load_model

PREDICT = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; "
    "run()"
)
#: As nnU-Net's planner writes them.
SPLINES = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def scan(spacing: tuple[float, ...], flips: tuple[int, ...], seed: int) -> Volume:
    """Smooth noise in a box of zeros, in an oblique direction with mirrored axes."""
    array = np.zeros((30, 52, 44), np.float32)
    noise = np.random.default_rng(seed).normal(size=(24, 45, 40))
    array[3:27, 2:47, 4:44] = 300 + 900 * gaussian_filter(noise, 2)
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    direction = (turn * flips).ravel().tolist()
    return Volume(array, spacing, (3.0, -7.0, 11.0), tuple(direction))


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_masks_are_those_of_nnunet(tmp_path: Path, dims: int, mirror: bool) -> None:
    pytest.importorskip("nnunetv2")
    spacing = (1.5,) * 3 if dims == 3 else (0.0, 1.5, 1.5)
    steps: dict[str, Any] = {"intensity": "zscore", "percentiles": (0.0, 100.0),
                             "orientation": "stored", "spacing": spacing}  # fmt: skip
    folder = tmp_path / "results"
    folder.mkdir()
    write_nnunet(
        load_model(save(tmp_path / "model", dims, "plain_conv_unet", patch=32, **steps)), folder
    )
    plans = json.loads((folder / "plans.json").read_text("utf-8"))
    (settings,) = plans["configurations"].values()
    settings["resampling_fn_data_kwargs"] = SPLINES
    settings["resampling_fn_probabilities_kwargs"] = SPLINES | {"order": 1}
    (folder / "plans.json").write_text(json.dumps(plans), "utf-8")
    if mirror:
        import torch

        path = folder / "fold_all" / "checkpoint_final.pth"
        checkpoint = torch.load(path, weights_only=True)
        torch.save(checkpoint | {"inference_allowed_mirroring_axes": tuple(range(dims))}, path)
    images, theirs, ours = (tmp_path / name for name in ("in", "theirs", "ours"))
    images.mkdir()
    kinds = [
        ((1.0, 0.8, 0.8), (1, 1, 1)),
        ((1.2, 1.0, 1.0), (-1, 1, 1)),
        ((5.0, 1.0, 1.0), (-1, -1, 1)),
    ]
    for index, (size, flips) in enumerate(kinds):
        write_volume(images / f"case{index}_0000.nii.gz", scan(size, flips, index))
    command = [sys.executable, "-c", PREDICT, "-i", str(images), "-o", str(theirs), "-m"]
    command += [str(folder), "-f", "all", "-device", "cpu", "-npp", "1", "-nps", "1"]
    command += [] if mirror else ["--disable_tta"]
    subprocess.run(command, check=True, env=os.environ | {"nnUNet_n_proc_DA": "1"})
    import_teacher(folder, tmp_path / "teacher", ImportOptions(mirror=mirror))
    segment_files([images], tmp_path / "teacher", ours)
    for index in range(len(kinds)):
        expected, found = (read_volume(one / f"case{index}.nii.gz").array for one in (theirs, ours))
        assert len(np.unique(expected)) > 1
        assert (expected == found).mean() >= 0.999
