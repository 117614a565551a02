"""Classes and stored values by the ``labels`` of a ``dataset.json``, also of regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_graphflow.dataset.names import same_names
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE

LARGEST_VALUE = 65535
_BACKGROUND, _IGNORE = "background", "ignore"


@dataclass(frozen=True)
class LabelValues:
    """The classes of a dataset.

    Attributes
    ----------
    names
        Names of the classes by index; the background is 0.
    values
        The stored values of each class; the first is written.
    ignore
        Stored value of the ignore label, or None.
    regions
        Names of the classes of each region of several labels.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: int | None = None
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_label_values(labels: Mapping[str, Any]) -> LabelValues:
    """Read ``labels``: values by name, names by value (Decathlon, nnU-Net v1), or regions.

    Where regions overlap, as in BraTS, each voxel is of the innermost region that contains it: its
    value decides which one. nnU-Net stores the same values, by ``regions_class_order``.

    Raises
    ------
    UserError
        If there are too many classes or too large values.
    ValueError, TypeError
        If `labels` has another form.
    """
    pairs = (
        ((name, key) for key, name in labels.items()) if _is_inverted(labels) else labels.items()
    )
    regions: dict[str, tuple[int, ...]] = {}
    for name, value in pairs:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"the region {name} has no labels")
        if str(name) in regions:
            raise UserError(
                f"Two classes of the dataset are called {name}.", "Give each its own name."
            )
        regions[str(name)] = tuple(sorted({_whole(str(name), one) for one in values}))
    if alike := same_names(regions):
        raise UserError(
            f"The classes {alike[0]} and {alike[1]} of the dataset have the same name, apart from "
            "its spelling.",
            "Give each its own name.",
        )
    (ignore,) = regions.pop(_IGNORE, (None,))
    if not any(0 in values for values in regions.values()):
        regions = {_BACKGROUND: (0,), **regions}
    stored = sorted({value for values in regions.values() for value in values})
    check_values([*stored, ignore or 0], len(stored))
    if all(len(values) == 1 for values in regions.values()):
        if len(stored) < len(regions) or ignore in stored:
            raise UserError(
                "Two classes of the dataset have the same value.", "Give each its own value."
            )
        order = sorted(regions, key=lambda one: regions[one])
        return LabelValues(tuple(order), tuple(regions[one] for one in order), ignore)
    return _parts(regions, stored, ignore)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise UserError(
            f"The class {name} has the value {value}, but values are whole numbers.",
            "Correct the labels in dataset.json.",
        )
    return int(value)


def labels_with_ignore(labels: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return ``labels`` with an ignore label, and its value: the highest, as nnU-Net wants it."""
    known = read_label_values(labels)
    value = max(one for values in known.values for one in values) + 1
    check_values([value], len(known.values) + 1)
    named = {str(value): _IGNORE} if _is_inverted(labels) else {_IGNORE: value}
    return {**labels, **named}, value


def _is_inverted(labels: Mapping[str, Any]) -> bool:
    """Whether values have names (Decathlon, nnU-Net v1), not names values."""
    return all(str(key).isdigit() for key in labels) and any(
        isinstance(name, str) and not name.isdigit() for name in labels.values()
    )


def _parts(
    regions: Mapping[str, tuple[int, ...]], stored: Sequence[int], ignore: int | None
) -> LabelValues:
    """Divide regions into classes that do not overlap: values that are in the same regions."""
    parts: dict[frozenset[str], list[int]] = {}
    for value in stored:
        around = frozenset(name for name, values in regions.items() if value in values)
        parts.setdefault(around, []).append(value)
    names = [_name(around, values, regions) for around, values in parts.items()]
    whole = {
        region: tuple(name for name, around in zip(names, parts, strict=True) if region in around)
        for region, values in regions.items()
        if len(values) > 1
    }
    return LabelValues(
        tuple(names), tuple(tuple(values) for values in parts.values()), ignore, whole
    )


def _name(
    around: frozenset[str], values: Sequence[int], regions: Mapping[str, tuple[int, ...]]
) -> str:
    """Name a class by the innermost of the regions around it."""
    inner = sorted(
        one for one in around if not any(set(regions[two]) < set(regions[one]) for two in around)
    )
    name = " and ".join(inner)
    return name if any(regions[one] == tuple(values) for one in inner) else f"{name} only"


def check_values(values: Sequence[int], number: int) -> None:
    """Refuse more than the supported `number` of classes, or larger values."""
    if min(values) < 0:
        raise UserError(
            f"A class has the value {min(values)}, but values are not negative.",
            "Renumber the classes.",
        )
    if number > IGNORE or max(values) > LARGEST_VALUE:
        raise UserError(
            f"The masks have {number} classes with values up to {max(values)}, but at most "
            f"{IGNORE} classes with values up to {LARGEST_VALUE} are supported.",
            "Renumber or merge the classes.",
        )
