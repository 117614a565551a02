"""What a training run needs to know of its data before the first step."""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_graphflow.config.model_card import ModelCard, Provenance, TeacherRecord
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Case, Dataset, Split, data_files
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.manifest import compare_manifest
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Event, Phase, Progress, Warned
from napari_graphflow.system.files import replace_file
from napari_graphflow.training.batches import TrainingCase, load_case
from napari_graphflow.training.planning import (
    choose_labelled,
    choose_patch_size,
    choose_preprocessing,
)


@dataclass(frozen=True)
class TrainingData:
    """Preprocessed cases and the numbers that follow from them."""

    dataset: Dataset
    preprocessing: Preprocessing
    patch_size: tuple[int, ...]
    labelled: list[TrainingCase]
    unlabelled: list[TrainingCase]
    validation: list[TrainingCase]

    @property
    def channels(self) -> int:
        return int(self.labelled[0].image.shape[0])

    @property
    def axes(self) -> int:
        """Spatial axes of the images, which a 2D network may see slice by slice."""
        return self.labelled[0].image.ndim - 1


def read_training_data(
    config: TrainingConfig,
    folder: Path,
    preprocessing: Preprocessing | None,
    *,
    patch_size: tuple[int, ...] = (),
    unlabelled: bool = False,
    cases: int | None = None,
) -> Generator[Event, None, TrainingData]:
    """Choose and preprocess the cases of a run; the generator returns a `TrainingData`.

    Parameters
    ----------
    config
        The run.
    folder
        The job's folder; see `temporary_cache`.
    preprocessing
        None chooses it from the data.
    patch_size
        Taken where the configuration names none; empty chooses it from the data.
    unlabelled
        Whether unlabelled cases are wanted.
    cases
        Read only so many of each kind, to measure what a run takes.

    Raises
    ------
    UserError
        If there is nothing to train on.
    """
    dataset = Dataset.open(config.dataset)
    labelled = dataset.labelled("train")
    if not labelled:
        raise UserError(
            f"The dataset {dataset.name} has no labelled training case.",
            "Annotate at least one case, or import masks with it.",
        )
    chosen = choose_labelled(labelled, config.labelled, config.seed)
    hidden = [case for case in labelled if case not in chosen]
    rest = dataset.unlabelled("train") + hidden if unlabelled else []
    groups = {"labelled": chosen, "unlabelled": rest, "validation": dataset.labelled("val")}
    groups = _noted_cases(folder, dataset, {kind: some[:cases] for kind, some in groups.items()})
    if cases is None and os.environ.get("RANK", "0") == "0":
        unlabelled_cases = groups["unlabelled"]
        labelled_cases = [*groups["labelled"], *groups["validation"]]
        files = data_files(labelled_cases, unlabelled_cases)
        teacher = config.teacher if isinstance(config, DistillationConfig) else None
        yield from compare_manifest(folder, dataset, files, teacher)

    yield Phase(name="reading the data")
    if preprocessing is None:
        preprocessing = config.preprocessing or choose_preprocessing(fingerprint(dataset))
    cache = _cache(folder)
    shutil.rmtree(cache, ignore_errors=True)
    read: dict[str, list[TrainingCase]] = {"labelled": [], "unlabelled": [], "validation": []}
    total, done = sum(map(len, groups.values())), 0
    for kind, some in groups.items():
        for case in some:
            read[kind].append(
                load_case(dataset, case, preprocessing, cache, labelled=kind != "unlabelled")
            )
            done += 1
            yield Progress(step=done, total=total)
    shapes = [case.image.shape[1:] for case in read["labelled"]]
    size = config.patch_size or patch_size or choose_patch_size(shapes, config.dims)
    if not read["validation"]:
        yield Warned(
            text="No validation case has a mask, so the last network is kept, not the best."
        )
    return TrainingData(dataset, preprocessing, size, **read)


@contextmanager
def temporary_cache(folder: Path) -> Iterator[None]:
    """Remove what `read_training_data` wrote for this process, however a run ends.

    A resumed run writes it anew, and it is likely the largest thing that a job writes.
    """
    try:
        yield
    finally:
        # Windows removes no file that is still mapped; a resumed run does then.
        shutil.rmtree(_cache(folder), ignore_errors=True)
        with suppress(OSError):  # other processes of torchrun still have theirs in it
            JobPaths(folder).cache.rmdir()


