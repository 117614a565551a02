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


def done(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code == 0


def already_there(capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert ended.value.code == 2
    assert "already exist" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("out", "beside", "more"),
    [
        ("z.mhd", "z.zraw", ()),
        ("n.nhdr", "n.raw.gz", ()),
        ("m.nii.gz", "m.nii.gz.labels.json", ("--labels",)),
        ("z.mhd", "z.mhd.labels.json", ("--labels",)),
    ],
)
def test_a_conversion_replaces_no_file_beside_its_output_without_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, beside: str, more: tuple[str, ...]
) -> None:
    write_labels(tmp_path / "mask.nii.gz", np.ones((3, 4, 5), np.uint8), scan())
    (tmp_path / beside).write_text("precious", "utf-8")
    before = content(tmp_path)
    convert = ("volumes", "convert", tmp_path / "mask.nii.gz", tmp_path / out, *more)
    already_there(capsys, *convert)
    assert content(tmp_path) == before
    done(*convert, "--overwrite")
    assert (tmp_path / out).is_file()


def test_scores_replace_no_file_without_overwrite(
    blobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text("precious", "utf-8")
    score = ("evaluate", blobs, "--predictions", blobs / "labelsTs", "--out", tmp_path / "x")
    already_there(capsys, *score)
    assert content(tmp_path) == {"x.csv": b"precious"}
    done(*score, "--overwrite")
    assert (tmp_path / "x.json").is_file()
