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

from napari_graphflow.config.run import ScannerAugmentation
from napari_graphflow.networks.random_convolutions import GIN, RANDCONV, blended

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
    """Replace an image by a blend of itself and the output of random convolutions."""

    def __init__(self, layers: int, kernels: Sequence[int]) -> None:
        MapTransform.__init__(self, IMAGE)
        self.layers, self.kernels = layers, tuple(kernels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, "image": self.blended(torch.as_tensor(data["image"]))}

    def blended(self, image: Tensor) -> Tensor:
        """Return the blend for an image (C, *spatial)."""
        return blended(image, self.R, self.layers, self.kernels)


_KINDS: dict[ScannerAugmentation, Callable[[int], list[Transform]]] = {
    "none": lambda dims: [],
    "scale": _scale,
    "bigaug": _bigaug,
    "gin": lambda dims: [RandomNetwork(*GIN)],
    "randconv": lambda dims: [RandomNetwork(*RANDCONV)],
}
