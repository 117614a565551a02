"""A body with organs in the intensities of a CT, and a network that has learnt to find them.

The time of a network does not depend on its image, but that of resampling its answers does: a class
is interpolated only in the box where it can lie. Weights that were drawn at random put every class
everywhere, which no trained network does.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

AIR_HU, BODY_HU, STEP_HU, NOISE_HU = -1000, -120, 25, 6


def phantom(
    shape: tuple[int, int, int], classes: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a volume in HU and the class of each voxel: air and body 0, organs 1 to K - 1.

    Organs are ellipsoids on a ring around the middle of the body.
    """
    random = np.random.default_rng(0)
    size, labels = np.array(shape), np.zeros(shape, np.uint8)
    for organ in range(1, classes):
        angle = 2 * np.pi * organ / (classes - 1)
        place = (random.uniform(0.25, 0.75), 0.5 + 0.27 * np.sin(angle), 0.5 + 0.27 * np.cos(angle))
        _ellipsoid(labels, size * place, size * (random.uniform(0.1, 0.2), 0.07, 0.07), organ)
    body = np.zeros(shape, np.uint8)
    _ellipsoid(body, size * (0.5, 0.5, 0.5), size * (5.0, 0.45, 0.45), 1)
    levels = np.array(
        [BODY_HU, *(BODY_HU + STEP_HU * (1 + k) for k in range(1, classes))], np.float32
    )
    image = np.empty(shape, np.int16)
    for index in range(shape[0]):
        plane = np.where(body[index], levels[labels[index]], AIR_HU)
        image[index] = plane + random.normal(0, NOISE_HU, shape[1:])
    return image, labels


def teach(
    network: nn.Module,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    patch: tuple[int, ...],
    steps: int = 200,
) -> float:
    """Train by cross-entropy on patches; return the share of organ voxels that are right.

    Parameters
    ----------
    network
        Has `logits`.
    image, labels
        (D, H, W), preprocessed, and the class of each voxel.
    patch
        Of training; with two axes, slices are used.
    """
    random = np.random.default_rng(0)
    places = np.argwhere(labels > 0)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    size = (1,) * (3 - len(patch)) + tuple(patch)
    batch = 8 if len(patch) == 2 else 2
    right = []
    network.train()
    for step in range(steps):
        boxes = [
            _around(places[random.integers(len(places))], size, labels.shape) for _ in range(batch)
        ]
        x = torch.stack([torch.from_numpy(image[box]) for box in boxes]).reshape(batch, 1, *patch)
        y = torch.stack([torch.from_numpy(labels[box].astype(np.int64)) for box in boxes]).reshape(
            batch, *patch
        )
        logits = network.logits(x)
        loss = nn.functional.cross_entropy(logits, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        right.append(float((logits.argmax(1) == y)[y > 0].float().mean()))
    network.eval()
    return float(np.mean(right[-10:]))


def _ellipsoid(
    labels: NDArray[np.uint8], center: NDArray[np.float64], axes: NDArray[np.float64], value: int
) -> None:
    low = np.floor(center - axes).astype(int).clip(0)
    high = np.ceil(center + axes).astype(int) + 1
    part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    offsets = np.ogrid[tuple(slice(a, a + n) for a, n in zip(low, part.shape, strict=True))]
    distance = sum(((o - c) / r) ** 2 for o, c, r in zip(offsets, center, axes, strict=True))
    part[np.asarray(distance <= 1)] = value


def _around(
    place: NDArray[np.int_], size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    starts = [
        min(max(0, int(p) - n // 2), s - n) for p, n, s in zip(place, size, shape, strict=True)
    ]
    return tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))
