"""Names, formats and class names of the masks of segmented files."""

import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from dicom_cases import write_series

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.files import read_labels, read_volume, write_volume
from napari_graphflow.imaging.segments import read_segments
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference import segment_files
from napari_graphflow.inference.predict import LoadedModel, Prediction

CLASSES = {"background": 0, "liver": 1, "lesion": 3}


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that segments the bright half of every image."""

    def segment(model, volume, **_) -> Prediction:
        labels = volume.with_array((volume.array > np.median(volume.array)).astype(np.uint8) * 3)
        return Prediction(labels, None, 0.1, 1, "CPU")

    card = ModelCard(
        name="bright", role="teacher", network="unet", dims=3, in_channels=1,
        classes={"background": 0}, patch_size=(16, 16, 16),
        preprocessing=Preprocessing(intensity="ct_window"),
    ).model_copy(update={"classes": CLASSES})  # fmt: skip
    monkeypatch.setattr(segment_files, "read_model_card", lambda _: card)
    monkeypatch.setattr(segment_files, "load_for_inference", lambda *_: LoadedModel(card, Mock()))
    monkeypatch.setattr(segment_files, "segment", segment)


def test_class_names_are_written_next_to_the_mask(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    segment_files.segment_files([tmp_path / "ct"], tmp_path, tmp_path / "out")
    assert read_class_names(tmp_path / "out/ct.nii.gz") == CLASSES


def test_dicom_series_can_be_segmented_to_dicom_segmentation(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    write_series(tmp_path / "ct")
    image = read_volume(tmp_path / "ct")
    segment_files.segment_files([tmp_path / "ct"], tmp_path, tmp_path / "mask.dcm")
    segment_files.segment_files([tmp_path / "ct"], tmp_path, tmp_path / "mask.nrrd")
    ((mask, names),) = read_segments(tmp_path / "mask.dcm", image)
    assert names == {"lesion": 3}
    np.testing.assert_array_equal(mask.array, read_labels(tmp_path / "mask.nrrd", image).array)


def test_empty_mask_of_a_dicom_series_is_written_as_nifti(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    write_series(tmp_path / "ct")

    def nothing_found(model: object, volume: Volume, **_: object) -> Prediction:
        empty = volume.with_array(np.zeros(volume.shape, np.uint8))
        return Prediction(empty, None, 0.1, 1, "CPU")

    monkeypatch.setattr(segment_files, "segment", nothing_found)
    with pytest.raises(
        UserError, match=r"cannot store empty masks. The mask was written to"
    ) as caught:
        segment_files.segment_files([tmp_path / "ct"], tmp_path, tmp_path / "mask.dcm")
    (nifti,) = tmp_path.glob("mask-*.nii.gz")
    assert str(nifti) in str(caught.value)
    assert not read_volume(nifti).array.any()


def test_missing_highdicom_is_reported_before_the_segmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "ct")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setattr(segment_files, "segment", lambda *_, **__: pytest.fail("it was computed"))
    with pytest.raises(UserError, match="not installed"):
        segment_files.segment_files([tmp_path / "ct"], tmp_path, tmp_path / "mask.dcm")


def test_dicom_segmentation_of_another_format_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_volume(tmp_path / "ct.nrrd", read_volume(tmp_path / "ct"))
    with pytest.raises(UserError, match="not a DICOM series"):
        segment_files.segment_files([tmp_path / "ct.nrrd"], tmp_path, tmp_path / "mask.dcm")
    assert not (tmp_path / "mask.dcm").exists()


def test_a_model_for_ct_refuses_an_mr_before_it_writes_anything(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", change=lambda index, header: setattr(header, "Modality", "MR"))
    with pytest.raises(UserError, match="bright does not fit: it is for CT, and this is MR"):
        segment_files.segment_files([tmp_path / "mr"], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_mask_and_an_unknown_modality_are_reported(tmp_path: Path, monkeypatch) -> None:
    def nothing_found(model: object, volume: Volume, **_: object) -> Prediction:
        return Prediction(volume.with_array(np.zeros(volume.shape, np.uint8)), None, 0.1, 1, "CPU")

    monkeypatch.setattr(segment_files, "segment", nothing_found)
    noise = np.random.default_rng(0).normal(40, 60, (6, 8, 8)).astype(np.int16)
    scan = Volume(noise, (5.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel().tolist()))
    write_volume(tmp_path / "scan.nii.gz", scan)
    (row,) = segment_files.segment_files([tmp_path / "scan.nii.gz"], tmp_path, tmp_path / "out")
    doubt, empty = row["warnings"]
    assert "it is for CT, and the modality of this image is unknown" in doubt
    assert empty == "bright found none of: liver, lesion."
