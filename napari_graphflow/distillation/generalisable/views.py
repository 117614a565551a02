"""Views of an image: the same anatomy as another scanner might show it, one kind per view.

The paper draws four augmented copies of an image, without saying how they are made. Our own
reading: each changes intensities in one way only, so that the k-th view of any image is of the
same kind: contrast, blur, noise, uneven brightness; or, where wanted, all are made by random
convolutions. All strengths are relative to the range or the
deviation of the image, so that they do not depend on how it was normalised.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor
from torch.nn import functional

from napari_graphflow.config.generalisable import ViewKinds
from napari_graphflow.networks.layers import LINEAR
from napari_graphflow.networks.random_convolutions import GIN, blended

Random = np.random.Generator
KINDS = ("contrast", "blur", "noise", "uneven brightness")
#: Names of the kinds of views, which repeat.
NAMES: dict[ViewKinds, tuple[str, ...]] = {"typed": KINDS, "gin": ("random convolutions",)}


def random_stream(seed: int, *names: object) -> Random:
    """Return the random numbers of a name, which nothing else draws from."""
    text = "/".join(map(str, names))
    return np.random.default_rng([seed, zlib.crc32(text.encode())])


def view(
    images: Tensor, kind: int, seed: int, *names: object, kinds: ViewKinds = "typed"
) -> Tensor:
    """Return a view of each image.

    Parameters
    ----------
    images
        (B, C, *spatial).
    kind
        Number of the view from 0; the kinds repeat after the fourth.
    seed, names
        The random numbers are a function of these, of the kind and of the image's place.
    kinds
        ``typed``, or ``gin`` for random convolutions.
    """
    typed = (contrast, blur, noise, bias_field)
    make = typed[kind % len(typed)] if kinds == "typed" else random_convolutions
    made = [
        make(image.float(), random_stream(seed, *names, kind, place))
        for place, image in enumerate(images)
    ]
    return torch.stack(made).to(images.dtype)


def contrast(image: Tensor, random: Random) -> Tensor:
    """Change gamma by up to a factor of 2; for colour also saturation and the gain of channels.

    Parameters
    ----------
    image
        (C, *spatial).
    """
    low, span = _range(image)
    gamma = 2.0 ** random.uniform(-1, 1)
    changed: Tensor = ((image - low) / span).clamp(0, 1).pow(gamma) * span + low
    if len(image) == 3:
        grey = changed.mean(0, keepdim=True)
        changed = grey + random.uniform(0.5, 1.5) * (changed - grey)
        gains = torch.tensor(random.uniform(0.9, 1.1, 3), dtype=image.dtype, device=image.device)
        changed = (changed - low) * gains.view(-1, *[1] * (image.ndim - 1)) + low
    return changed


def blur(image: Tensor, random: Random) -> Tensor:
    """Smooth with a Gaussian of 0.5 to 1.5 voxels, or sample down to half and up again."""
    if random.random() < 0.5:
        sigma = float(random.uniform(0.5, 1.5))
        smoothed: Tensor = GaussianFilter(image.ndim - 1, sigma).to(image.device)(image[None])[0]
        return smoothed
    factor = random.uniform(0.5, 1)
    size = tuple(image.shape[1:])
    small = tuple(max(1, round(n * factor)) for n in size)
    mode = LINEAR[len(size)]
    coarse = functional.interpolate(image[None], small, mode=mode, align_corners=False)
    return functional.interpolate(coarse, size, mode=mode, align_corners=False)[0]


def noise(image: Tensor, random: Random) -> Tensor:
    """Add Gaussian noise of 0.05 to 0.2 of the deviation of the image."""
    amount = float(random.uniform(0.05, 0.2)) * _deviation(image)
    values = torch.from_numpy(random.standard_normal(tuple(image.shape), dtype=np.float32))
    return image + amount * values.to(image.device)


def bias_field(image: Tensor, random: Random) -> Tensor:
    """Multiply by a smooth field of 0.7 to 1.3 and shift by up to 0.2 deviations."""
    low, _ = _range(image)
    axes = image.ndim - 1
    coarse = torch.from_numpy(random.uniform(0.7, 1.3, (1, 1, *[3] * axes)).astype(np.float32))
    mode = {2: "bicubic", 3: "trilinear"}[axes]
    size: Sequence[int] = image.shape[1:]
    field = functional.interpolate(
        coarse.to(image.device), tuple(size), mode=mode, align_corners=True
    )[0]
    shift = float(random.uniform(-0.2, 0.2)) * _deviation(image)
    return (image - low) * field + low + shift


def random_convolutions(image: Tensor, random: Random) -> Tensor:
    """Blend with the output of a shallow random network (GIN)."""
    return blended(image, random, *GIN)


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    low = image.amin()
    return low, (image.amax() - low).clamp_min(1e-6)


def _deviation(image: Tensor) -> Tensor:
    return image.std() if image.numel() > 1 else torch.zeros((), device=image.device)
