"""The copied command lines, parsed by the command line interface."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from napari_graphflow.cli import app
from napari_graphflow.cli.train import distillation
from napari_graphflow.config.methods import (
    AdversarialOptions,
    AttentionOptions,
    ChannelWiseOptions,
    DistOptions,
    EMKDOptions,
    GraphFlowOptions,
    LogitsOptions,
    SoftLabels,
)
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.plugin.widgets.command_line import job_command, segment_command

pytestmark = pytest.mark.both_bindings

CONFIGS = {
    "plain training": TrainingConfig(dataset=Path("/data/with blank")),
    "training": TrainingConfig(
        dataset=Path("/data"),
        network="unet",
        dims=2,
        labelled=12,
        patch_size=(64, 64),
        mirror=("y",),
        learning_rate=3e-4,
        name="U-Net on data",
    ),
    "distillation": DistillationConfig(
        dataset=Path("/data"),
        teacher=Path("/models/teacher"),
        network="mobile_unet",
        augmentation="strong",
        ema_decay=0.999,
        cutmix=0.5,
        answers="hard",
        confidence=0.9,
        labels_only=0.1,
        method=GraphFlowOptions(
            logits=SoftLabels(temperature=2.5, certainty=True, loss="dist"),
            patch=(3, 5, 5),
            reduction="paper_sum",
            normalise="teacher",
            vertex_weight=1e-5,
            edge_weight=1e-9,
        ),
    ),
}
CONFIGS["distillation of labelled cases"] = DistillationConfig(
    dataset=Path("/data"), teacher=Path("/models/teacher"), unlabelled=False
)
CONFIGS |= {
    f"{options.name} with options": DistillationConfig(
        dataset=Path("/data"), teacher=Path("/models/teacher"), method=options
    )
    for options in (
        EMKDOptions(preset="official", power=2),
        LogitsOptions(weight=3, certainty=True),
        DistOptions(gamma=2),
        ChannelWiseOptions(tap="decoder", tap_weight=50),
        AttentionOptions(weight=2),
        GraphFlowOptions(adversarial=AdversarialOptions(weight=0.1, loss="hinge")),
    )
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_copied_command_parses_to_the_same_configuration(name: str) -> None:
    program, *words = shlex.split(job_command(CONFIGS[name]))
    assert program == "napari-graphflow"
    config = _parsed(words)["config"]
    found = distillation(config) if words[0] == "distill" else config
    assert found == CONFIGS[name]


def test_the_copied_command_includes_the_cluster() -> None:
    _, *words = shlex.split(job_command(CONFIGS["training"], "ray-packed", 2))
    bound = _parsed(words)
    assert (bound["runner"], bound["workers"]) == ("ray-packed", 2)
    assert bound["config"] == CONFIGS["training"]


def test_the_copied_segment_command_parses_to_the_same_options() -> None:
    command = segment_command("/scans/a b.nii.gz", Path("/models/x"), "cpu", True)
    bound = _parsed(shlex.split(command)[1:])
    assert list(bound["inputs"]) == [Path("/scans/a b.nii.gz")]
    assert (bound["model"], bound["device"], bound["probabilities"]) == (
        Path("/models/x"),
        "cpu",
        True,
    )


def _parsed(words: list[str]) -> dict[str, Any]:
    _, bound, _ = app.parse_args(words)
    return dict(bound.arguments)
