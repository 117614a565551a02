"""Preprocessing settings, part of a run and of the saved model."""

import math
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from napari_graphflow.config.settings import Frozen

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")
#: Instead of an orientation code: images are used as they are stored.
STORED = "stored"
#: Smallest and largest voxel spacing in mm.
_SPACINGS = (1e-4, 1000)
#: Marks a field that forms do not show.
HIDDEN = "hidden"
_DIRECTIONS = ("LR", "PA", "SI")


def _number(value: Any) -> Any:
    """Convert digits, as text from the command line, to an integer."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _names(value: Any) -> Any:
    """Replace axis numbers, as in the ``transpose_forward`` of nnU-Net, with names."""
    if not isinstance(value, (list, tuple)):
        return value
    return tuple(AXES[int(one)] if str(one) in ("0", "1", "2") else one for one in value)


def _flat(value: Any) -> Any:
    """Return nested numbers as one tuple, so that a number or pairs of bounds can be written."""
    if isinstance(value, (list, tuple)):
        return tuple(number for one in value for number in cast("tuple[Any, ...]", _flat(one)))
    return () if value is None else (value,)


#: Kinds of scaling that use a setting; the others concern every kind.
_USED_BY: dict[str, set[str]] = {
    "window": {"ct_window"},
    "percentiles": {"percentile", "zscore"},
    "mean": {"mean_std"},
    "std": {"mean_std"},
}

Dims = Annotated[Literal[2, 3], BeforeValidator(_number)]
Intensity = Literal["ct_window", "percentile", "zscore", "range", "mean_std", "none"]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_flat)]


def positive_sides(value: tuple[int, ...]) -> tuple[int, ...]:
    """Validate the sides of a patch in voxels."""
    if any(side < 1 for side in value):
        raise ValueError("every side of a patch must be at least 1 voxel")
    return value


class NnUNetSteps(Frozen):
    """Steps of nnU-Net v2 instead of ours, so that its networks receive what they learnt from.

    After the reorientation, images are cropped to the box of their non-zero voxels, scaled, and
    only then resampled, by splines; voxels of an axis with far larger spacing are not mixed.

    Parameters
    ----------
    masked
        Whether ``zscore`` of each channel is computed within the non-zero voxels only.
    order, order_z
        Order of the splines of images, and along an axis that is resampled by itself.
    logits_order, logits_order_z
        The same for the logits on their way back to the grid of the image.
    separate_z
        Whether the axis with the largest spacing is resampled by itself. Default: if its spacing is
        more than three times the smallest one.
    """

    masked: tuple[bool, ...] = ()
    order: Annotated[int, Field(ge=0, le=5)] = 3
    order_z: Annotated[int, Field(ge=0, le=5)] = 0
    logits_order: Annotated[int, Field(ge=0, le=5)] = 1
    logits_order_z: Annotated[int, Field(ge=0, le=5)] = 0
    separate_z: bool | None = None


class Preprocessing(Frozen):
    """Preprocessing of a stored volume for a network; saved with the model.

    The steps are: reorientation, order of the axes, resampling, clipping, scaling.

    Parameters
    ----------
    spacing
        Voxel spacing in mm to which all images are resampled, along the axes of the network's
        input: (z, y, x) or (y, x) unless `axes` says otherwise. 0 keeps the spacing of that axis.
        Default: the spacing of each image.
    orientation
        Directions of increasing x, y and z of volumes, such as RAS for x to the right, y to the
        front and z to the head; ``stored`` keeps the orientation of each file. The default is
        that of the networks trained here.
    grid
        Voxels after resampling to `spacing`: ``extent`` covers the extent of the image, with a
        spacing that is changed a little to fit; ``centres`` keeps the centre of the first voxel
        and the spacing exact, as the transform Spacing of MONAI.
    axes
        Order of the array's axes after the reorientation, from the slowest to the fastest; the
        numbers of nnU-Net's ``transpose_forward`` are understood, too.
    intensity
        ``ct_window`` clips to `window` and scales to 0..1, with the same bounds for all cases;
        ``percentile`` scales the lower and upper of `percentiles` of each case to 0..1;
        ``zscore`` scales each case to mean 0 and standard deviation 1 after clipping to them;
        ``range`` divides by the largest value of the stored integer type (photographs);
        ``mean_std`` subtracts `mean` and divides by `std`; ``none`` keeps the values.
    channel_intensity
        Kind of each channel, if they differ; replaces `intensity`.
    window
        Lower and upper bound in HU for ``ct_window``.
    percentiles
        Percentiles of each case for ``percentile`` and ``zscore``; 0 and 100 clip nothing.
    clip
        Lower and upper bound to which the stored values are clipped first: one pair, or one pair
        per channel. Default: no clipping.
    mean, std
        Mean and standard deviation for ``mean_std``: one number, or one per channel.
    size
        Size (y, x) in pixels to which 2D images are resized. Default: their own size.
    nnunet
        Steps of nnU-Net, for its models and their students. Default: the steps above.
    """

    spacing: tuple[float, ...] | None = None
    orientation: str = "LPS"
    axes: Annotated[tuple[Axis, ...], BeforeValidator(_names)] = AXES
    intensity: Intensity = "zscore"
    channel_intensity: tuple[Intensity, ...] = ()
    window: tuple[float, float] = (-160.0, 240.0)
    percentiles: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=100)]] = (0.5, 99.5)
    clip: Numbers = ()
    mean: Numbers = ()
    std: Numbers = ()
    size: tuple[int, int] | None = None
    # Set by an import, not by hand.
    grid: Literal["extent", "centres"] = Field(default="extent", json_schema_extra={HIDDEN: True})
    nnunet: NnUNetSteps | None = Field(default=None, json_schema_extra={HIDDEN: True})

    @field_validator("orientation")
    @classmethod
    def _known_orientation(cls, value: str) -> str:
        if value.lower() == STORED:
            return STORED
        code = value.upper()
        pairs = [next((pair for pair in _DIRECTIONS if letter in pair), "") for letter in code]
        if sorted(pairs) != sorted(_DIRECTIONS):
            raise ValueError(f"{value!r} is not an orientation such as LPS or RAS")
        return code

    @field_validator("spacing", "window", "percentiles", "clip", "mean", "std")
    @classmethod
    def _finite(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if not all(map(math.isfinite, value or ())):
            raise ValueError("every number must be finite")
        return value

    @field_validator("spacing", "size")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> Any:
        least = 1 if info.field_name == "size" else 0  # a spacing of 0 keeps that of the image
        if any(one < least for one in value or ()):
            raise ValueError(f"every number must be at least {least}")
        if info.field_name == "spacing" and any(
            one and not _SPACINGS[0] <= one <= _SPACINGS[1] for one in value or ()
        ):
            raise ValueError(
                f"a voxel spacing must be 0 or from {_SPACINGS[0]} to {_SPACINGS[1]} mm"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sorted(self.axes) != sorted(AXES):
            raise ValueError("axes must name z, y and x once each")
        kinds = self.channel_intensity or (self.intensity,)
        if "mean_std" in kinds and not (self.mean and self.std):
            raise ValueError("mean_std needs mean and std")
        if any(one <= 0 for one in self.std):
            raise ValueError("std must be positive")
        pairs = (self.window, self.percentiles, *zip(self.clip[::2], self.clip[1::2], strict=False))
        if len(self.clip) % 2 or any(low >= high for low, high in pairs):
            raise ValueError("clip, window and percentiles need a lower and a larger upper bound")
        numbers = (len(self.mean), len(self.std), len(self.clip) // 2, len(self.channel_intensity))
        if len({number for number in numbers if number > 1}) > 1:
            raise ValueError(
                "mean, std, clip and channel_intensity are of another number of channels"
            )
        return self

    def differences(self, other: "Preprocessing") -> list[str]:
        """Return the names of the settings by which two preprocessings differ.

        Settings that neither of them uses, such as the window of one that does not clip to it, are
        left out.
        """
        kinds = {*(self.channel_intensity or (self.intensity,))}
        kinds |= {*(other.channel_intensity or (other.intensity,))}
        return [
            name
            for name in type(self).model_fields
            if getattr(self, name) != getattr(other, name)
            and not kinds.isdisjoint(_USED_BY.get(name, kinds))
        ]

    @property
    def channels(self) -> int | None:
        """Number of channels for which there are numbers; None if they are for any."""
        numbers = (len(self.mean), len(self.std), len(self.clip) // 2)
        return len(self.channel_intensity) or max((n for n in numbers if n > 1), default=0) or None

    def code(self, stored: str) -> str:
        """Return the orientation code of the network's input, its axes reordered.

        Parameters
        ----------
        stored
            Orientation code of the volume.
        """
        code = stored if self.orientation == STORED else self.orientation
        return "".join(code["xyz".index(axis)] for axis in reversed(self.axes))
