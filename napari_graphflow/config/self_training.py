"""The second network of a self-training: a fresh copy of the first, which teaches it."""

from pathlib import Path

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.networks import usual_role
from napari_graphflow.config.run import DistillationConfig, TrainingConfig


def second_network(config: TrainingConfig, first: Path) -> DistillationConfig:
    """Return the run of the second network; `first` is the folder of the first one's model."""
    same = {name: getattr(config, name) for name in TrainingConfig.model_fields}
    changes = {
        "self_training": "none",
        "init": None,
        "role": config.role or usual_role(config.network),
        "teacher": first,
        "method": LogitsOptions(),
        "answers": config.self_training,
    }
    return DistillationConfig(**same | changes)
