"""Check a dataset before it is used for training."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from napari_graphflow.dataset.case import SPLITS, Case
from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.findings import SEVERITIES, Finding, counted, listed, some_of
from napari_graphflow.dataset.names import patients
from napari_graphflow.dataset.sparse import describe_sparse, find_sparse, find_sparse_classes
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume


@dataclass(frozen=True)
class _CaseFacts:
    """What is needed of a case once its voxels are freed."""

    case: Case
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    content: str
    present: frozenset[int]
    sparse: str = ""


def check(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Read every case once and return the findings, errors first.

    Parameters
    ----------
    dataset
        The dataset.
    progress
        Called with the number of cases read and the total.
    """
    findings = [
        *dataset.findings,
        *_check_counts(dataset),
        *_check_names(dataset),
        *_check_patients(dataset),
        *check_record(dataset),
    ]
    facts: list[_CaseFacts] = []
    for done, case in enumerate(dataset.cases, start=1):
        try:
            one, more = _check_case(dataset, case)
            findings += more
            facts.append(one)
        except UserError as error:
            findings.append(Finding("error", case.name, error.text, error.remedy))
        if progress is not None:
            progress(done, len(dataset.cases))
    findings += [*_check_together(dataset, facts), *_check_slices(dataset, facts)]
    findings += [*_check_contents(facts), *_describe(facts)]
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))


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
            "Annotate training cases, or import their masks.",
        )
    if not numbers["val"][0]:
        yield Finding(
            "warning",
            "",
            "No validation case has a mask, so the best checkpoint cannot be selected.",
            "Move some labelled cases from train to val in splits.json.",
        )
    for word, split in (("validation", "val"), ("test", "test")):
        names = [case.name for case in dataset.cases if case.split == split and not case.label]
        if names:
            yield Finding(
                "warning",
                names[0] if len(names) == 1 else "",
                f"{len(names)} {word} case{'s have' if len(names) > 1 else ' has'} no mask and "
                "cannot be evaluated.",
            )


def _check_names(dataset: Dataset) -> Iterator[Finding]:
    by_name = groupby(sorted(dataset.cases, key=lambda case: case.name), key=lambda case: case.name)
    for name, group in by_name:
        splits = [case.split for case in group]
        if len(splits) > 1:
            yield Finding(
                "error",
                name,
                f"The case is in {listed(splits)} at once, so its score would be too high.",
                "Keep it in one split only, in splits.json and in the folders.",
            )


def _check_patients(dataset: Dataset) -> Iterator[Finding]:
    """Find patients, by the names of their scans, on both sides of a split."""
    known = dataset.record.get("patients")
    patient = patients((case.name for case in dataset.cases), known)
    sides: dict[str, set[str]] = {}
    for case in dataset.cases:
        sides.setdefault(patient[case.name], set()).add(case.name)
    splits = {case.name: case.split for case in dataset.cases}
    found = [
        f"{one} ({listed(sorted(names))})"
        for one, names in sides.items()
        if len({splits[name] for name in names}) > 1
    ]
    if found:
        yield Finding(
            "warning",
            "",
            f"{counted(len(found), 'patient')} {'seems' if len(found) == 1 else 'seem'} to be in "
            f"several splits, so scores would be too high: {some_of(found)}.",
            "Keep all scans of a patient in one split.",
        )


def check_record(dataset: Dataset) -> Iterator[Finding]:
    """Tell what was left out when the dataset was imported."""
    left_out = dataset.record.get("left_out") or []
    if left_out:
        yield Finding(
            "info",
            "",
            f"{len(left_out)} labelled image{'s were' if len(left_out) > 1 else ' was'} not "
            f"imported, because {'they are' if len(left_out) > 1 else 'it is'} in no split.",
        )
    alone = dataset.record.get("masks_without_image") or []
    if alone:
        yield Finding(
            "warning",
            "",
            f"{len(alone)} mask{'s' * (len(alone) > 1)} without an image "
            f"{'were' if len(alone) > 1 else 'was'} not imported, such as {alone[0]}.",
            "Check the file names, and import again.",
        )
    bare = dataset.record.get("masks_without_names") or []
    if bare:
        yield Finding(
            "warning",
            "",
            f"{counted(len(bare), 'mask')} {'has' if len(bare) == 1 else 'have'} no class names "
            f"and got those of the other masks: {some_of(bare)}.",
            "Check that equal values mean equal classes there.",
        )
    for text, names in (dataset.record.get("warnings") or {}).items():
        where = f"{some_of(names)} ({counted(len(names), 'case')}): " if len(names) > 1 else ""
        yield Finding(
            "warning",
            "" if where else names[0],
            f"At the import, {where}{text}" if where else f"At the import: {text}",
        )
    unused = dataset.record.get("not_used") or []
    if unused:
        yield Finding(
            "warning",
            "",
            f"{counted(len(unused), 'file')} {'was' if len(unused) == 1 else 'were'} not "
            f"imported: {some_of(unused)}.",
        )