def mirror_axes(config: TrainingConfig, data: TrainingData) -> list[int]:
    """Spatial axes of a patch along which it may be mirrored."""
    names = ("z", "y", "x")[-config.dims :]
    wanted: Sequence[str] = ("y", "x") if data.axes == 2 else ()
    if config.mirror is not None:
        wanted = config.mirror
    return [names.index(name) for name in wanted if name in names]


def check_channels(card: ModelCard, data: TrainingData) -> None:
    """Refuse a teacher of other channels."""
    if card.in_channels != data.channels:
        raise UserError(
            f"The teacher {card.name} was made for images of {card.in_channels} channels, but "
            f"those of {data.dataset.name} have {data.channels}.",
            "Choose a teacher that was trained on such images.",
        )


def warn_of_other_labels(
    card: ModelCard, config: TrainingConfig, dataset: Dataset
) -> Iterator[Event]:
    """Tell where a teacher of this dataset learnt from masks that do not count as labelled here.

    The semi-supervised paradigm has a teacher that knows the labelled subset alone.
    """
    run = card.provenance.run if card.provenance else None
    if run is None or run.dataset != config.dataset:
        return
    masks = dataset.labelled("train")
    every = run.labelled is None or run.labelled > len(masks)
    known = masks if every else choose_labelled(masks, run.labelled, run.seed)
    here = {case.name for case in choose_labelled(masks, config.labelled, config.seed)}
    others = sum(case.name not in here for case in known)
    if others:
        yield Warned(
            text=f"Its teacher learnt from the masks of {len(known)} cases of this dataset, "
            f"{others} of which count as unlabelled in this run. For a comparison by number of "
            "labels train a teacher on the same, with the same number of labelled cases and seed."
        )


def make_card(
    config: TrainingConfig,
    data: TrainingData,
    role: Literal["teacher", "student"],
    teacher: TeacherRecord | None = None,
) -> ModelCard:
    """Describe the model that a run will leave, and its teacher if it has one."""
    dataset = data.dataset
    return ModelCard(
        name=config.name or f"{dataset.name} {config.network} {role}",
        role=role,
        network=config.network,
        dims=config.dims,
        width=config.width,
        in_channels=data.channels,
        classes=dataset.classes,
        patch_size=data.patch_size,
        preprocessing=data.preprocessing,
        provenance=Provenance(
            dataset=dataset.name,
            labelled_cases=len(data.labelled),
            unlabelled_cases=len(data.unlabelled),
            run=config,
            teacher=teacher,
        ),
    )


def _cache(folder: Path) -> Path:
    # Each process of torchrun reads for itself.
    return JobPaths(folder).cache / os.environ.get("RANK", "")


def _noted_cases(
    folder: Path, dataset: Dataset, groups: dict[str, list[Case]]
) -> dict[str, list[Case]]:
    """Note the cases of a new run; a resumed one takes those that it began with.

    They are kept beside the run, not in the model, which may be handed on.
    """
    path = JobPaths(folder).cases_file
    if not path.is_file():
        names = {kind: [case.name for case in group] for kind, group in groups.items()}
        folder.mkdir(parents=True, exist_ok=True)
        if os.environ.get("RANK", "0") == "0":
            replace_file(path, json.dumps(names, indent=1).encode())
        return groups
    found: dict[str, list[Case]] = {}
    for kind, names in json.loads(path.read_text("utf-8")).items():
        split: Split = "val" if kind == "validation" else "train"
        there = {case.name: case for case in dataset.labelled(split)}
        if kind == "unlabelled":
            there |= {case.name: case for case in dataset.unlabelled(split)}
        for name in names:
            if name not in there:
                raise UserError(
                    f"The case {name} of the dataset {dataset.name} is gone since the job began.",
                    "Put its image and mask back and resume, or start a new job.",
                )
        found[kind] = [there[name] for name in names]
    return found
