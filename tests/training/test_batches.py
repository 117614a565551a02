"""Patches and batches: position, padding, and dependence on seed and step only."""

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.run import ScannerAugmentation, TrainingConfig
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import Model, load_model
from napari_graphflow.training.ahead import BatchesAhead
from napari_graphflow.training.batches import Batches, TrainingCase, cut_patch, spread_patches
from napari_graphflow.training.loop import train
from napari_graphflow.training.teacher import padded_for


def case(shape=(20, 24, 28), labelled=True) -> TrainingCase:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    labels = np.zeros(shape, np.uint8)
    labels[(slice(15, 18), slice(3, 6), slice(20, 25))[: len(shape)]] = 1
    foreground = np.argwhere(labels > 0)
    return TrainingCase("a", image, labels if labelled else None, foreground if labelled else None)


def test_patches_are_cut_at_valid_positions_and_half_around_foreground():
    full, hits = case(), 0
    for seed in range(100):
        image, labels, *_ = cut_patch(full, (8, 8, 8), np.random.default_rng(seed))
        z, y, x = np.unravel_index(int(image[0, 0, 0, 0]), full.image.shape[1:])
        np.testing.assert_array_equal(image, full.image[:, z : z + 8, y : y + 8, x : x + 8])
        np.testing.assert_array_equal(labels, full.labels[z : z + 8, y : y + 8, x : x + 8])
        hits += labels.any()
    assert 40 <= hits < 80  # the half centred on foreground, and few of the others


def test_small_images_are_padded_with_the_ignore_label():
    small = case((20, 24, 28))
    image, labels, *_ = cut_patch(small, (32, 8, 8), np.random.default_rng(0))
    assert image.shape == (1, 32, 8, 8)
    assert (labels == IGNORE).sum() == 12 * 64
    flat, mask, *_ = cut_patch(small, (32, 32), np.random.default_rng(0))
    assert flat.shape == (1, 32, 32)
    assert mask.shape == (32, 32)


def test_small_images_are_padded_with_zeros_for_a_network_whose_windows_are():
    small = TrainingCase("a", np.full((1, 6, 8), 7, np.float32), None, None)
    for zeros, value in ((False, 7), (True, 0)):
        patch = cut_patch(small, (12, 12), np.random.default_rng(0), zeros=zeros)
        assert patch.inside.sum() == 6 * 8
        assert (patch.image[0][patch.inside] == 7).all()
        assert (patch.image[0][~patch.inside] == value).all()


def test_a_plain_network_is_trained_and_run_in_windows_of_one_size(blobs, tmp_path):
    config = TrainingConfig(
        dataset=blobs, network="plain_conv_unet", width=4, patch_size=(16, 16, 48), steps=1,
        validate_every=1, device="cpu",
    )  # fmt: skip
    list(train(config, tmp_path))
    card = load_model(JobPaths(tmp_path).model).card
    assert card.windows == "even" and card.pads_with_zeros


def test_spread_patches_cover_every_case_evenly_and_are_not_augmented():
    def counted(number):
        cases = []
        for index in range(number):
            image = np.full((1, 20, 24), index, np.float32)
            cases.append(TrainingCase(str(index), image, None, None))
        batches = list(spread_patches(cases, (8, 8), 16, seed=0))
        assert all(batch.shape[1:] == (1, 8, 8) for batch in batches)
        assert all((batch == batch[:, :1, :1, :1]).all() for batch in batches)
        return np.bincount(torch.cat(batches)[:, 0, 0, 0].int().numpy()) if batches else []

    assert list(counted(3)) in ([27, 27, 26], [27, 26, 27])
    assert list(counted(150)) == [1] * 150
    assert counted(1000).sum() == 200
    assert counted(1000).max() == 1
    assert list(counted(0)) == []


