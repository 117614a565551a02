"""Build a distillation method and train its own modules before the student."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, build_method
from napari_graphflow.models.saved import Model, build_network
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event
from napari_graphflow.training.batches import (
    Batches,
    TrainingCase,
    measured_patches,
    spread_patches,
)
from napari_graphflow.training.parallel import broadcast_module, teacher_forward
from napari_graphflow.training.state import Plan, Run

#: Largest side of the image with which the shapes of two networks are compared.
TRIAL_SIDE = 64


def check_pair(config: DistillationConfig, teacher: Model) -> None:
    """Check that the method can compare the two networks, before any data is read.

    Raises
    ------
    UserError
        If a network lacks a tap, or the taps are incompatible.
    """
    fresh: dict[str, Any] = {
        "network": config.network,
        "width": config.width,
        "arguments": {},
        "taps": {},
    }
    student = build_network(teacher.card.model_copy(update=fresh)).eval()
    sides = (min(side, TRIAL_SIDE) for side in config.patch_size or teacher.card.patch_size)
    image = torch.zeros(1, teacher.card.in_channels, *sides)
    build_method(config, _shapes(student, teacher.module, image))


def set_up_method(plan: Plan, network: nn.Module, batches: Batches) -> Method | None:
    """Build the method of a distillation; None for a supervised training."""
    if plan.teacher is None or not isinstance(plan.config, DistillationConfig):
        return None
    network.eval()
    shapes = _shapes(network, plan.teacher.module, batches(0).images[:1])
    network.train()
    return build_method(plan.config, shapes)


@torch.no_grad()
def _shapes(student: nn.Module, teacher: nn.Module, image: Tensor) -> PairShapes:
    # When a run starts again with a smaller setting, its teacher is on the GPU already.
    outputs: list[Output] = [
        network(image.to(next(network.parameters()).device)) for network in (student, teacher)
    ]
    return PairShapes(student=outputs[0].shapes(), teacher=outputs[1].shapes())


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
        return _teacher_output(run, run.batches(step).images)

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
