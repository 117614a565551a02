"""Build a distillation method and train its own modules before the student."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import (
    ModelCard,
    OutputShapes,
    PairShapes,
    read_model_card,
    weights_hash,
)
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.findings import listed
from napari_graphflow.distillation.method import Material, Method, build_method
from napari_graphflow.errors import UserError
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.saved import METHOD, Model, build_network, load_model
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event
from napari_graphflow.training.batches import (
    Batches,
    TrainingCase,
    measured_patches,
    spread_patches,
    spread_samples,
)
from napari_graphflow.training.parallel import broadcast_module, teacher_forward
from napari_graphflow.training.state import Plan, Run
from napari_graphflow.training.step import supervised_loss
from napari_graphflow.training.teacher import padded_for

#: Largest side of the image with which the shapes of two networks are compared.
TRIAL_SIDE = 64
#: The parts of a preprocessing that masks undergo, too.
GRID = ("spacing", "orientation", "grid", "axes", "size", "nnunet")
#: Patches with which the stages of a method are measured, at least.
FEWEST_MEASURED = 8


def check_pair(config: DistillationConfig, teacher: Model | GivenTeacher) -> None:
    """Check that the method can compare the two networks, before any data is read.

    Raises
    ------
    UserError
        If a network lacks a tap, the taps are incompatible, or a given model does not fit.
    """
    fresh: dict[str, Any] = {
        "network": config.network,
        "width": config.width,
        "arguments": {},
        "taps": {},
        "mapping": {},
        "regions": (),
    }
    patch = config.patch_size or teacher.card.patch_size
    if isinstance(teacher, GivenTeacher):
        patch = config.patch_size or (TRIAL_SIDE,) * config.dims
        fresh |= {"dims": config.dims, "patch_size": patch}
    student = build_network(teacher.card.model_copy(update=fresh)).eval()
    sides = (min(side, TRIAL_SIDE) for side in patch)
    image = torch.zeros(1, teacher.card.in_channels, *sides)
    build_method(config, _shapes(student, teacher.module, image))
    given_weights(config, student, teacher, patch)


def set_up_method(plan: Plan, network: nn.Module, batches: Batches) -> Method | None:
    """Build the method of a distillation; None for a supervised training."""
    if plan.teacher is None or not isinstance(plan.config, DistillationConfig):
        return None
    network.eval()
    shapes = _shapes(network, plan.teacher.module, batches(0).images[:1])
    network.train()
    return build_method(plan.config, shapes)


@torch.no_grad()
def _shapes(student: nn.Module, teacher: nn.Module | None, image: Tensor) -> PairShapes:
    if teacher is None:
        own: Output = student(image.to(next(student.parameters()).device))
        answers = OutputShapes(logits=tuple(own.logits[:1].shape), taps={})
        return PairShapes(student=own.shapes(), teacher=answers, channels=image.shape[1])
    # When a run starts again with a smaller setting, its teacher is on the GPU already.
    outputs: list[Output] = [
        network(image.to(next(network.parameters()).device)) for network in (student, teacher)
    ]
    student_shapes, teacher_shapes = (output.shapes() for output in outputs)
    return PairShapes(student=student_shapes, teacher=teacher_shapes, channels=image.shape[1])


def provide_material(run: Run) -> None:
    """Give the networks and labelled patches to a method that runs the networks itself.

    Raises
    ------
    UserError
        If the run has several processes.
    """
    method, config, data = run.method, run.config, run.plan.data
    if method is None or not method.recorded or run.teacher is None:
        return
    assert isinstance(run.plan.teacher, Model)
    assert isinstance(config, DistillationConfig)
    if run.fabric.world_size > 1:
        raise UserError(
            f"{METHODS[config.method.name].title} runs in one process, not in "
            f"{run.fabric.world_size}.",
            "Start it with one worker, or choose another method.",
        )

    def patches(step: int) -> tuple[Tensor, Tensor]:
        batch = run.batches(step, labelled_only=True)
        return run.fabric.to_device(batch.images), run.fabric.to_device(batch.labels)

    # The patch may have become smaller for lack of memory.
    student, stages = given_weights(config, run.network, run.plan.teacher, run.plan.data.patch_size)
    method.use(
        Material(
            run.network,
            run.plan.teacher.module,
            supervised_loss,
            patches,
            LabelledPatches(run, data.labelled),
            LabelledPatches(run, data.validation),
            student,
            stages,
        )
    )


def given_weights(
    config: DistillationConfig,
    student: nn.Module,
    teacher: Model | GivenTeacher,
    patch: tuple[int, ...],
) -> tuple[dict[str, Tensor] | None, dict[str, Tensor]]:
    """Return the weights of a given student, or None, and those of given stages, maybe none.

    Raises
    ------
    UserError
        If a given model does not fit the run.
    """
    options = config.method
    if not isinstance(options, GeneralisableOptions):
        return None, {}
    weights = None
    if options.student is not None:
        weights = load_model(options.student).module.state_dict()
        wanted = {name: value.shape for name, value in student.state_dict().items()}
        if {name: value.shape for name, value in weights.items()} != wanted:
            raise UserError(
                f"The student {options.student} is another network than {config.network}, or has "
                "another width, number of channels or number of classes.",
                "Choose a model of the same network, or leave student empty to train one.",
            )
        _check_alike("student", options.student, teacher.card, Preprocessing.model_fields)
    if options.stages is None:
        return weights, {}
    return weights, _given_stages(options, teacher, patch)


def _check_alike(
    setting: str, folder: Path, card: ModelCard, fields: Collection[str], *, patches: bool = False
) -> None:
    """Refuse a given model that learnt other classes, or images that were prepared otherwise.

    Its weights would load all the same, and mean something else.
    """
    given = read_model_card(folder)
    differ = given.preprocessing.differences(card.preprocessing)
    differ = [name for name in differ if name in fields]
    if given.classes != card.classes:
        differ.append("classes")
    if patches and given.patch_size != card.patch_size:
        differ.append("patch_size")
    if differ:
        raise UserError(
            f"The {setting} {folder} and this run differ in {listed(differ)}.",
            f"Choose another, or leave {setting} empty, so that the run trains its own.",
        )


def _given_stages(
    options: GeneralisableOptions, teacher: Model | GivenTeacher, patch: tuple[int, ...]
) -> dict[str, Tensor]:
    assert options.stages is not None
    made = read_model_card(options.stages).provenance
    run, path = made and made.run, options.stages / METHOD
    before = run.method if isinstance(run, DistillationConfig) else None
    if made is None or not isinstance(before, GeneralisableOptions) or not path.is_file():
        raise UserError(
            f"{options.stages} was not distilled with this method, so that it has no stages.",
            "Choose a student of this method, or leave stages empty to train them.",
        )
    # Masks are oriented and resampled as their images are, and a code is one of a whole patch.
    card = teacher.card.model_copy(update={"patch_size": patch})
    of_images = options.autoencoder_input == "image"
    fields: Collection[str] = Preprocessing.model_fields if of_images else GRID
    _check_alike("stages", options.stages, card, fields, patches=True)
    if before.autoencoder_input != options.autoencoder_input:
        raise UserError(
            f"The auto-encoder of {options.stages} encodes the {before.autoencoder_input}, and "
            f"this run's encodes the {options.autoencoder_input}.",
            "Choose the same autoencoder_input, or leave stages empty to train them.",
        )
    same = made.teacher is not None and made.teacher.sha256 == weights_hash(teacher.folder)
    # An alignment network reads one tap, and learns from one kind of views.
    same = same and all(
        getattr(before, name) == getattr(options, name) for name in ("teacher_tap", "view_kinds")
    )
    kept = ("autoencoder.", "teacher_alignment.") if same else ("autoencoder.",)
    return {name: x for name, x in load_file(path).items() if name.startswith(kept)}


@dataclass(frozen=True)
class LabelledPatches:
    """Unaugmented patches of some cases with their labels; few of them for a short run."""

    run: Run
    cases: Sequence[TrainingCase]

    @property
    def _count(self) -> int:
        return min(measured_patches(self.cases), max(FEWEST_MEASURED, self.run.config.steps))

    def __len__(self) -> int:
        return ceil(self._count / self.run.config.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        config, size = self.run.config, self.run.plan.data.patch_size
        for sample in spread_samples(self.cases, size, config.batch_size, config.seed, self._count):
            images, labels = map(self.run.fabric.to_device, sample)
            yield images, labels


@dataclass(frozen=True)
class TeacherOutputs:
    """Teacher outputs on unaugmented patches of some cases."""

    run: Run
    cases: Sequence[TrainingCase]

    def __len__(self) -> int:
        return ceil(measured_patches(self.cases) / self.run.config.batch_size)

    def __iter__(self) -> Iterator[Output]:
        config, size = self.run.config, self.run.plan.data.patch_size
        for images in spread_patches(self.cases, size, config.batch_size, config.seed):
            yield _teacher_output(self.run, images)


def prepare(run: Run) -> Iterator[Event]:
    """Train the method's own modules before the student; continue if resumed.

    Yields
    ------
    event
        Events of the method, and `CheckpointSaved` when due and at the end.
    """
    data, first = run.plan.data, run.fabric.is_global_zero
    assert run.method is not None

    def output(step: int) -> Output:
        # As in training, random numbers depend only on seed and step.
        torch.manual_seed(run.config.seed * 1_000_003 + step)
        batch = run.batches(step)
        return _teacher_output(run, padded_for(run.plan.teacher, batch.images, batch.inside))

    events = run.method.prepare(
        output,
        TeacherOutputs(run, [*data.labelled, *data.unlabelled]),
        TeacherOutputs(run, data.validation),
    )
    try:
        for event in events:
            yield event
            if first and run.checkpoints.due():
                yield run.save_checkpoint()
    except GeneratorExit:
        if first:
            run.save_checkpoint()
        raise
    broadcast_module(run.method, run.fabric)
    run.prepared = True
    if first:
        yield run.save_checkpoint()


def _teacher_output(run: Run, images: Tensor) -> Output:
    assert run.teacher is not None
    return teacher_forward(run.teacher, run.fabric.to_device(images), run.fabric)
