"""Short runs for the tests of training and distillation, and their results."""

from pathlib import Path

import torch

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event, Metric

PATCH = (16, 16, 16)


def training(dataset: Path, **changes: object) -> TrainingConfig:
    settings = {
        "dataset": dataset, "network": "unet", "width": 4, "steps": 6, "patch_size": PATCH,
        "validate_every": 3, "threads": 1, "device": "cpu", "batch_size": 1,
    }  # fmt: skip
    return TrainingConfig(**(settings | changes))


def distillation(dataset: Path, teacher: Path, **changes: object) -> DistillationConfig:
    options = GraphFlowOptions(paraphraser_steps=4, vertex_weight=0.1, edge_weight=0.1)
    settings = {
        "network": "enet",
        "width": 8,
        "teacher": teacher,
        "method": options,
        "teacher_min_dice": 0,
    }
    base = training(dataset).model_dump(exclude={"name", "role"})
    return DistillationConfig(**(base | settings | changes))


def shapes(student: Output, teacher: Output) -> PairShapes:
    return PairShapes(student=student.shapes(), teacher=teacher.shapes())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(JobPaths(folder).model).module.state_dict()


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def metrics(events: list[Event]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for event in events:
        if isinstance(event, Metric):
            found.setdefault(event.name, []).append(event.value)
    return found
