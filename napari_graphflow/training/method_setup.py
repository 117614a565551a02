"""What a method makes and trains before its student, with checkpoints meanwhile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Record, build_method
from napari_graphflow.models.saved import Model, build_network
from napari_graphflow.networks.taps import Output
from napari_graphflow.training.batches import (
    Batches,
    TrainingCase,
    measured_patches,
    spread_patches,
)
from napari_graphflow.training.checkpoints import Checkpoints
from napari_graphflow.training.parallel import agree, teach
from napari_graphflow.training.state import Run

#: Side of the image on which two networks are tried, where patches are larger.
TRIAL_SIDE = 64


def check_pair(config: DistillationConfig, teacher: Model) -> None:
    """Refuse networks that the method cannot compare, before any data is read.

    Raises
    ------
    UserError
        If one of them lacks a tap, or their taps do not fit together.
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


def build_modules(
    run: Run, network: nn.Module, batches: Batches, fabric: Fabric
) -> list[nn.Parameter]:
    """Build the method; gives the weights that are trained with the student."""
    if run.teacher is None or not isinstance(run.config, DistillationConfig):
        return []
    network.eval()
    shapes = _shapes(network, run.teacher.module, batches(0).images[:1])
    network.train()
    run.method = build_method(run.config, shapes).to(fabric.device)
    return list(run.method.adapters.parameters())


@torch.no_grad()
def _shapes(student: nn.Module, teacher: nn.Module, image: Tensor) -> PairShapes:
    outputs: list[Output] = [student(image), teacher(image)]
    return PairShapes(student=outputs[0].shapes(), teacher=outputs[1].shapes())


@dataclass(frozen=True)
class Answers:
    """What the frozen teacher says of patches of some cases, as they are."""

    cases: Sequence[TrainingCase]
    run: Run
    teacher: nn.Module
    fabric: Fabric

    def __len__(self) -> int:
        return ceil(measured_patches(self.cases) / self.run.config.batch_size)

    def __iter__(self) -> Iterator[Output]:
        config, size = self.run.config, self.run.data.patch_size
        for images in spread_patches(self.cases, size, config.batch_size, config.seed):
            yield teach(self.teacher, self.fabric.to_device(images), self.fabric)


def prepare(
    run: Run,
    teacher: nn.Module,
    fabric: Fabric,
    batches: Batches,
    checkpoints: Checkpoints,
    state: dict[str, Any],
) -> Iterator[Record]:
    """Train what the method trains before the student, from wherever the run is in it.

    Parameters
    ----------
    run, fabric, batches, checkpoints
        The run's.
    teacher
        The frozen network on its device.
    state
        What else goes into a checkpoint.

    Yields
    ------
    dict
        Records of the method, and a ``checkpoint`` where one is due and at the end.
    """
    config, data = run.config, run.data
    assert run.method is not None

    def output(step: int) -> Output:
        # As in training: random numbers depend on seed and step alone.
        torch.manual_seed(config.seed * 1_000_003 + step)
        return teach(teacher, fabric.to_device(batches(step).images), fabric)

    records = run.method.prepare(
        output,
        Answers([*data.labelled, *data.unlabelled], run, teacher, fabric),
        Answers(data.validation, run, teacher, fabric),
    )
    try:
        for record in records:
            yield record
            if fabric.is_global_zero and checkpoints.due():
                yield checkpoints.save(run.content(state), run.step)
    except GeneratorExit:
        if fabric.is_global_zero:
            checkpoints.save(run.content(state), run.step)
        raise
    agree(run.method, fabric)
    run.prepared = True
    if fabric.is_global_zero:
        yield checkpoints.save(run.content(state), run.step)
