"""``import napari_graphflow as gf``: segmenting arrays and volumes, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

import napari_graphflow as gf
from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.model_card import ModelCard, Purpose
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.recommended import recommended_for
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, write_volume
from napari_graphflow.imaging.volume import Volume, as_volume
from napari_graphflow.models.saved import build_network, save_model

CARD = ModelCard(
    name="small", role="student", network="enet", dims=3, in_channels=1, width=8,
    classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16),
    preprocessing=Preprocessing(intensity="zscore"), purpose=Purpose(modality="MR"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    where = tmp_path_factory.mktemp("model") / "small"
    save_model(where, CARD, build_network(CARD))
    return where


@pytest.fixture(scope="module")
def array() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 40, (12, 18, 20)).astype(np.float32)


def volume(array: np.ndarray) -> Volume:
    return Volume(array, (3.0, 1.5, 2.0), (5.0, 6.0, 7.0), (-1.0, 0, 0, 0, 1, 0, 0, 0, -1))


@pytest.mark.filterwarnings("ignore:it is for MR")
@pytest.mark.filterwarnings("ignore:.*modality of this image is unknown")
class TestSegment:
    def test_an_array_gives_the_mask_of_the_same_image_as_a_volume(self, folder, array):
        image = volume(array)
        model = gf.load_model(folder, "cpu")
        mask = gf.segment(model, image)
        assert mask.same_grid(image)
        same = gf.segment(model, array, spacing=image.spacing, orientation=image.orientation)
        assert isinstance(same, np.ndarray)
        assert 0 < same.mean() < 1, "the mask shows nothing, so that the comparison is empty"
        np.testing.assert_array_equal(same, mask.array)

    def test_the_orientation_of_an_array_is_heeded(self, folder, array):
        model = gf.load_model(folder, "cpu")
        as_is = gf.segment(model, array, spacing=(3, 1.5, 2))
        flipped = gf.segment(model, array[:, :, ::-1], spacing=(3, 1.5, 2), orientation="RPS")
        np.testing.assert_array_equal(flipped[:, :, ::-1], as_is)

    def test_a_written_mask_has_the_geometry_of_the_file_and_is_not_overwritten(
        self, folder, array, tmp_path
    ):
        write_volume(tmp_path / "scan.nii.gz", volume(array))
        out = tmp_path / "new" / "mask.nii.gz"
        mask = gf.segment(folder, tmp_path / "scan.nii.gz", out=out)
        written = read_labels(out)
        assert written.same_grid(volume(array))
        np.testing.assert_array_equal(written.array, mask.array)
        with pytest.raises(UserError, match="exist"):
            gf.segment(folder, tmp_path / "scan.nii.gz", out=out)

    def test_an_array_of_three_axes_without_spacing_is_refused(self, folder, array):
        with pytest.raises(UserError, match="no voxel size"):
            gf.segment(folder, array)

    def test_what_may_be_wrong_is_a_warning(self, folder, array):
        with pytest.warns(UserWarning, match="modality"):
            gf.segment(folder, array, spacing=(3, 1.5, 2))


@pytest.mark.parametrize(
    ("shape", "spacing", "orientation", "message"),
    [
        ((4, 5, 6), (1, 1), "LPS", "spacing"),
        ((4, 5, 6), (1, 0, 1), "LPS", "spacing"),
        ((4, 5, 6), (1, float("nan"), 1), "LPS", "spacing"),
        ((4, 5, 6), (1, 1, 1), "LLS", "orientation"),
        ((4, 5, 6), (1, 1, 1), "LPSS", "orientation"),
        ((4,), (1,), "LPS", "neither"),
    ],
)
def test_a_wrong_geometry_is_refused(shape, spacing, orientation, message):
    with pytest.raises(UserError, match=message):
        as_volume(np.zeros(shape), spacing, orientation)


@pytest.mark.parametrize("code", ["LPS", "RAS", "ILP"])
def test_an_array_has_the_orientation_that_is_named(code):
    assert as_volume(np.zeros((4, 5, 6)), (1, 2, 3), code).orientation == code


def test_wrong_settings_of_a_run_are_refused_before_a_job_exists(blobs, folder, home):
    with pytest.raises(UserError, match="steps"):
        gf.train(blobs, steps=0)
    with pytest.raises(UserError, match="stepz"):
        gf.train(blobs, stepz=5)
    with pytest.raises(UserError, match="magic"):
        gf.distill(blobs, folder, method="magic")
    with pytest.raises(UserError, match="not a valid network"):
        gf.train(blobs, network="enett")
    assert not (home / "jobs").exists()


def test_a_task_enters_the_recommended_method_and_a_warm_up(blobs, folder, home, monkeypatch):
    monkeypatch.setattr("napari_graphflow.api.runs._run", lambda kind, config, *_: config)
    run = gf.distill(blobs, folder, task="lesions", network="enet", steps=300)
    assert (run.method, run.warmup) == (recommended_for("lesions"), 150)
    assert gf.distill(blobs, folder, task="organs", warmup=7, steps=300).warmup == 7
    plain = gf.distill(blobs, folder)
    assert (plain.method, plain.warmup) == (GraphFlowOptions(), 0)
    with pytest.raises(UserError, match="steps"):
        gf.distill(blobs, folder, task="organs", steps="many")
    with pytest.raises(UserError, match="'bones' is not a task"):
        gf.distill(blobs, folder, task="bones")
    with pytest.raises(UserError, match="chooses the method itself"):
        gf.distill(blobs, folder, task="organs", method="logits")


def test_all_names_are_there_and_no_others():
    assert {name for name in gf.__all__ if not hasattr(gf, name)} == set()
    assert set(gf.__all__) <= set(dir(gf))
    with pytest.raises(AttributeError, match="tarin"):
        gf.tarin  # noqa: B018


def test_every_loss_says_what_it_computes():
    losses = [name for name in gf.losses.__all__ if name.endswith("_loss")]
    assert len(losses) > 8
    for name in losses:
        assert "Parameters" in (getattr(gf.losses, name).__doc__ or ""), name
