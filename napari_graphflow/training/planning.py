"""Choose labelled cases, preprocessing and patch size from the data, and say why."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import Case, Dataset, read_case
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import target_shape
from napari_graphflow.jobs.memory import MULTIPLE

LARGEST_SIDE = {2: 256, 3: 96}
#: Images are not resampled if their spacings differ by less than this ratio.
SPACING_TOLERANCE = 1.05


def choose_labelled(cases: Sequence[Case], count: int | None, seed: int) -> list[Case]:
    """Draw `count` of the labelled cases with a seed; None returns all."""
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(
            f"{count} labelled cases were requested, but only {len(cases)} have a mask.",
            f"Request at most {len(cases)}.",
        )
    order = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [cases[index] for index in sorted(order)]


def choose_preprocessing(facts: dict[str, Any]) -> Preprocessing:
    """Choose spacing and intensity from the fingerprint of a dataset."""
    if facts["ndim"] == 2:
        spacing = None
    else:
        spread = np.array(facts["spacing_max"]) / np.array(facts["spacing_min"])
        same = bool((spread < SPACING_TOLERANCE).all())
        spacing = None if same else tuple(facts["median_spacing"])
    if facts["modality"] == "CT":
        return Preprocessing(spacing=spacing, intensity="ct_window")
    if facts["ndim"] == 2:
        return Preprocessing(intensity="range")
    return Preprocessing(spacing=spacing, intensity="zscore")


def choose_patch_size(shapes: Sequence[tuple[int, ...]], dims: int) -> tuple[int, ...]:
    """Return the largest multiples of 16 within the median image shape, up to a limit."""
    median = np.median(np.array(shapes), axis=0)[-dims:]
    sides = (int(side) // MULTIPLE * MULTIPLE for side in median)
    return tuple(min(max(side, MULTIPLE), LARGEST_SIDE[dims]) for side in sides)


def plan(config: TrainingConfig) -> tuple[TrainingConfig, list[str]]:
    """Return the settings of a training with what is chosen from the data, and the reasons.

    Parameters
    ----------
    config
        Settings of the training; those that are set stay.

    Raises
    ------
    UserError
        If the dataset has no labelled training case.
    """
    dataset = Dataset.of_run(config)
    cases = choose_labelled(dataset.labelled("train"), config.labelled, config.seed)
    if not cases:
        raise UserError(
            f"The dataset {dataset.name} has no labelled training case.",
            "Annotate at least one case, or import the dataset with masks.",
        )
    facts = fingerprint(dataset)
    preprocessing = config.preprocessing or choose_preprocessing(facts)
    shapes = [target_shape(read_case(case).oriented(), preprocessing) for case in cases]
    size = config.patch_size or choose_patch_size(shapes, config.dims)
    reasons = [
        _about_spacing(facts, preprocessing),
        _about_intensity(facts, preprocessing),
        _about_patch(config, shapes, size),
        f"Batch size {config.batch_size}: as set; --estimate measures whether it fits the memory.",
    ]
    update = {"preprocessing": preprocessing, "patch_size": size}
    return config.model_copy(update=update), reasons


def _about_spacing(facts: dict[str, Any], chosen: Preprocessing) -> str:
    if facts["ndim"] == 2:
        return "Spacing: 2D images are not resampled."
    low, high = _mm(facts["spacing_min"]), _mm(facts["spacing_max"])
    if chosen.spacing is None:
        return f"Spacing: images are not resampled; theirs is {low} to {high} mm (z, y, x)."
    return (
        f"Spacing {_mm(chosen.spacing)} mm (z, y, x): images have {low} to {high} mm, with a "
        f"median of {_mm(facts['median_spacing'])} mm."
    )


def _about_intensity(facts: dict[str, Any], chosen: Preprocessing) -> str:
    seen = ", ".join(f"{rank} %: {values[0]:.4g}" for rank, values in facts["percentiles"].items())
    why = {
        "ct_window": f"the images are CT; clipped to {chosen.window[0]:g} to {chosen.window[1]:g} "
        "HU",
        "range": "the images are photographs",
        "zscore": "the values of such images have no unit, so each is scaled by its own",
    }.get(chosen.intensity, "as set")
    return f"Intensity {chosen.intensity}: {why}. Percentiles of the voxels: {seen}."


def _about_patch(
    config: TrainingConfig, shapes: Sequence[tuple[int, ...]], size: tuple[int, ...]
) -> str:
    sides = " x ".join(map(str, size))
    if config.patch_size:
        return f"Patch {sides}: as set."
    median = " x ".join(f"{side:.0f}" for side in np.median(np.array(shapes), axis=0))
    return (
        f"Patch {sides}: the largest multiples of {MULTIPLE} within the median image of {median} "
        f"voxels, and at most {LARGEST_SIDE[config.dims]}."
    )


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{side:.3g}" for side in spacing)
