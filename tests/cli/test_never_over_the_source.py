"""No command replaces a file that it reads."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_graphflow.cli import main
from napari_graphflow.imaging.files import write_labels, write_volume
from napari_graphflow.imaging.volume import Volume

IDENTITY = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


def scan() -> Volume:
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    return Volume(values, (3.0, 1.0, 1.0), (0.0,) * 3, IDENTITY)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code == 2
    assert "must not be replaced" in " ".join(capsys.readouterr().err.split())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_conversion_replaces_neither_its_input_nor_the_image_of_the_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    write_volume(image, scan())
    write_volume(tmp_path / "other.nhdr", scan())
    write_labels(mask, np.ones((3, 4, 5), np.uint8), scan())
    os.link(image, tmp_path / "linked.nii.gz")
    before = content(tmp_path)
    for source, out, *more in (
        (image, image),
        (image, tmp_path / "." / "scan.nii.gz"),
        (image, tmp_path / "linked.nii.gz"),
        (mask, image, "--like", image),
        (tmp_path / "other.nhdr", tmp_path / "other.mhd"),
    ):
        refused(capsys, "volumes", "convert", source, out, *more, "--overwrite")
    assert content(tmp_path) == before


def test_scores_do_not_replace_the_description_of_the_dataset_or_model(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, model = content(blobs), tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}", "utf-8")
    for out in (blobs / "dataset", blobs / "splits"):
        refused(capsys, "evaluate", blobs, "--predictions", blobs / "labelsTs", "--out", out)
    refused(capsys, "evaluate", blobs, "--model", model, "--out", model / "model")
    assert content(blobs) == before
