"""Training batches as a pure function of seed and step.

A resumed run therefore draws the same batches as an uninterrupted one, without a sampler state.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import Augmentation, ScannerAugmentation
from napari_graphflow.dataset.answers import ReadsAnswers
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.preprocessing import (
    Preprocessed,
    prepare,
    prepare_labels,
    prepare_probabilities,
)
from napari_graphflow.training.augmentation import augmentation, cut_and_mix

FOREGROUND_PROBABILITY = 0.5
FOREGROUND_SAMPLES = 10_000
FEWEST_PATCHES, MEASURED_PATCHES = 80, 200


@dataclass(frozen=True)
class TrainingCase:
    """A preprocessed case, memory-mapped from disk.

    Attributes
    ----------
    image
        (C, *spatial), float32, memory-mapped.
    labels
        (*spatial), class indices; None if the case counts as unlabelled.
    foreground
        (N, dims), indices of at most `FOREGROUND_SAMPLES` foreground voxels.
    warnings
        Sentences about voxels without intensities.
    answers
        Answers of a teacher without a network: class indices (*spatial), or probabilities
        (K, *spatial); None if it has one.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    foreground: NDArray[np.int64] | None
    warnings: tuple[str, ...] = ()
    answers: NDArray[Any] | None = None


class Patch(NamedTuple):
    """A patch (C, *patch) of a case, its labels (*patch), and the teacher's answers (K, *patch).

    `inside` (*patch) is true where the patch lies in the image, and not in its padding.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    answers: NDArray[np.float32] | None
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Labelled patches, followed by unlabelled ones.

    Attributes
    ----------
    images
        (B, C, *patch), float32.
    labels
        (L, *patch), int64, of the first L <= B patches; `IGNORE` outside the image.
    inside
        (B, *patch), boolean: where a patch is not padding. No network has learnt what lies outside
        of images, so that a teacher's answers there are worth nothing.
    answers
        (B, K, *patch), probabilities of a teacher that has answers instead of a network.
    """

    images: Tensor
    labels: Tensor
    inside: Tensor
    answers: Tensor | None = None


def load_case(
    dataset: Dataset,
    case: Case,
    preprocessing: Preprocessing,
    cache: Path,
    *,
    labelled: bool,
    given: ReadsAnswers | None = None,
) -> TrainingCase:
    """Preprocess a case, write it to `cache` and memory-map it, with the given answer for it."""
    volume = read_case(case)
    try:
        prepared = prepare(volume, preprocessing)
    except UserError as error:
        raise error.of_case(case.name) from None
    image = _memory_mapped(cache / f"{case.name}-image.npy", prepared.array)
    answers = None
    if given is not None:
        found = on_the_grid(
            given.read(case.name, volume, len(dataset.classes)), prepared, preprocessing
        )
        answers = _memory_mapped(cache / f"{case.name}-answers.npy", found)
    if not labelled:
        return TrainingCase(case.name, image, None, None, prepared.warnings, answers)
    mask = prepare_labels(read_case_labels(dataset, case, volume), preprocessing, prepared.box)
    labels = _memory_mapped(cache / f"{case.name}-labels.npy", mask.astype(np.uint8))
    foreground = np.argwhere((labels > 0) & (labels != IGNORE))
    if len(foreground) > FOREGROUND_SAMPLES:
        pick = np.random.default_rng(0).choice(len(foreground), FOREGROUND_SAMPLES, replace=False)
        foreground = foreground[np.sort(pick)]
    return TrainingCase(case.name, image, labels, foreground, prepared.warnings, answers)


def on_the_grid(
    answer: NDArray[Any], prepared: Preprocessed, preprocessing: Preprocessing
) -> NDArray[Any]:
    """Bring a teacher's answer from the stored grid of an image to that of the student's input.

    Parameters
    ----------
    answer
        Labels (*spatial), resampled to the nearest one, or probabilities (K, *spatial),
        interpolated linearly.
    prepared, preprocessing
        The student's input, and its settings.

    Returns
    -------
    answer
        Labels, uint8, or probabilities, float16, on the grid of ``prepared.array``.
    """
    source = prepared.source
    if answer.ndim == source.ndim:
        labels = prepare_labels(source.with_array(answer), preprocessing, prepared.box)
        return labels.astype(np.uint8)
    soft = source.with_array(np.moveaxis(answer, 0, -1), channels=True)
    return prepare_probabilities(soft, preprocessing, prepared.box).astype(np.float16)


