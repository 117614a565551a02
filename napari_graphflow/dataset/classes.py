"""Map the values of masks to classes, named by the user or by the masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_graphflow.dataset.cases import to_indices
from napari_graphflow.dataset.findings import listed
from napari_graphflow.dataset.label_values import check_values
from napari_graphflow.dataset.names import same_name, same_names
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.masks import only_mask, without_overlap
from napari_graphflow.imaging.segments import is_segmentation, read_segments, segment_names
from napari_graphflow.imaging.volume import Volume


@dataclass(frozen=True)
class Classes:
    """Class names in order, their values in the given masks, and the value of the ignore label.

    With `white`, 1 and 255 both mean foreground in binary masks. `segments` maps each segment of
    DICOM segmentations, by :func:`napari_graphflow.dataset.names.same_name`, to its value, and
    `renumbered` the values of masks whose class names have other values than the given ones.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    white: bool = False
    segments: Mapping[str, int] = field(default_factory=dict)
    renumbered: Mapping[Path, Mapping[int, int]] = field(default_factory=dict)

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
        The values that occur in each mask.
    names
        Values by class name, from the name file of each mask; empty for masks without.
    segments
        Segment numbers by name, of DICOM segmentations. Segments are identified by name, since
        every program numbers them differently.
    """

    values: dict[Path, frozenset[int]] = field(default_factory=dict)
    names: dict[Path, dict[str, int]] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)

    def add_mask(self, path: Path) -> None:
        """Add a mask.

        Raises
        ------
        UserError
            If it or its class names cannot be read.
        """
        if is_segmentation(path):
            known = {same_name(name) for name in self.segments}
            for name, number in segment_names(path).items():
                if same_name(name) not in known:
                    self.segments[name] = number
            return
        values = np.unique(read_labels(path, white=False).array).tolist()
        self.values[path] = frozenset(values)
        found = read_class_names(path)
        if found.get("background", 0) == 0:
            found = {name: value for name, value in found.items() if value}
        self.names[path] = found

    @property
    def unnamed(self) -> list[str]:
        """Masks without class names, although others have some."""
        if not any(self.names.values()):
            return []
        return [path.name for path, names in self.names.items() if not names]

    def common_names(self) -> dict[str, int]:
        """Return the values by class name of all masks.

        Raises
        ------
        UserError
            If the class names of a mask contradict those of another.
        """
        common: dict[str, int] = {}
        for path, names in self.names.items():
            for name, value in names.items():
                others = [one for one, other in common.items() if other == value and one != name]
                if others or common.setdefault(name, value) != value:
                    what = f"value {value} is {name}" if others else f"{name} has the value {value}"
                    raise _contradiction(path, what)
        return common


def _contradiction(path: Path, what: str) -> UserError:
    return UserError(
        f"By the class names of the mask {path.name}, {what}, but another mask or the given "
        "classes contradict this.",
        "Name the classes and their values as beside the masks, or correct the names there.",
    )


def read_mask(path: Path, like: Volume, classes: Classes) -> Volume:
    """Read a mask with the values of the classes; DICOM segments get their values by name.

    Segments that are not of the classes are left out, with a warning.

    Raises
    ------
    UserError
        If it cannot be read, is on another grid, has none of the segments, or these overlap.
    """
    if not classes.segments or not is_segmentation(path):
        mask = read_labels(path, like, white=False)
        known = classes.renumbered.get(path)
        return mask if known is None else mask.with_array(to_indices(mask.array, known, path.name))
    masks = read_segments(path, like)
    names = [name for _, some in masks for name in some]
    unknown = [name for name in names if same_name(name) not in classes.segments]
    if len(unknown) == len(names):
        raise UserError(
            f"{path.name} contains the segment “{names[0]}”, which is not one of the classes "
            f"({', '.join(classes.names)}), and none that is.",
            "Add the class, or leave out the mask.",
        )
    asked = (
        (name, mask.array == number)
        for mask, some in masks
        for name, number in some.items()
        if name not in unknown
    )
    values = {name: classes.segments[same_name(name)] for name in names if name not in unknown}
    parts = without_overlap(asked, values)
    like = masks[0][0]
    array = only_mask([(like.with_array(one), used) for one, used in parts], path.name)[0].array
    warnings = list(dict.fromkeys(text for mask, _ in masks for text in mask.warnings))
    if unknown:
        warnings.append(f"Segments that are not of the classes are left out: {listed(unknown)}.")
    return replace(like.with_array(array), warnings=tuple(warnings))


def choose_classes(survey: Survey, given: Mapping[str, int] | None) -> Classes:
    """Map every value and segment to a class, as named by the user or by the masks."""
    renumbered = {} if given is None else _renumbered(survey, given)
    values = {
        frozenset(renumbered.get(path, {}).get(value, value) for value in some)
        for path, some in survey.values.items()
    }
    if given is None:
        names = survey.common_names()
        _refuse_unclear_white(values, names)
        if names or survey.segments:
            given = _named_by_masks(values, names, survey.segments)
    classes = replace(_classes(values, given), renumbered=renumbered)
    if not survey.segments:
        return classes
    pairs = zip(classes.names, classes.values, strict=True)
    return replace(classes, segments={same_name(name): value for name, value in pairs})


def _renumbered(survey: Survey, given: Mapping[str, int]) -> dict[Path, dict[int, int]]:
    """Return the given value of each value of the masks whose names have other values.

    Names that are none of the given classes may be translated by giving their value, but only if
    no other mask has another name there.
    """
    wanted = {"background": 0} | {same_name(name): int(value) for name, value in given.items()}
    found: dict[Path, dict[int, int]] = {}
    meaning: dict[int, str] = {}
    for path, names in survey.names.items():
        present = survey.values[path]
        own = {same_name(name): value for name, value in names.items() if value in present}
        known = {value: wanted[name] for name, value in own.items() if name in wanted}
        changed = any(value != other for value, other in known.items())
        if changed:
            known.setdefault(0, 0)
            for value in sorted(present - set(known)):
                name = next((one for one, other in own.items() if other == value), "unnamed")
                raise _contradiction(path, f"value {value} is {name}")
            found[path] = known
        for name, value in own.items():
            after = known.get(value, value)
            if meaning.setdefault(after, name) != name:
                raise _contradiction(path, f"value {value} is {name}")
    return found


def _refuse_unclear_white(found: set[frozenset[int]], names: Mapping[str, int]) -> None:
    """Refuse masks of 0 and 255 alone besides masks of several classes: 255 is any of these."""
    values, has_ignore, white = _values(found)
    alone = any(IGNORE in one and one <= {0, IGNORE} for one in found)
    if alone and not (has_ignore or white or values == {IGNORE}):
        if IGNORE in names.values():
            return
        others = ", ".join(map(str, sorted(values - {IGNORE})))
        raise UserError(
            f"Some masks contain only 0 and 255, and others the values {others}, so it is unclear "
            "what 255 means.",
            "Name all classes and their values with --classes, such as liver=1 ignore=255.",
        )


def _named_by_masks(
    found: set[frozenset[int]], names: Mapping[str, int], segments: Mapping[str, int]
) -> dict[str, int]:
    """Return the class names of the masks; segments keep their numbers if these are free."""
    named = dict(names)
    values, has_ignore, white = _values(found)
    for value in sorted(
        values - set(named.values()) - ({IGNORE} if has_ignore or white else set())
    ):
        named[f"class_{value}"] = value
    for name, number in segments.items():
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
