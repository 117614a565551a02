"""Random changes of training patches: augmentation in named strengths, and CutMix."""

from collections.abc import Callable, Sequence

import numpy as np
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    RandZoomd,
    Transform,
)
from torch import Tensor

from napari_graphflow.config.run import Augmentation, ScannerAugmentation
from napari_graphflow.training.appearance import IMAGE, MOVED, scanner_transforms


def augmentation(
    dims: int,
    mirror: Sequence[int] = (),
    strength: Augmentation = "default",
    scanner: ScannerAugmentation = "none",
) -> Compose:
    """Return random transforms of a sample with the keys ``image`` and, if any, ``labels``
    and ``answers``, the probabilities of a teacher.

    Parameters
    ----------
    dims
        Spatial axes of the patches, 2 or 3.
    mirror
        Axes for random mirroring, with any strength.
    strength
        ``default``: rotation by up to 15 degrees, scaling, noise, brightness and contrast.
        ``light``: half of each. ``strong``: the transforms and ranges of nnU-Net (Isensee et al.,
        Nature Methods 2021), also blur and low resolution, except that noise is weaker, because
        intensities may range from 0 to 1 here.
    scanner
        Further changes for other scanners and sites, see
        `napari_graphflow.training.appearance.scanner_transforms`.
    """
    set_track_meta(False)  # patches need no affine; this halves the time
    return Compose(
        [
            *(RandFlipd(MOVED, 0.5, axis, allow_missing_keys=True) for axis in mirror),
            *_TRANSFORMS[strength](dims),
            *scanner_transforms(dims, scanner),
        ]
    )


def _moderate(dims: int, amount: float) -> list[Transform]:
    return [
        _affine(dims, 0.3, 15 * amount, (0.15 * amount,) * dims),
        RandGaussianNoised(IMAGE, prob=0.15, std=0.05 * amount),
        RandScaleIntensityd(IMAGE, factors=0.15 * amount, prob=0.3),
        RandShiftIntensityd(IMAGE, offsets=0.1 * amount, prob=0.3),
        RandAdjustContrastd(IMAGE, prob=0.15, gamma=(1 - 0.3 * amount, 1 + 0.5 * amount)),
    ]


def _strong(dims: int) -> list[Transform]:
    linear = "bilinear" if dims == 2 else "trilinear"
    gamma = {"gamma": (0.7, 1.5), "retain_stats": True}
    return [
        _affine(dims, 0.2, 180 if dims == 2 else 30),
        RandZoomd(
            MOVED,
            prob=0.2,
            min_zoom=0.7,
            max_zoom=1.4,
            mode=(linear, "nearest", linear),
            padding_mode="edge",
            allow_missing_keys=True,
        ),
        RandGaussianNoised(IMAGE, prob=0.1, std=0.1),
        RandGaussianSmoothd(IMAGE, (0.5, 1), (0.5, 1), (0.5, 1), prob=0.2),
        RandScaleIntensityd(IMAGE, factors=0.25, prob=0.15),
        RandScaleIntensityFixedMeand(IMAGE, factors=0.25, preserve_range=True, prob=0.15),
        RandSimulateLowResolutiond(IMAGE, prob=0.25, zoom_range=(0.5, 1), upsample_mode=linear),
        RandAdjustContrastd(IMAGE, prob=0.1, invert_image=True, **gamma),
        RandAdjustContrastd(IMAGE, prob=0.3, **gamma),
    ]


def _affine(
    dims: int, probability: float, degrees: float, scale: Sequence[float] = ()
) -> Transform:
    return RandAffined(
        MOVED,
        prob=probability,
        rotate_range=(np.deg2rad(degrees),) * (3 if dims == 3 else 1),
        scale_range=scale or None,
        mode=("bilinear", "nearest", "bilinear"),
        padding_mode="border",
        allow_missing_keys=True,
    )


_TRANSFORMS: dict[Augmentation, Callable[[int], list[Transform]]] = {
    "none": lambda dims: [],
    "light": lambda dims: _moderate(dims, 0.5),
    "default": lambda dims: _moderate(dims, 1.0),
    "strong": _strong,
}


def cut_and_mix(patch: Tensor, other: Tensor, random: np.random.Generator) -> Tensor:
    """Return a patch in which a random box is that of another patch (CutMix).

    As published (Yun et al., ICCV 2019), the size of the box is uniform up to the whole patch, and
    its centre anywhere in the patch, which may cut it off. There is nothing to mix in the labels:
    the teacher answers for the mixed patch.

    Parameters
    ----------
    patch, other
        (C, *spatial), of equal shapes.
    """
    sides = np.array(patch.shape[1:])
    half = sides * random.random() ** (1 / len(sides)) / 2
    centre = random.random(len(sides)) * sides
    starts = np.clip(np.rint(centre - half), 0, sides).astype(int)
    stops = np.clip(np.rint(centre + half), 0, sides).astype(int)
    box = (slice(None), *(slice(a, b) for a, b in zip(starts, stops, strict=True)))
    mixed = patch.clone()
    mixed[box] = other[box]
    return mixed
