"""Augmentation in its strengths, and CutMix."""

import numpy as np
import pytest
import torch

from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.training.augmentation import augmentation, cut_and_mix
from napari_graphflow.training.batches import Batches, TrainingCase

SIZES = [pytest.param((24, 20), id="2d"), pytest.param((12, 16, 20), id="3d")]
STRENGTHS = ["none", "light", "default", "strong"]


def sample(size, seed=0):
    random = np.random.default_rng(seed)
    image = torch.from_numpy(random.random((1, *size), np.float32))
    labels = torch.from_numpy(random.choice([0.0, 1, 2, IGNORE], (1, *size)).astype(np.float32))
    return {"image": image, "labels": labels}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_augmented_patches_keep_shape_type_and_label_values(size, strength):
    augment, changed = augmentation(len(size), (0,), strength), 0
    for seed in range(40):
        augment.set_random_state(seed)
        found = augment(sample(size))
        for name, values in found.items():
            assert type(values) is torch.Tensor, name
            assert (values.shape, values.dtype) == ((1, *size), torch.float32)
            assert values.isfinite().all()
        assert set(found["labels"].unique().tolist()) <= {0, 1, 2, IGNORE}
        flipped = sample(size)["image"].flip(1)
        same = any(torch.equal(found["image"], x) for x in (sample(size)["image"], flipped))
        changed += not same
        augment.set_random_state(seed)
        assert torch.equal(augment(sample(size))["image"], found["image"]), "random state"
    assert changed == 0 if strength == "none" else changed > 15


@pytest.mark.parametrize("size", SIZES)
def test_stronger_augmentation_changes_patches_more(size):
    def difference(strength):
        augment, total = augmentation(len(size), (), strength), 0.0
        for seed in range(60):
            augment.set_random_state(seed)
            total += float((augment(sample(size))["image"] - sample(size)["image"]).abs().mean())
        return total

    none, light, default, strong = map(difference, STRENGTHS)
    assert none == 0
    assert light < default < strong


@pytest.mark.parametrize("strength", STRENGTHS)
def test_image_and_labels_are_moved_together(strength):
    """The image is its own mask, up to the change of intensities and interpolation."""
    square = torch.zeros(1, 32, 32)
    square[:, 8:20, 10:26] = 1
    augment = augmentation(2, (0, 1), strength)
    for seed in range(30):
        augment.set_random_state(seed)
        found = augment({"image": square.clone(), "labels": square.clone()})
        bright = found["image"] > (found["image"].max() + found["image"].min()) / 2
        assert float((bright == (found["labels"] > 0)).float().mean()) > 0.9


@pytest.mark.parametrize("size", SIZES)
def test_a_box_of_any_size_is_cut_and_mixed(size):
    patch, other = torch.zeros(2, *size), torch.ones(2, *size)
    shares = []
    for seed in range(300):
        mixed = cut_and_mix(patch, other, np.random.default_rng(seed))
        assert torch.equal(mixed[0], mixed[1])
        places = mixed[0].nonzero()
        if len(places):
            sides = places.amax(0) - places.amin(0) + 1
            assert int(sides.prod()) == len(places), "it is a box"
        shares.append(len(places) / mixed[0].numel())
    assert min(shares) < 0.05
    assert max(shares) > 0.8
    # Uniform up to 1 before the patch cuts the box off.
    assert 0.2 < np.mean(shares) < 0.45
    assert not patch.any()


def cases(value, number):
    image = np.full((1, 20, 24), value, np.float32)
    labels = np.zeros((20, 24), np.uint8) if value == 1 else None
    foreground = np.zeros((0, 2), np.int64) if value == 1 else None
    return [TrainingCase(str(i), image, labels, foreground) for i in range(number)]


def test_cutmix_mixes_the_chosen_share_of_unlabelled_patches_with_others():
    def batches(share, unlabelled=3):
        return Batches(
            cases(1, 2), cases(2, unlabelled), (16, 16), 4, seed=0, strength="none", cutmix=share
        )

    never, sometimes, always = batches(0), batches(0.5), batches(1)
    mixed = {0: 0, 0.5: 0, 1: 0}
    for step in range(40):
        for share, made in ((0, never), (0.5, sometimes), (1, always)):
            batch = made(step)
            assert batch.images.shape == (8, 1, 16, 16)
            assert (batch.images[:4] == 1).all(), "labelled patches are not mixed"
            assert set(batch.images[4:].unique().tolist()) <= {1, 2}
            mixed[share] += int((batch.images[4:] == 1).flatten(1).any(1).sum())
    # 4 of the 7 patches that a patch may be mixed with are labelled, and have value 1.
    assert mixed[0] == 0
    assert 60 < mixed[1] < 120
    assert mixed[1] / 3 < mixed[0.5] < mixed[1] / 1.5
    assert torch.equal(sometimes(7).images, batches(0.5)(7).images)
    assert torch.equal(always(3).images[:4], never(3).images[:4])
    assert len(batches(1, unlabelled=0)(0).images) == 4


def test_the_last_steps_use_the_same_labelled_patches_without_the_others():
    batches = Batches(cases(1, 2), cases(2, 3), (16, 16), 4, seed=0)
    whole, labelled = batches(5), batches(5, labelled_only=True)
    assert torch.equal(labelled.images, whole.images[:4])
    assert torch.equal(labelled.labels, whole.labels)
