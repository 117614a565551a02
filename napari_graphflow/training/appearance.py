"""Augmentation for images of other scanners and sites, for any method and for teachers.

Each is a published recipe for training on one site only. They are the baseline that a method for
other sites has to beat.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    MapTransform,
    OneOf,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSharpend,
    RandGaussianSmoothd,
    Randomizable,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandZoomd,
    Transform,
)
from torch import Tensor
from torch.nn import functional

from napari_graphflow.config.run import ScannerAugmentation

IMAGE = ("image",)
#: Keys of a sample that are moved and deformed together.
MOVED = ("image", "labels", "answers")
_LINEAR = {2: "bilinear", 3: "trilinear"}


def scanner_transforms(dims: int, kind: ScannerAugmentation) -> list[Transform]:
    """Return the random transforms of a sample with the keys ``image`` and, if any, ``labels``
    and ``answers``, the probabilities of a teacher.

    Parameters
    ----------
    dims
        Spatial axes of the patches, 2 or 3.
    kind
        ``scale``: structures half to twice as large, as with another field of view. ``bigaug``:
        stacked changes of sharpness, noise, brightness, contrast, position and shape, each in half
        of the patches (Zhang et al., IEEE TMI 2020). ``gin``: a shallow random network in place of
        the scanner, blended with the image (Ouyang et al., IEEE TMI 2022). ``randconv``: a single
        random convolution, blended with the image (Xu et al., ICLR 2021).
    """
    return _KINDS[kind](dims)


def _scale(dims: int) -> list[Transform]:
    # As often smaller as larger.
    return [OneOf([_zoom(dims, 0.5, 1.0), _zoom(dims, 1.0, 2.0)])]


def _zoom(dims: int, smallest: float, largest: float) -> Transform:
    return RandZoomd(
        MOVED,
        prob=0.75,
        min_zoom=smallest,
        max_zoom=largest,
        mode=(_LINEAR[dims], "nearest", _LINEAR[dims]),
        padding_mode="edge",
        allow_missing_keys=True,
    )


def _bigaug(dims: int) -> list[Transform]:
    modes = {
        "mode": ("bilinear", "nearest", "bilinear"),
        "padding_mode": "border",
        "allow_missing_keys": True,
    }
    if dims == 2:
        elastic = Rand2DElasticd(
            MOVED, spacing=(20, 20), magnitude_range=(0.5, 2), prob=0.5, **modes
        )
    else:
        elastic = Rand3DElasticd(
            MOVED, sigma_range=(3, 5), magnitude_range=(20, 60), prob=0.1, **modes
        )
    return [
        RandGaussianSharpend(IMAGE, prob=0.5, alpha=(1, 3)),
        RandGaussianSmoothd(IMAGE, (0.25, 1.5), (0.25, 1.5), (0.25, 1.5), prob=0.5),
        RandGaussianNoised(IMAGE, prob=0.5, std=0.1),
        RandShiftIntensityd(IMAGE, offsets=0.1, prob=0.5),
        RandAdjustContrastd(IMAGE, prob=0.5, gamma=(0.5, 2.0), retain_stats=True),
        RandScaleIntensityd(IMAGE, factors=0.2, prob=0.5),
        RandAffined(
            MOVED,
            prob=0.5,
            rotate_range=(np.deg2rad(20),) * (3 if dims == 3 else 1),
            scale_range=(0.4,) * dims,
            **modes,
        ),
        elastic,
    ]


class RandomNetwork(Randomizable, MapTransform):  # type: ignore[misc]
    """Replace an image by a blend of itself and the output of random convolutions.

    The output is scaled to the Frobenius norm of the image, less its mean, so that the range of
    intensities stays.

    Parameters
    ----------
    layers
        Number of convolutions; LeakyReLU between them.
    kernels
        Sides of the kernels, one of which is drawn for each layer.
    hidden
        Channels between the layers.
    """

    def __init__(self, layers: int, kernels: Sequence[int], hidden: int = 2) -> None:
        MapTransform.__init__(self, IMAGE)
        self.layers, self.kernels, self.hidden = layers, tuple(kernels), hidden

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, "image": self.blended(torch.as_tensor(data["image"]))}

    def blended(self, image: Tensor) -> Tensor:
        """Return the blend for an image (C, *spatial)."""
        dims, channels = image.ndim - 1, len(image)
        convolve = functional.conv2d if dims == 2 else functional.conv3d
        mean = image.mean()
        x = (image - mean)[None].float()
        for number in range(self.layers):
            inputs = channels if number == 0 else self.hidden
            outputs = channels if number == self.layers - 1 else self.hidden
            side = int(self.R.choice(self.kernels))
            shape = (outputs, inputs, *[side] * dims)
            weight = self.R.standard_normal(shape) / np.sqrt(inputs * side**dims)
            if number:
                x = functional.leaky_relu(x)
            x = convolve(x, torch.from_numpy(weight.astype(np.float32)), padding="same")
        share = float(self.R.uniform())
        other = x[0] - x[0].mean()
        blend = share * other + (1 - share) * (image - mean)
        norm = (image - mean).norm() / blend.norm().clamp_min(1e-6)
        result: Tensor = blend * norm + mean
        return result


_KINDS: dict[ScannerAugmentation, Callable[[int], list[Transform]]] = {
    "none": lambda dims: [],
    "scale": _scale,
    "bigaug": _bigaug,
    "gin": lambda dims: [RandomNetwork(4, (1, 3))],
    "randconv": lambda dims: [RandomNetwork(1, (1, 3, 5, 7))],
}
