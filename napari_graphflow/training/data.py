"""Select and preprocess the cases of a run."""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.config.model_card import ModelCard, Provenance, Purpose, TeacherRecord
from napari_graphflow.config.networks import usual_role, windows_of
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.answers import ReadsAnswers
from napari_graphflow.dataset.cases import Case, Dataset, data_files
from napari_graphflow.dataset.fingerprint import fingerprint, purpose_of
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.manifest import compare_manifest
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Event, Phase, Progress, Warned
from napari_graphflow.system.files import read_record, replace_file
from napari_graphflow.training.batches import TrainingCase, load_case
from napari_graphflow.training.planning import (
    choose_labelled,
    choose_patch_size,
    choose_preprocessing,
)

#: Images read to describe what a model is for.
FEW = 3


@dataclass(frozen=True)
class TrainingData:
    """Preprocessed cases with the settings chosen for them."""

    dataset: Dataset
    preprocessing: Preprocessing
    patch_size: tuple[int, ...]
    labelled: list[TrainingCase]
    unlabelled: list[TrainingCase]
    validation: list[TrainingCase]
    purpose: Purpose

    @property
    def channels(self) -> int:
        return int(self.labelled[0].image.shape[0])

    @property
    def axes(self) -> int:
        """Number of spatial axes of the images; 3 also for volumes that are read slice by slice."""
        return self.labelled[0].image.ndim - 1


def read_training_data(
    config: TrainingConfig,
    folder: Path,
    preprocessing: Preprocessing | None,
    *,
    patch_size: tuple[int, ...] = (),
    unlabelled: bool = False,
    cases: int | None = None,
    given: ReadsAnswers | None = None,
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
        Default if the configuration sets none; empty chooses it from the data.
    unlabelled
        Whether to read unlabelled cases.
    cases
        Maximum number of cases of each kind, for the trial of an estimate.
    given
        Answers of a teacher without a network, which are needed for the training cases.

    Raises
    ------
    UserError
        If there are no labelled training cases.
    """
    dataset = Dataset.of_run(config)
    labelled = dataset.labelled("train")
    if not labelled:
        raise UserError(
            f"The dataset {dataset.name} has no labelled training case.",
            "Annotate at least one case, or import the dataset with masks.",
        )
    chosen = choose_labelled(labelled, config.labelled, config.seed)
    hidden = [case for case in labelled if case not in chosen]
    rest = dataset.unlabelled("train") + hidden if unlabelled else []
    groups = {"labelled": chosen, "unlabelled": rest, "validation": dataset.labelled("val")}
    groups = _recorded_cases(folder, dataset, {kind: some[:cases] for kind, some in groups.items()})
    if cases is None and os.environ.get("RANK", "0") == "0":
        unlabelled_cases = groups["unlabelled"]
        labelled_cases = [*groups["labelled"], *groups["validation"]]
        files = data_files(labelled_cases, unlabelled_cases)
        teacher = config.teacher if isinstance(config, DistillationConfig) else None
        yield from compare_manifest(folder, dataset, files, teacher)

    for finding in dataset.findings:
        yield Warned(text=finding.text)
    yield Phase(kind="reading", name="reading the data")
    # What the model is for needs fewer images than the choice of its preprocessing.
    facts = fingerprint(dataset, *([] if preprocessing is None else [FEW]))
    if preprocessing is None:
        preprocessing = config.preprocessing or choose_preprocessing(facts)
    cache = _cache(folder)
    shutil.rmtree(cache, ignore_errors=True)
    read: dict[str, list[TrainingCase]] = {"labelled": [], "unlabelled": [], "validation": []}
    total, done = sum(map(len, groups.values())), 0
    for kind, some in groups.items():
        for case in some:
            labels = kind != "unlabelled"
            answers = None if kind == "validation" else given
            read[kind].append(
                load_case(dataset, case, preprocessing, cache, labelled=labels, given=answers)
            )
            done += 1
            yield Progress(step=done, total=total)
    yield from _warn_about_voxels([case for some in read.values() for case in some])
    shapes = [case.image.shape[1:] for case in read["labelled"]]
    size = config.patch_size or patch_size or choose_patch_size(shapes, config.dims)
    if not read["validation"]:
        yield Warned(
            text="No validation case has a mask, so the last weights are saved instead of the best."
        )
    purpose = purpose_of(dataset, facts)
    return TrainingData(dataset, preprocessing, size, **read, purpose=purpose)


def _warn_about_voxels(cases: Sequence[TrainingCase]) -> Iterator[Event]:
    odd = [case for case in cases if case.warnings]
    if odd:
        yield Warned(
            text=f"{len(odd)} of {len(cases)} images have voxels without intensities, such as "
            f"{odd[0].name}: {odd[0].warnings[0]}"
        )


@contextmanager
def temporary_cache(folder: Path) -> Iterator[None]:
    """Remove the files of `read_training_data` of this process when the run ends.

    They are likely the largest files of a job, and a resumed run writes them again.
    """
    try:
        yield
    finally:
        # Windows does not remove memory-mapped files; a resumed run then does.
        shutil.rmtree(_cache(folder), ignore_errors=True)
        with suppress(OSError):  # other torchrun processes still use it
            JobPaths(folder).cache.rmdir()


def mirror_axes(config: TrainingConfig, data: TrainingData) -> list[int]:
    """Return the spatial axes of a patch for random mirroring."""
    axes = data.preprocessing.axes
    # Slices are cut along the first axis of a volume; 2D images have no z.
    within = axes[-config.dims :] if data.axes == 3 else [axis for axis in axes if axis != "z"]
    names: list[str] = list(within)
    wanted: Sequence[str] = ("y", "x") if data.axes == 2 else ()
    if config.mirror is not None:
        wanted = config.mirror
    return [names.index(name) for name in wanted if name in names]


def check_channels(card: ModelCard, data: TrainingData) -> None:
    """Check that a teacher has as many input channels as the data."""
    if card.in_channels != data.channels:
        raise UserError(
            f"The teacher {card.name} requires images with {card.in_channels} channels, but the "
            f"images of {data.dataset.name} have {data.channels}.",
            "Choose a teacher that was trained on similar images.",
        )


def warn_about_teacher_labels(
    card: ModelCard, config: TrainingConfig, dataset: Dataset
) -> Iterator[Event]:
    """Warn if the teacher was trained with masks of this dataset that count as unlabelled here.

    In a semi-supervised comparison the teacher may use the labelled subset only.
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
            text=f"The teacher was trained with the masks of {len(known)} cases of this dataset, "
            f"{others} of which count as unlabelled in this run. To compare numbers of labelled "
            "cases, train the teacher with the same number of labelled cases and the same seed."
        )


