"""Augmentation for other scanners: what changes, what stays, and that seeds repeat it."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from napari_graphflow.config.run import ScannerAugmentation
from napari_graphflow.training.appearance import RandomNetwork
from napari_graphflow.training.augmentation import augmentation

KINDS = [kind for kind in get_args(ScannerAugmentation) if kind != "none"]
SIZES = {2: (24, 20), 3: (8, 16, 12)}


def sample(dims: int, channels: int = 1) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    image = torch.rand(channels, *SIZES[dims], generator=random)
    labels = (image[:1] > 0.7).float()
    return {"image": image, "labels": labels}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_patches_keep_their_size_and_a_seed_repeats_them(
    kind: ScannerAugmentation, dims: int
) -> None:
    augment = augmentation(dims, strength="none", scanner=kind)
    before = sample(dims)
    found = []
    for seed in (1, 1, 2, 3, 4):
        augment.set_random_state(seed=seed)
        made = augment({name: value.clone() for name, value in before.items()})
        assert made["image"].shape == before["image"].shape
        assert made["labels"].shape == before["labels"].shape
        assert set(made["labels"].unique().tolist()) <= {0.0, 1.0}
        assert made["image"].isfinite().all()
        found.append(torch.as_tensor(made["image"]))
    assert torch.equal(found[0], found[1])
    assert not all(torch.equal(before["image"], one) for one in found)


@pytest.mark.parametrize("kind", ["gin", "randconv"])
def test_random_convolutions_leave_masks_and_the_range_of_intensities(
    kind: ScannerAugmentation,
) -> None:
    augment = augmentation(2, strength="none", scanner=kind)
    augment.set_random_state(seed=3)
    before = sample(2, channels=3)
    made = augment({name: value.clone() for name, value in before.items()})
    assert torch.equal(torch.as_tensor(made["labels"]), before["labels"])
    image = torch.as_tensor(made["image"])
    assert image.mean().item() == pytest.approx(before["image"].mean().item(), abs=0.02)
    assert image.std().item() == pytest.approx(before["image"].std().item(), rel=0.05)


def test_a_constant_image_stays_constant() -> None:
    network = RandomNetwork(4, (1, 3))
    network.set_random_state(seed=0)
    assert torch.allclose(network.blended(torch.full((1, 8, 8), 2.0)), torch.tensor(2.0))


def test_scale_changes_the_size_of_structures_both_ways() -> None:
    augment = augmentation(2, strength="none", scanner="scale")
    mask = torch.zeros(1, 64, 64)
    mask[:, 24:40, 24:40] = 1
    areas = []
    for seed in range(20):
        augment.set_random_state(seed=seed)
        areas.append(float(augment({"image": mask, "labels": mask})["labels"].sum()) / 256)
    assert min(areas) < 0.5
    assert max(areas) > 2
    assert min(areas) > 0.2
    assert max(areas) < 4.6
