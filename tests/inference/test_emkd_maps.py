"""Importance maps and region affinities from the taps of real networks."""

import numpy as np
import pytest
import torch

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.distillation.emkd.losses import (
    affinity_matrix,
    importance_map,
    region_vectors,
    region_weights,
)
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.emkd_maps import importance_maps, region_affinity
from napari_graphflow.models.saved import Model, build_network, load_model, save_model

PLAIN = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)
TURNED = (-1.0, 0, 0, 0, 0, 1, 0, 1, 0)


def model(folder, network="enet", width=8, seed=0, patch_size=(16, 16, 16), **changes) -> Model:
    torch.manual_seed(seed)
    card = ModelCard(
        name=folder.name, role="student", network=network, dims=3, in_channels=1, width=width,
        classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=patch_size,
        preprocessing=Preprocessing(intensity="range"),
    ).model_copy(update=changes)  # fmt: skip
    save_model(folder, card, build_network(card))
    return load_model(folder)


def scan(*shape: int, direction=PLAIN) -> Volume:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Volume(array, (1.0, 2.0, 3.0), (5.0, 6, 7), direction)


def mask(volume: Volume) -> Volume:
    labels = np.zeros(volume.shape, np.uint8)
    labels[4:24, 4:24, 6:20] = 1
    labels[9:12, 9:12, 9:12] = 2
    labels[-3:] = IGNORE
    return volume.with_array(labels)


def taps(one: Model, volume: Volume) -> dict[str, torch.Tensor]:
    image = torch.from_numpy(volume.array / np.float32(255))[None, None]
    with torch.no_grad():
        return {name: tap.double() for name, tap in one.module(image).taps.items()}


def test_importance_map_is_that_of_the_loss_in_the_grid_of_the_image(tmp_path):
    student, volume = model(tmp_path / "s"), scan(16, 24, 16)
    for tap, stride in (("hi", 8), ("lo", 2)):
        drawn = importance_maps(student, volume, tap=tap).student
        assert drawn.same_grid(volume, 1e-9)
        expected = importance_map(taps(student, volume)[tap], 2)[0].numpy()
        expected = expected.repeat(stride, 0).repeat(stride, 1).repeat(stride, 2)
        np.testing.assert_allclose(
            drawn.array, expected / np.percentile(expected, 99), rtol=1e-3, atol=1e-5
        )


def test_importance_maps_of_two_networks_are_in_the_grid_of_the_volume(tmp_path):
    student, teacher = model(tmp_path / "s"), model(tmp_path / "t", "unet", 4)
    volume = scan(33, 30, 34, direction=TURNED)
    maps = importance_maps(student, volume, teacher)
    for one in (maps.student, maps.teacher, maps.difference):
        assert one.array.shape == volume.shape
        assert one.same_grid(volume, 1e-9)
    np.testing.assert_allclose(maps.difference.array, maps.teacher.array - maps.student.array)
    assert 0 < maps.agreement < 1
    assert importance_maps(student, volume, student).agreement == pytest.approx(1)
    assert importance_maps(student, volume).agreement is None


def test_region_affinity_is_that_of_the_loss(tmp_path):
    student, teacher = model(tmp_path / "s"), model(tmp_path / "t", "unet", 4)
    volume = scan(16, 24, 16)
    labels = mask(volume)
    found = region_affinity(student, volume, labels, teacher)
    assert found.classes == ("background", "organ", "lesion")
    assert found.voxels.tolist() == [np.count_nonzero(labels.array == c) for c in range(3)]
    for one, matrix in ((student, found.student), (teacher, found.teacher)):
        features = taps(one, volume)["hi"]
        weights = region_weights(
            torch.from_numpy(labels.array)[None], 3, features.shape[2:], "area"
        )
        expected = affinity_matrix(region_vectors(features, weights.double()))[0]
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.difference, found.teacher - found.student)


def test_region_affinity_is_accumulated_over_windows_in_any_orientation(tmp_path):
    student = model(tmp_path / "s", patch_size=(16, 16, 16))
    volume = scan(48, 32, 48, direction=TURNED)
    labels = mask(volume)
    labels = labels.with_array(np.where(labels.array == 2, 1, labels.array))
    found = region_affinity(student, volume, labels)
    assert found.voxels.tolist() == [*(np.count_nonzero(labels.array == c) for c in (0, 1)), 0]
    np.testing.assert_allclose(found.student.diagonal(), [1, 1, np.nan])
    assert np.isnan(found.student[2]).all()
    assert abs(found.student[0, 1]) <= 1
    assert found.teacher is None


def test_region_affinity_without_a_mask_uses_the_prediction_of_the_student(tmp_path):
    student, volume = model(tmp_path / "s"), scan(16, 16, 16)
    found = region_affinity(student, volume)
    assert found.voxels.sum() == volume.array.size
    assert any("predicted by the student" in note for note in found.notes)


def test_incompatible_taps_masks_and_models_are_refused(tmp_path):
    student, volume = model(tmp_path / "s"), scan(16, 16, 16)
    with pytest.raises(UserError, match="no tap deep"):
        importance_maps(student, volume, tap="deep")
    with pytest.raises(UserError, match="The mask has size"):
        region_affinity(student, volume, mask(scan(16, 16, 8)))
    other = model(tmp_path / "o", classes={"background": 0, "cell": 1})
    with pytest.raises(UserError, match="other classes"):
        region_affinity(student, volume, mask(volume), other)
