"""Which images are segmented: channels in files, DICOM series, and never over a scan."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_cases import write_series

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.segments import read_segments
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.inputs import find_inputs
from napari_graphflow.inference.segment_files import segment_files
from napari_graphflow.models.saved import build_network, save_model

IDENTITY = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


def model(folder: Path, channels: int = 1) -> Path:
    card = ModelCard(
        name=f"{channels} channels", role="student", network="enet", dims=2, width=8,
        in_channels=channels, classes={"background": 0, "organ": 1}, patch_size=(16, 16),
        preprocessing=Preprocessing(intensity="none"),
    )  # fmt: skip
    save_model(folder / f"model{channels}", card, build_network(card))
    return folder / f"model{channels}"


def scans(folder: Path, *names: str, spacing: float = 1.0, channels: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        shape = (3, 8, 9) + ((channels,) if channels else ())
        array = np.random.default_rng(number).normal(size=shape).astype(np.float32)
        volume = Volume(array, (3.0, spacing, spacing), (0.0,) * 3, IDENTITY, channels > 0)
        write_volume(folder / name, volume)
    return folder


def named(folder: Path, channels: int) -> dict[str, list[str]]:
    return {one.name: [path.name for path in one.paths] for one in find_inputs([folder], channels)}


def test_files_of_a_mac_and_hidden_files_are_no_images(tmp_path: Path) -> None:
    folder = scans(tmp_path / "in", "a.nii.gz", "b.nii.gz")
    for name in ("._a.nii.gz", ".hidden.nii.gz"):
        (folder / name).write_bytes(b"\0\5\26\7 no image")
    assert named(folder, 1) == {"a": ["a.nii.gz"], "b": ["b.nii.gz"]}
    assert len(segment_files([folder], model(tmp_path), tmp_path / "out")) == 2


def test_files_per_channel_are_one_image_of_a_model_of_two_channels(tmp_path: Path) -> None:
    folder = scans(tmp_path / "in", *(f"c{n}_{m:04}.nii.gz" for n in (1, 2) for m in (0, 1)))
    two = model(tmp_path, 2)
    rows = segment_files([folder], two, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.gz")) == ["c1.nii.gz", "c2.nii.gz"]
    assert len(rows) == 2
    for number, one in enumerate(("c2", "c2_0000.nii.gz", "c2_0001.nii.gz")):
        out = tmp_path / f"one{number}"
        segment_files([folder / one], two, out)
        assert (out / "c2.nii.gz").read_bytes() == (tmp_path / "out/c2.nii.gz").read_bytes()


def test_channels_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = scans(tmp_path / "in", "c_0001.nii.gz", "c_0000.nii.gz")
    (image,) = find_inputs([folder], 2)
    volume = image.read()
    assert volume.channels
    first = read_volume(folder / "c_0000.nii.gz").array
    np.testing.assert_array_equal(volume.array[..., 0], first)


def test_a_case_with_a_missing_channel_is_named_and_the_others_are_segmented(tmp_path) -> None:
    folder = scans(tmp_path / "in", "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    scans(folder, "c_0000.nii.gz", "c_0002.nii.gz")
    rows = segment_files([folder], model(tmp_path, 2), tmp_path / "out")
    assert [Path(row["image"]).name[0] for row in rows if "mask" in row] == ["a"]
    missing, wrong = (row["failure"]["text"] for row in rows if "failure" in row)
    assert missing == (
        "The model needs 2 channels (_0000, _0001), but the case b has 1 file: b_0000.nii.gz."
    )
    assert "2 files: c_0000.nii.gz, c_0002.nii.gz" in wrong


def test_channels_on_other_grids_are_refused(tmp_path: Path) -> None:
    folder = scans(tmp_path / "in", "a_0000.nii.gz")
    scans(folder, "a_0001.nii.gz", spacing=2.0)
    with pytest.raises(UserError, match="not on the same grid"):
        segment_files([folder], model(tmp_path, 2), tmp_path / "out")


def test_a_file_with_all_channels_is_one_image_whatever_its_number(tmp_path: Path) -> None:
    names = ("a_0000.nrrd", "a_0001.nrrd", "a_0002.nrrd", "other.nrrd")
    folder = scans(tmp_path / "in", *names, channels=2)
    assert sorted(named(folder, 2).values()) == [[name] for name in names]


def test_channels_segmented_one_by_one_cause_a_warning(tmp_path) -> None:
    folder = scans(tmp_path / "in", "a_0000.nii.gz", "a_0001.nii.gz")
    rows = segment_files([folder], model(tmp_path), tmp_path / "out")
    assert "a_0000, a_0001 look like the channels of one case" in rows[0]["warnings"][0]
    masks = [Path(row["mask"]).name for row in rows]
    assert masks == ["a_0000.nii.gz", "a_0001.nii.gz"], "a.nii.gz would be of both"


def test_a_damaged_image_does_not_keep_the_others_from_being_segmented(tmp_path: Path) -> None:
    folder = scans(tmp_path / "in", "a.nii.gz", "c.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"no image")
    rows = segment_files([folder], model(tmp_path), tmp_path / "out")
    assert ["mask" in row for row in rows] == [True, False, True]
    assert "b.nii.gz" in rows[1]["failure"]["text"]
    with pytest.raises(UserError, match=r"b\.nii\.gz"):
        segment_files([folder / "b.nii.gz"], model(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("link", ["none", "folder", "symbolic", "hard"])
def test_a_scan_is_never_replaced_by_its_mask(tmp_path: Path, link: str) -> None:
    folder, student = scans(tmp_path / "in", "a.nii.gz", "b.nrrd"), model(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    out = folder
    if link == "folder":
        out = tmp_path / "link"
        out.symlink_to(folder)
    elif link != "none":
        out = tmp_path / "out"
        out.mkdir()
        make = os.link if link == "hard" else os.symlink
        make(folder / "a.nii.gz", out / "a.nii.gz")
    for source, target in ((folder, out), (folder / "a.nii.gz", out / "a.nii.gz")):
        for overwrite in (True, False):
            with pytest.raises(UserError, match="must not be replaced"):
                segment_files([source], student, target, overwrite=overwrite)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["mask-probabilities.nii.gz", "mask.nii.gz.labels.json"])
def test_a_file_beside_the_mask_is_not_replaced_without_overwrite(
    tmp_path: Path, name: str
) -> None:
    folder, student = scans(tmp_path / "in", "a.nii.gz"), model(tmp_path)
    out = tmp_path / "mask.nii.gz"
    (tmp_path / name).write_text("precious", "utf-8")
    with pytest.raises(UserError, match=f"{name} already exists"):
        segment_files([folder], student, out, probabilities=True)
    assert (tmp_path / name).read_text("utf-8") == "precious"
    assert not out.exists()
    segment_files([folder], student, out, probabilities=True, overwrite=True)
    assert out.is_file()


def test_several_series_of_a_folder_are_listed_and_chosen(tmp_path: Path) -> None:
    for number, title in enumerate(("native", "venous")):
        write_series(tmp_path / "ct" / title, change=_series(number, title))
    with pytest.raises(UserError, match=r"2 DICOM series: 1: native .*; 2: venous") as caught:
        find_inputs([tmp_path / "ct"], 1)
    assert "--series" in caught.value.remedy
    (one,) = find_inputs([tmp_path / "ct"], 1, ["venous"])
    assert (one.name, one.series.description) == ("ct", "venous")
    both = find_inputs([tmp_path / "ct"], 1, ["all"])
    assert [(i.name, i.series.description) for i in both] == [
        ("ct-1", "native"),
        ("ct-2", "venous"),
    ]


def test_each_series_gets_its_own_dicom_segmentation(tmp_path: Path) -> None:
    """Both series have the same grid, so only the headers tell which one was segmented."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    for number, title in enumerate(("native", "venous")):
        write_series(tmp_path / "ct" / title, change=_series(number, title))
    images = find_inputs([tmp_path / "ct"], 1, ["2", "1"])
    mask = images[0].read()
    labels = mask.with_array((np.arange(mask.array.size) % 2).reshape(mask.shape).astype(np.uint8))
    with pytest.raises(UserError, match="2 DICOM series have the grid of the mask"):
        write_segments(tmp_path / "any.dcm", labels, tmp_path / "ct")
    for image in images:
        out = tmp_path / f"{image.name}.dcm"
        write_segments(out, labels, image.path, {"organ": 1}, series=image.series.key)
        (reference,) = pydicom.dcmread(out).ReferencedSeriesSequence
        source = pydicom.dcmread(image.series.files[0], stop_before_pixels=True)
        assert reference.SeriesInstanceUID == source.SeriesInstanceUID
        assert read_segments(out)