class Batches:
    """Random patches of labelled and unlabelled cases.

    Parameters
    ----------
    labelled, unlabelled
        Cases; `unlabelled` may be empty.
    patch_size
        Size of the patches in voxels; 2 numbers cut slices out of volumes.
    batch_size
        Labelled patches per batch; as many unlabelled ones are added if there are any.
    seed
        Seed of all random choices.
    mirror
        Spatial axes of the patch for random mirroring.
    strength
        Strength of the augmentation.
    cutmix
        Share of unlabelled patches that are mixed with another patch of the batch.
    scanner
        Augmentation for other scanners and sites.
    classes
        Number of classes, for the answers of the cases.
    zeros
        Whether small images are padded with zeros, as the network's windows are; else with edge
        values.
    """

    def __init__(
        self,
        labelled: Sequence[TrainingCase],
        unlabelled: Sequence[TrainingCase],
        patch_size: tuple[int, ...],
        batch_size: int,
        seed: int,
        mirror: Sequence[int] = (),
        strength: Augmentation = "default",
        cutmix: float = 0.0,
        scanner: ScannerAugmentation = "none",
        classes: int = 0,
        *,
        zeros: bool = False,
    ) -> None:
        if not labelled:
            raise UserError(
                "No training case has a mask.", "Annotate at least one case, or import its mask."
            )
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.seed = seed
        self.cutmix = cutmix
        self.classes = classes
        self.zeros = zeros
        self.augment = augmentation(len(patch_size), mirror, strength, scanner)

    def __call__(self, step: int, *, labelled_only: bool = False) -> Batch:
        """Return the batch of a step, or only its labelled patches."""
        drawn = [self._patch(self.labelled, f"labelled/{step}/{i}") for i in range(self.batch_size)]
        patches = [patch for patch, _ in drawn]
        if not labelled_only:
            patches += self._unlabelled_patches(step, patches)
        labels = torch.stack([labels for _, labels in drawn if labels is not None])
        together = torch.stack(patches)
        channels = len(self.labelled[0].image)
        images, answers = together[:, :channels], together[:, channels:-1].contiguous()
        inside = together[:, -1] > 0.5
        return Batch(images.contiguous(), labels, inside, answers if answers.numel() else None)

    def _unlabelled_patches(self, step: int, labelled: list[Tensor]) -> list[Tensor]:
        if not self.unlabelled:
            return []
        patches = [
            self._patch(self.unlabelled, f"unlabelled/{step}/{i}")[0]
            for i in range(self.batch_size)
        ]
        return [
            self._mixed(patch, [*labelled, *patches[:i], *patches[i + 1 :]], f"cutmix/{step}/{i}")
            for i, patch in enumerate(patches)
        ]

    def _mixed(self, patch: Tensor, others: Sequence[Tensor], stream: str) -> Tensor:
        random = self._random(stream)
        if random.random() >= self.cutmix:
            return patch
        return cut_and_mix(patch, others[int(random.integers(len(others)))], random)

    def _random(self, stream: str) -> np.random.Generator:
        # zlib.crc32, because hash() of a string differs between processes.
        return np.random.default_rng([self.seed, zlib.crc32(stream.encode())])

    def _patch(self, cases: Sequence[TrainingCase], stream: str) -> tuple[Tensor, Tensor | None]:
        """Return an augmented patch (C + K + 1, *patch) and its labels.

        After the image are the answers, and where the patch is not padding.
        """
        random = self._random(stream)
        case = cases[int(random.integers(len(cases)))]
        patch = cut_patch(case, self.patch_size, random, self.classes, zeros=self.zeros)
        labels = np.zeros_like(patch.inside) if patch.labels is None else patch.labels
        moved = np.stack([labels.astype(np.float32), patch.inside.astype(np.float32)])
        sample = {"image": torch.from_numpy(patch.image), "labels": torch.from_numpy(moved)}
        if patch.answers is not None:
            sample["answers"] = torch.from_numpy(patch.answers)
        self.augment.set_random_state(seed=int(random.integers(2**31)))
        sample = self.augment(sample)
        parts = [torch.as_tensor(sample[key]) for key in ("image", "answers") if key in sample]
        augmented = torch.cat([*parts, torch.as_tensor(sample["labels"])[1:]]).contiguous()
        if patch.labels is None:
            return augmented, None
        return augmented, torch.as_tensor(sample["labels"])[0].long().contiguous()