def _check_case(dataset: Dataset, case: Case) -> tuple[_CaseFacts, list[Finding]]:
    """Read a case and return the findings that concern only this case.

    Raises
    ------
    UserError
        If it cannot be read, or the mask does not fit the image.
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
    facts = _CaseFacts(
        case, volume.shape, volume.spacing, channels, content.hexdigest(), frozenset()
    )
    if case.label is None:
        return facts, findings
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
                "Check that this is intended; an image without a mask file is unlabelled.",
            )
        )
    sparse = find_sparse(labels)
    text = "" if sparse is None else describe_sparse(sparse, labels)
    if sparse is None:
        names = {index: name for name, index in dataset.classes.items()}
        findings += [
            Finding(
                "warning",
                case.name,
                f"{names[index]}: {describe_sparse(one, labels)}",
                "Draw it in all slices. “datasets ignore-empty-slices” leaves out only slices that "
                "are empty of all classes.",
            )
            for index, one in find_sparse_classes(labels).items()
        ]
    return replace(facts, present=present, sparse=text), findings


def _check_together(dataset: Dataset, facts: Sequence[_CaseFacts]) -> Iterator[Finding]:
    if len({len(one.shape) for one in facts}) > 1:
        flat = [one.case.name for one in facts if len(one.shape) == 2]
        yield Finding(
            "error",
            flat[0],
            f"{len(flat)} cases are 2D images and the others volumes.",
            "Split them into two datasets.",
        )
    train = [one for one in facts if one.case.split == "train" and one.case.label is not None]
    present = frozenset().union(*(one.present for one in train))
    for name, index in dataset.classes.items():
        if index and train and index not in present:
            yield Finding(
                "warning",
                "",
                f"No training mask contains the class {name}, so it cannot be learned.",
                "Annotate it in a training case, or remove the class.",
            )


def _check_slices(dataset: Dataset, facts: Sequence[_CaseFacts]) -> Iterator[Finding]:
    """Find masks that are drawn in some slices only."""
    for text in dict.fromkeys(one.sparse for one in facts if one.sparse):
        names = [one.case.name for one in facts if one.sparse == text]
        where = f"{some_of(names)} ({len(names)} cases): " if len(names) > 1 else ""
        yield Finding(
            "warning",
            "" if where else names[0],
            where + (text[0].lower() + text[1:] if where else text),
            "If nobody looked at those, leave them out: "
            f"napari-graphflow datasets ignore-empty-slices {dataset.folder}",
        )


def _check_contents(facts: Sequence[_CaseFacts]) -> Iterator[Finding]:
    """Find identical images with different names."""
    by_content = groupby(sorted(facts, key=lambda one: one.content), key=lambda one: one.content)
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
                f"The same image is in {listed(splits)}, under the names {listed(names)}.",
                "Keep it in one split only.",
            )
        else:
            yield Finding(
                "warning", names[0], f"{listed(names)} are the same image.", "Keep one of them."
            )


def _describe(facts: Sequence[_CaseFacts]) -> Iterator[Finding]:
    usual = [one for one in facts if len(one.shape) == len(facts[0].shape)]
    if not usual:
        return
    shapes = np.array([one.shape for one in usual])
    spacings = np.array([one.spacing for one in usual])
    unit = "pixels" if shapes.shape[1] == 2 else "voxels"
    yield Finding("info", "", f"Shapes: {_range(shapes)} {unit}.")
    if (spacings != 1).any():
        yield Finding("info", "", f"Spacings: {_range(spacings)} mm.")


def _range(numbers: np.ndarray[Any, np.dtype[Any]]) -> str:
    """Format the value of each axis, or its range and median."""
    axes = []
    for low, high, middle in zip(
        numbers.min(0), numbers.max(0), np.median(numbers, axis=0), strict=True
    ):
        axes.append(f"{low:.4g}" if low == high else f"{low:.4g}–{high:.4g} ({middle:.4g})")
    return " x ".join(axes)


def channel_count(volume: Volume) -> int:
    """Return the number of channels, 1 for an image without a channel axis."""
    return int(volume.array.shape[-1]) if volume.channels else 1