def warn_without_unlabelled(config: DistillationConfig, data: TrainingData) -> Iterator[Event]:
    """Warn if a setting of unlabelled patches has no effect."""
    if config.for_unlabelled and not data.unlabelled:
        names = " and ".join(config.for_unlabelled)
        yield Warned(
            text=f"This run has no unlabelled cases, so that {names} has no effect. Add images "
            "without masks, or use fewer of the masks (labelled)."
        )


def make_card(
    config: TrainingConfig,
    data: TrainingData,
    teacher: TeacherRecord | None = None,
) -> ModelCard:
    """Create the card of the model that a run produces, with its teacher if it has one."""
    dataset, role = data.dataset, config.role or usual_role(config.network)
    return ModelCard(
        name=config.name or f"{dataset.name} {config.network} {role}",
        role=role,
        network=config.network,
        dims=config.dims,
        width=config.width,
        in_channels=data.channels,
        classes=dataset.classes,
        patch_size=data.patch_size,
        windows=windows_of(config.network),
        trained_mirrored=tuple(sorted(mirror_axes(config, data))),
        preprocessing=data.preprocessing,
        provenance=Provenance(
            dataset=dataset.name,
            labelled_cases=len(data.labelled),
            unlabelled_cases=len(data.unlabelled),
            run=config,
            teacher=teacher,
        ),
        purpose=data.purpose,
    )


def _cache(folder: Path) -> Path:
    # Each torchrun process reads its own copy.
    return JobPaths(folder).cache / os.environ.get("RANK", "")


def _recorded_cases(
    folder: Path, dataset: Dataset, groups: dict[str, list[Case]]
) -> dict[str, list[Case]]:
    """Record the cases of a new run; a resumed run uses the recorded ones.

    They are stored in the job's folder but not in the model, which may be shared.
    """
    path = JobPaths(folder).cases_file
    if not path.is_file():
        names = {kind: [case.name for case in group] for kind, group in groups.items()}
        folder.mkdir(parents=True, exist_ok=True)
        if os.environ.get("RANK", "0") == "0":
            replace_file(path, json.dumps(names, indent=1).encode())
        return groups
    found: dict[str, list[Case]] = {}
    for kind, names in read_record(path, list).items():
        # Cases that were added meanwhile may have moved others to another drawn split.
        some = [case for case in dataset.cases if case.split != "test"]
        available = {case.name: case for case in some if case.label or kind == "unlabelled"}
        for name in names:
            if name not in available:
                raise UserError(
                    f"The case {name} was removed from the dataset {dataset.name} after the job "
                    "started.",
                    "Restore its image and mask and resume, or start a new job.",
                )
        found[kind] = [available[name] for name in names]
    return found