def test_a_batch_depends_only_on_seed_and_step():
    labelled, unlabelled = [case()], [case(labelled=False)]
    one = Batches(labelled, unlabelled, (8, 8, 8), 2, seed=0, mirror=[2])
    other = Batches(labelled, unlabelled, (8, 8, 8), 2, seed=0, mirror=[2])
    other(0), other(1)
    assert torch.equal(one(7).images, other(7).images)
    assert not torch.equal(one(7).images, one(8).images)
    assert one(7).images.shape == (4, 1, 8, 8, 8)
    assert one(7).labels.shape == (2, 8, 8, 8)
    third = Batches(labelled, unlabelled, (8, 8, 8), 2, seed=1, mirror=[2])
    assert not torch.equal(one(7).images, third(7).images)


def test_labelled_patches_do_not_depend_on_unlabelled_cases():
    """A student sees the same labelled patches with and without distillation."""
    with_them = Batches([case()], [case(labelled=False)], (8, 8, 8), 2, seed=0)
    without = Batches([case()], [], (8, 8, 8), 2, seed=0)
    assert torch.equal(with_them(3).images[:2], without(3).images)


class Failing:
    """Raises in the step 1."""

    def __call__(self, step: int, *, labelled_only: bool = False) -> str:
        if step == 1:
            raise ValueError("no batch")
        return f"{step} {labelled_only}"


@pytest.mark.parametrize("kind", get_args(ScannerAugmentation))
def test_batches_made_ahead_are_those_of_their_step(kind: str) -> None:
    """Also after a jump to another step, and whatever the global generators have drawn."""
    make = partial(
        Batches, [case()], [case(labelled=False)], (8, 8, 8), 2, 0, mirror=[2], strength="strong",
        cutmix=1.0, scanner=kind,
    )  # fmt: skip
    plain, ahead = make(), BatchesAhead(make(), steps=8)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state()
    for step, only in ((4, False), (5, False), (6, True), (2, True), (3, False), (7, False)):
        torch.rand(step)
        state = torch.get_rng_state()
        found, expected = ahead(step, labelled_only=only), plain(step, labelled_only=only)
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(torch.get_rng_state(), state)
    ahead.close()
    assert not torch.equal(torch.get_rng_state(), before)


def test_an_error_in_a_batch_is_raised_in_its_own_step() -> None:
    ahead = BatchesAhead(Failing(), steps=3)
    assert ahead(0) == "0 False"
    with pytest.raises(ValueError, match="no batch"):
        ahead(1)
    assert ahead(2, labelled_only=True) == "2 True"
    ahead.close()


def test_padding_of_unlabelled_patches_is_marked_also_where_patches_are_mixed():
    image = np.ones((1, 6, 8), np.float32)
    small = TrainingCase("a", image, None, None)
    labelled = case((20, 24))
    batches = Batches([labelled], [small], (12, 12), 2, seed=0, strength="none")
    batch = batches(0)
    assert batch.inside.shape == (4, 12, 12)
    assert batch.inside[:2].all()
    assert (batch.labels != IGNORE).all()
    assert batch.inside[2:].sum((1, 2)).tolist() == [6 * 8, 6 * 8]
    for one in batch.inside[2:]:  # a box in one piece
        rows, columns = one.any(1), one.any(0)
        assert (one == rows[:, None] & columns).all()
    moved = Batches([labelled], [small], (12, 12), 2, seed=0, strength="strong", cutmix=1.0)(0)
    assert moved.inside.dtype == torch.bool
    assert moved.images.shape == (4, 1, 12, 12) and moved.answers is None


def test_padding_is_zero_for_a_teacher_that_pads_so():
    card = ModelCard(
        name="t", role="teacher", network="unet", dims=2, in_channels=1, patch_size=(8, 8),
        classes={"background": 0, "organ": 1}, width=8, preprocessing={},
    )  # fmt: skip
    images, inside = torch.ones(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[:, 1:3] = True
    for windows, value in (("whole", 1), ("patch", 0), ("even", 0)):
        teacher = Model(card.model_copy(update={"windows": windows}), nn.Identity(), Path())
        padded = padded_for(teacher, images, inside)
        assert (padded[:, :, 1:3] == 1).all()
        assert (padded[:, :, [0, 3]] == value).all()
    assert padded_for(None, images, inside) is images
