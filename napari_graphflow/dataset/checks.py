"""What is wrong with a dataset, said before a training finds out."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np

from napari_graphflow.dataset.cases import SPLITS, Case, Dataset, read_case, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

Severity = Literal["error", "warning", "info"]


_RANKS: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """Something about a dataset.

    Attributes
    ----------
    severity
        ``error`` where a training would fail or deceive, ``warning`` where it may, else ``info``.
    case
        Name of the case, or empty.
    text, remedy
        One sentence each.
    """

    severity: Severity
    case: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class _Seen:
    """What is kept of a case once its voxels are out of memory."""

    case: Case
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    content: str
    present: frozenset[int]


def check(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Read every case once and say what does not fit, the gravest first.

    Parameters
    ----------
    dataset
        The dataset.
    progress
        Called with the number of cases read and their total.
    """
    findings = [*_check_counts(dataset), *_check_names(dataset), *_check_record(dataset)]
    seen: list[_Seen] = []
    for done, case in enumerate(dataset.cases, start=1):
        try:
            one, more = _look(dataset, case)
            findings += more
            seen.append(one)
        except UserError as error:
            findings.append(Finding("error", case.name, error.text, error.remedy))
        if progress is not None:
            progress(done, len(dataset.cases))
    findings += [*_check_together(dataset, seen), *_check_contents(seen), *_describe(seen)]
    return sorted(findings, key=lambda one: _RANKS.index(one.severity))


def _check_counts(dataset: Dataset) -> Iterator[Finding]:
    numbers = {
        split: (len(dataset.labelled(split)), len(dataset.unlabelled(split))) for split in SPLITS
    }
    words = (
        f"{word}: {labelled} labelled, {unlabelled} unlabelled"
        for word, (labelled, unlabelled) in zip(
            ("training", "validation", "test"), numbers.values(), strict=True
        )
    )
    yield Finding("info", "", f"Cases for {'; '.join(words)}.")
    labelled = numbers["train"][0]
    if labelled < 2:
        yield Finding(
            "warning" if labelled else "error",
            "",
            "Only one training case has a mask." if labelled else "No training case has a mask.",
            "Annotate some, or import their masks.",
        )
    if not numbers["val"][0]:
        yield Finding(
            "warning",
            "",
            "No validation case has a mask, so the best moment of a training cannot be told.",
            "Move some labelled cases from train to val in splits.json.",
        )
    for word, split in (("validation", "val"), ("test", "test")):
        names = [case.name for case in dataset.cases if case.split == split and not case.label]
        if names:
            yield Finding(
                "warning",
                names[0] if len(names) == 1 else "",
                f"{len(names)} {word} case{'s have' if len(names) > 1 else ' has'} no mask and "
                "cannot be scored.",
            )


def _check_names(dataset: Dataset) -> Iterator[Finding]:
    by_name = groupby(sorted(dataset.cases, key=lambda case: case.name), key=lambda case: case.name)
    for name, group in by_name:
        splits = [case.split for case in group]
        if len(splits) > 1:
            yield Finding(
                "error",
                name,
                f"The case is in {_and(splits)} at once, so its score would be too good.",
                "Leave it in one of them, in splits.json and in the folders.",
            )


def _check_record(dataset: Dataset) -> Iterator[Finding]:
    left_out = dataset.record.get("left_out") or []
    if left_out:
        yield Finding(
            "info",
            "",
            f"{len(left_out)} labelled image{'s were' if len(left_out) > 1 else ' was'} left out "
            "at the import, because no split names them.",
        )
    alone = dataset.record.get("masks_without_image") or []
    if alone:
        yield Finding(
            "warning",
            "",
            f"{len(alone)} mask{'s' * (len(alone) > 1)} had no image at the import, such as "
            f"{alone[0]}.",
            "Check the names of the files, and import again.",
        )