def measured_patches(cases: Sequence[TrainingCase]) -> int:
    """Return the number of patches of `spread_patches`: one per case, within bounds."""
    return min(max(len(cases), FEWEST_PATCHES), MEASURED_PATCHES) if cases else 0


def spread_patches(
    cases: Sequence[TrainingCase], patch_size: tuple[int, ...], batch_size: int, seed: int
) -> Iterator[Tensor]:
    """Cut unaugmented patches for measurements, spread evenly over the cases.

    Yields
    ------
    Tensor
        (B, C, *patch), float32; `measured_patches` images in total.
    """
    for images, _ in _spread(cases, patch_size, batch_size, seed, measured_patches(cases)):
        yield torch.from_numpy(np.stack(images))


def spread_samples(
    cases: Sequence[TrainingCase],
    patch_size: tuple[int, ...],
    batch_size: int,
    seed: int,
    count: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut `count` patches as `spread_patches` does, with their labels (B, *patch)."""
    for images, masks in _spread(cases, patch_size, batch_size, seed, count):
        labels = np.stack([mask for mask in masks if mask is not None]).astype(np.int64)
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(labels)


def _spread(
    cases: Sequence[TrainingCase],
    patch_size: tuple[int, ...],
    batch_size: int,
    seed: int,
    count: int,
) -> Iterator[tuple[list[NDArray[np.float32]], list[NDArray[np.uint8] | None]]]:
    random = np.random.default_rng(seed)
    for start in range(0, count, batch_size):
        chosen = [
            cases[i * len(cases) // count] for i in range(start, min(start + batch_size, count))
        ]
        pairs = [cut_patch(case, patch_size, random) for case in chosen]
        yield [one.image for one in pairs], [one.labels for one in pairs]


def cut_patch(
    case: TrainingCase,
    patch_size: tuple[int, ...],
    random: np.random.Generator,
    classes: int = 0,
    *,
    zeros: bool = False,
) -> Patch:
    """Cut a random patch, with probability 0.5 around a foreground voxel; pad small images.

    The answers of a teacher are cut at the same place, as probabilities of `classes` classes.
    """
    spatial = case.image.shape[1:]
    size = patch_size if len(patch_size) == len(spatial) else (1, *patch_size)
    if (
        case.foreground is not None
        and len(case.foreground)
        and random.random() < (FOREGROUND_PROBABILITY)
    ):
        centre = case.foreground[random.integers(len(case.foreground))]
        jitter = [random.integers(-(side // 4), side // 4 + 1) for side in size]
        start = [
            int(c) - side // 2 + int(j) for c, side, j in zip(centre, size, jitter, strict=True)
        ]
    else:
        start = [
            int(random.integers(min(0, n - s), max(0, n - s) + 1))
            for n, s in zip(spatial, size, strict=True)
        ]
    # Keep patches inside the image where they fit, to avoid unnecessary padding.
    start = [
        min(max(a, min(0, n - s)), max(0, n - s))
        for a, n, s in zip(start, spatial, size, strict=True)
    ]
    inner = tuple(
        slice(max(a, 0), min(a + s, n)) for a, s, n in zip(start, size, spatial, strict=True)
    )
    pad = [(max(-a, 0), max(a + s - n, 0)) for a, s, n in zip(start, size, spatial, strict=True)]
    mode: Literal["constant", "edge"] = "constant" if zeros else "edge"
    image = np.pad(case.image[(slice(None), *inner)], [(0, 0), *pad], mode=mode)
    inside = np.pad(np.ones([side.stop - side.start for side in inner], bool), pad)
    labels = None
    if case.labels is not None:
        labels = np.pad(case.labels[inner], pad, constant_values=IGNORE)
    answers = None
    if case.answers is not None:
        part = case.answers[tuple([slice(None)] * (case.answers.ndim - len(inner))) + inner]
        if part.ndim == len(inner):
            part = part == np.arange(classes).reshape(-1, *(1 for _ in inner))
        answers = np.pad(part.astype(np.float32), [(0, 0), *pad], mode="edge")
    if len(size) > len(patch_size):
        image, labels = image[:, 0], None if labels is None else labels[0]
        inside = inside[0]
        answers = None if answers is None else answers[:, 0]
    return Patch(
        np.ascontiguousarray(image),
        labels,
        None if answers is None else np.ascontiguousarray(answers),
        inside,
    )


def _memory_mapped(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    stored: NDArray[Any] = np.load(path, mmap_mode="r")
    return stored