def test_a_series_beside_another_image_must_be_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    scans(tmp_path / "other", "mask.nii.gz")
    shutil.copy(tmp_path / "other/mask.nii.gz", tmp_path / "ct")
    with pytest.raises(UserError, match=r"1 DICOM series and other images, such as mask\.nii\.gz"):
        find_inputs([tmp_path / "ct"], 1)
    (chosen,) = find_inputs([tmp_path / "ct"], 1, ["1"])
    assert chosen.series is not None


def _series(number: int, title: str):
    def change(index: int, header) -> None:
        header.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.{number + 1}"
        header.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number + 1}.{index + 1}"
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.SeriesDescription, header.SeriesNumber = title, number + 1

    return change


def test_masks_written_into_the_folder_of_the_scans_are_not_segmented_again(
    tmp_path: Path,
) -> None:
    folder, small = scans(tmp_path / "in", "a.nrrd", "b.nrrd"), model(tmp_path)
    for name in "ab":
        segment_files([folder / f"{name}.nrrd"], small, folder / f"{name}_mask.nrrd")
    again = segment_files([folder], small, tmp_path / "out")
    assert [Path(row["image"]).name for row in again] == ["a.nrrd", "b.nrrd"]
    assert "2 files are masks with class names, such as a_mask.nrrd" in again[0]["warnings"][0]