def _look(dataset: Dataset, case: Case) -> tuple[_Seen, list[Finding]]:
    """Read a case, with what is wrong with it alone.

    Raises
    ------
    UserError
        If it cannot be read, or if image and mask do not belong together.
    """
    volume = read_case(case)
    findings = [Finding("warning", case.name, text) for text in volume.warnings]
    channels = channel_count(volume)
    expected = len(dataset.channel_names)
    if channels != expected:
        findings.append(
            Finding(
                "error",
                case.name,
                f"The case has {channels} channel{'s' * (channels > 1)}, but the dataset has "
                f"{expected} ({', '.join(dataset.channel_names)}).",
                "Add the missing files, or correct channel_names in dataset.json.",
            )
        )
    content = hashlib.blake2b(np.ascontiguousarray(volume.array).data, digest_size=16)
    content.update(repr((volume.array.shape, volume.array.dtype)).encode())
    seen = _Seen(case, volume.shape, volume.spacing, channels, content.hexdigest(), frozenset())
    if case.label is None:
        return seen, findings
    labels = read_case_labels(dataset, case, volume)
    findings += [Finding("warning", case.name, text) for text in labels.warnings]
    present = frozenset(
        index for index in dataset.classes.values() if index and (labels.array == index).any()
    )
    if not present:
        findings.append(
            Finding(
                "warning",
                case.name,
                "The mask is empty.",
                "Check that this is meant; an image without a mask would be unlabelled.",
            )
        )
    return replace(seen, present=present), findings


def _check_together(dataset: Dataset, seen: Sequence[_Seen]) -> Iterator[Finding]:
    if len({len(one.shape) for one in seen}) > 1:
        pictures = [one.case.name for one in seen if len(one.shape) == 2]
        yield Finding(
            "error",
            pictures[0],
            f"{len(pictures)} cases are 2D pictures and the others volumes.",
            "Make two datasets of them.",
        )
    train = [one for one in seen if one.case.split == "train" and one.case.label is not None]
    present = frozenset().union(*(one.present for one in train))
    for name, index in dataset.classes.items():
        if index and train and index not in present:
            yield Finding(
                "warning",
                "",
                f"No training mask holds the class {name}, so it cannot be learnt.",
                "Annotate it in some training case, or leave the class out.",
            )


def _check_contents(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Images that are the same voxel by voxel, under different names."""
    by_content = groupby(sorted(seen, key=lambda one: one.content), key=lambda one: one.content)
    for _, group in by_content:
        cases = sorted({(one.case.name, one.case.split) for one in group})
        names = sorted({name for name, _ in cases})
        if len(names) < 2:
            continue
        splits = sorted({split for _, split in cases}, key=SPLITS.index)
        if len(splits) > 1:
            yield Finding(
                "error",
                names[0],
                f"The same image is in {_and(splits)}, under the names {_and(names)}.",
                "Leave it in one split.",
            )
        else:
            yield Finding("warning", names[0], f"{_and(names)} are the same image.", "Keep one.")


def _describe(seen: Sequence[_Seen]) -> Iterator[Finding]:
    usual = [one for one in seen if len(one.shape) == len(seen[0].shape)]
    if not usual:
        return
    shapes = np.array([one.shape for one in usual])
    spacings = np.array([one.spacing for one in usual])
    unit = "pixels" if shapes.shape[1] == 2 else "voxels"
    yield Finding("info", "", f"Shapes: {_range(shapes)} {unit}.")
    if (spacings != 1).any():
        yield Finding("info", "", f"Spacings: {_range(spacings)} mm.")


def _range(numbers: np.ndarray[Any, np.dtype[Any]]) -> str:
    """A number for each axis, or its range and its median."""
    axes = []
    for low, high, middle in zip(
        numbers.min(0), numbers.max(0), np.median(numbers, axis=0), strict=True
    ):
        axes.append(f"{low:.4g}" if low == high else f"{low:.4g}–{high:.4g} ({middle:.4g})")
    return " x ".join(axes)


def channel_count(volume: Volume) -> int:
    """Number of channels, one for an image without an axis of channels."""
    return int(volume.array.shape[-1]) if volume.channels else 1


def _and(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
