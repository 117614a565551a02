"""What the values of masks mean: names of classes, from the user or from the masks themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_graphflow.dataset.cases import check_values, read_stored_labels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import is_segmentation, read_segments
from napari_graphflow.imaging.labels import IGNORE, read_class_names
from napari_graphflow.imaging.volume import Volume


@dataclass(frozen=True)
class Classes:
    """Class names in order, the value of each in the given masks, and the value to ignore.

    `white` tells that 1 and 255 are the same, in masks of two values. `segments` has the value of
    each segment of DICOM segmentations, by :func:`_key` of its name.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    white: bool = False
    segments: Mapping[str, int] = field(default_factory=dict)

    @property
    def indices(self) -> dict[int, int]:
        """Index on disk by given value; the one to be ignored comes last, as nnU-Net wants it."""
        known = {value: index for index, value in enumerate(self.values)}
        if self.white:
            known |= {1: 1, IGNORE: 1}
        return known if self.ignore is None else {**known, self.ignore: len(self.values)}


@dataclass
class Survey:
    """What occurs in the masks of a dataset.

    Attributes
    ----------
    values
        The sets of values that occur together in a mask.
    names
        Values by name, from what is kept beside the masks.
    segments
        Numbers by name of the segments of DICOM segmentations; names say what they are, for each
        program numbers them in its own way.
    """

    values: set[frozenset[int]] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)

    def look_at(self, path: Path, named: bool) -> None:
        """Take note of a mask; without its names where they are `named` by the user.

        Raises
        ------
        UserError
            If it cannot be read, or its names contradict those of another mask.
        """
        if is_segmentation(path):
            known = {_key(name) for name in self.segments}
            for name, number in _only_mask(path)[1].items():
                if _key(name) not in known:
                    self.segments[name] = number
            return
        self.values.add(frozenset(np.unique(read_stored_labels(path).array).tolist()))
        if named:
            return
        found = read_class_names(path)
        if found.get("background", 0) == 0:
            found = {name: value for name, value in found.items() if value}
        for name, value in found.items():
            others = [one for one, other in self.names.items() if other == value and one != name]
            if others or self.names.setdefault(name, value) != value:
                what = f"value {value} is {name}" if others else f"{name} has the value {value}"
                raise UserError(
                    f"By the names beside the mask {path.name}, {what}; another mask says "
                    "otherwise.",
                    "Say what the values mean by naming the classes.",
                )


def read_mask(path: Path, like: Volume, classes: Classes) -> Volume:
    """Read a mask with its values as stored; segments of a DICOM segmentation get theirs by name.

    Raises
    ------
    UserError
        If it cannot be read, lies on another grid, or has a segment that is no class.
    """
    if not classes.segments or not is_segmentation(path):
        return read_stored_labels(path, like)
    mask, names = _only_mask(path, like)
    lookup = np.zeros(max(names.values()) + 1, np.uint16)
    for name, number in names.items():
        if _key(name) not in classes.segments:
            raise UserError(
                f"{path.name} holds the segment “{name}”, which is none of the classes "
                f"({', '.join(classes.names)}).",
                "Name that class too.",
            )
        lookup[number] = classes.segments[_key(name)]
    return mask.with_array(lookup[mask.array])


def _only_mask(path: Path, like: Volume | None = None) -> tuple[Volume, dict[str, int]]:
    masks = read_segments(path, like)
    if len(masks) > 1:
        raise UserError(
            f"Some segments of {path.name} overlap, so a voxel may belong to several classes.",
            "Convert it with “napari-graphflow volumes convert”, and choose one of its masks.",
        )
    return masks[0]


def _key(name: str) -> str:
    """Programs write Liver and liver for the same."""
    return " ".join(name.split()).casefold()


def choose_classes(survey: Survey, given: Mapping[str, int] | None) -> Classes:
    """Give every value and every segment a meaning: as the user says, or as the masks do."""
    if given is None and (survey.names or survey.segments):
        given = _as_masks_say(survey)
    classes = _classes(survey.values, given)
    if not survey.segments:
        return classes
    pairs = zip(classes.names, classes.values, strict=True)
    return replace(classes, segments={_key(name): value for name, value in pairs})


def _as_masks_say(survey: Survey) -> dict[str, int]:
    """Names of the masks; segments get their own numbers where no other class has them."""
    named = dict(survey.names)
    values, together, white = _values(survey.values)
    for value in sorted(values - set(named.values()) - ({IGNORE} if together or white else set())):
        named[f"class_{value}"] = value
    for name, number in survey.segments.items():
        if _key(name) in map(_key, named):
            continue
        taken = set(named.values())
        named[name] = number if number not in taken else max(taken) + 1
    return named


def _classes(found: set[frozenset[int]], given: Mapping[str, int] | None) -> Classes:
    """Give every value a meaning."""
    values, together, white = _values(found)
    if given is None:
        classes = sorted(values - {IGNORE} if together else values) or [1]
        if white or len(classes) == 1:
            return _ordered({"foreground": classes[-1]}, IGNORE if together else None, white)
        return _ordered(
            {f"class_{value}": value for value in classes}, IGNORE if together else None
        )
    named = {str(one): int(value) for one, value in given.items()}
    ignore = named.pop("ignore", None)
    foreground = {one: value for one, value in named.items() if one != "background"}
    single = len(foreground) == 1 and set(foreground.values()) <= {1, IGNORE}
    if white and single and ignore is None and named.get("background", 0) == 0:
        # Whether white is 1 or 255 is a matter of the program that saved the masks.
        return _ordered(dict.fromkeys(foreground, IGNORE), None, white)
    if ignore is None and together and IGNORE not in named.values():
        ignore = IGNORE
    return _ordered(named, ignore)


def _values(found: set[frozenset[int]]) -> tuple[set[int], bool, bool]:
    """All values but 0; whether 255 stands beside others; whether it is the white of pictures."""
    values = set().union(*found) - {0}
    together = any(IGNORE in one and one - {0, IGNORE} for one in found)
    return values, together, IGNORE in values and values <= {1, IGNORE} and not together


def _ordered(named: dict[str, int], ignore: int | None, white: bool = False) -> Classes:
    """The background first, whatever its value, then the others by theirs."""
    if "background" not in named and 0 not in named.values():
        named = {"background": 0, **named}
    if len(set(named.values())) < len(named) or ignore in named.values():
        raise UserError("Two classes have the same value.", "Give each class a value of its own.")
    check_values([*named.values(), ignore or 0])
    order = sorted(named, key=lambda one: (one != "background", named[one]))
    return Classes(tuple(order), tuple(named[one] for one in order), ignore, white)
