"""Map the values of masks to classes, named by the user or by the masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_graphflow.dataset.cases import read_stored_labels, to_indices
from napari_graphflow.dataset.label_values import check_values
from napari_graphflow.dataset.names import same_name, same_names
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.masks import only_mask
from napari_graphflow.imaging.segments import is_segmentation, read_segments, segment_names
from napari_graphflow.imaging.volume import Volume


@dataclass(frozen=True)
class Classes:
    """Class names in order, their values in the given masks, and the value of the ignore label.

    With `white`, 1 and 255 both mean foreground in binary masks. `segments` maps each segment of
    DICOM segmentations, by :func:`napari_graphflow.dataset.names.same_name`, to its value.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    white: bool = False
    segments: Mapping[str, int] = field(default_factory=dict)

    @property
    def indices(self) -> dict[int, int]:
        """Index on disk by given value; the ignore label is last, as nnU-Net requires."""
        known = {value: index for index, value in enumerate(self.values)}
        if self.white:
            known |= {1: 1, IGNORE: 1}
        return known if self.ignore is None else {**known, self.ignore: len(self.values)}


@dataclass
class Survey:
    """The values, class names and segments in the masks of a dataset.

    Attributes
    ----------
    values
        The sets of values that occur has_ignore in a mask.
    names
        Values by class name, from the name files of the masks.
    segments
        Segment numbers by name, of DICOM segmentations. Segments are identified by name, since
        every program numbers them differently.
    """

    values: set[frozenset[int]] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)

    def add_mask(self, path: Path, named: bool) -> None:
        """Add a mask; its class names are ignored if the user has `named` the classes.

        Raises
        ------
        UserError
            If it cannot be read, or its class names contradict those of another mask.
        """
        if is_segmentation(path):
            known = {same_name(name) for name in self.segments}
            for name, number in segment_names(path).items():
                if same_name(name) not in known:
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
                    f"By the class names of the mask {path.name}, {what}, but another mask "
                    "contradicts this.",
                    "Name the classes and their values.",
                )


def read_mask(path: Path, like: Volume, classes: Classes) -> Volume:
    """Read a mask with its stored values; DICOM segments get their values by name.

    Raises
    ------
    UserError
        If it cannot be read, is on another grid, or has a segment that is not a class.
    """
    if not classes.segments or not is_segmentation(path):
        return read_stored_labels(path, like)
    mask, names = only_mask(read_segments(path, like), path.name)
    known = {0: 0}
    for name, number in names.items():
        if same_name(name) not in classes.segments:
            raise UserError(
                f"{path.name} contains the segment “{name}”, which is not one of the classes "
                f"({', '.join(classes.names)}).",
                "Add the class.",
            )
        known[number] = classes.segments[same_name(name)]
    return mask.with_array(to_indices(mask.array, known, path.name))


def choose_classes(survey: Survey, given: Mapping[str, int] | None) -> Classes:
    """Map every value and segment to a class, as named by the user or by the masks."""
    if given is None and (survey.names or survey.segments):
        given = _named_by_masks(survey)
    classes = _classes(survey.values, given)
    if not survey.segments:
        return classes
    pairs = zip(classes.names, classes.values, strict=True)
    return replace(classes, segments={same_name(name): value for name, value in pairs})


def _named_by_masks(survey: Survey) -> dict[str, int]:
    """Return the class names of the masks; segments keep their numbers if these are free."""
    named = dict(survey.names)
    values, has_ignore, white = _values(survey.values)
    for value in sorted(
        values - set(named.values()) - ({IGNORE} if has_ignore or white else set())
    ):
        named[f"class_{value}"] = value
    for name, number in survey.segments.items():
        if same_name(name) in map(same_name, named):
            continue
        taken = set(named.values())
        named[name] = number if number not in taken else max(taken) + 1
    return named


def _classes(found: set[frozenset[int]], given: Mapping[str, int] | None) -> Classes:
    """Map every value to a class."""
    values, has_ignore, white = _values(found)
    if given is None:
        classes = sorted(values - {IGNORE} if has_ignore else values) or [1]
        if white or len(classes) == 1:
            return _ordered({"foreground": classes[-1]}, IGNORE if has_ignore else None, white)
        return _ordered(
            {f"class_{value}": value for value in classes}, IGNORE if has_ignore else None
        )
    named = {str(one): int(value) for one, value in given.items()}
    ignore = named.pop("ignore", None)
    foreground = {one: value for one, value in named.items() if one != "background"}
    single = len(foreground) == 1 and set(foreground.values()) <= {1, IGNORE}
    if white and single and ignore is None and named.get("background", 0) == 0:
        # Programs save the foreground of binary masks as 1 or as 255.
        return _ordered(dict.fromkeys(foreground, IGNORE), None, white)
    if ignore is None and has_ignore and IGNORE not in named.values():
        ignore = IGNORE
    return _ordered(named, ignore)


def _values(found: set[frozenset[int]]) -> tuple[set[int], bool, bool]:
    """Return the values except 0, whether 255 is the ignore label, whether it is foreground."""
    values = set().union(*found) - {0}
    has_ignore = any(IGNORE in one and one - {0, IGNORE} for one in found)
    return values, has_ignore, IGNORE in values and values <= {1, IGNORE} and not has_ignore


def _ordered(named: dict[str, int], ignore: int | None, white: bool = False) -> Classes:
    """Order the classes: the background first, then by value."""
    if "background" not in named and 0 not in named.values():
        named = {"background": 0, **named}
    if len(set(named.values())) < len(named) or ignore in named.values():
        raise UserError(
            "Two classes have the same value.", "Assign a different value to each class."
        )
    if alike := same_names(named):
        raise UserError(
            f"The classes {alike[0]} and {alike[1]} have the same name, apart from its spelling.",
            "Give each class its own name.",
        )
    check_values([*named.values(), ignore or 0], len(named))
    order = sorted(named, key=lambda one: (one != "background", named[one]))
    return Classes(tuple(order), tuple(named[one] for one in order), ignore, white)
