"""State of a run: its data, progress and results."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.distillation.method import Method
from napari_graphflow.jobs.memory import Setting
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.saved import METHOD, Model, load_weights, save_model
from napari_graphflow.models.size import count_parameters
from napari_graphflow.system.events import CheckpointSaved, ModelSaved
from napari_graphflow.training.ahead import BatchesAhead
from napari_graphflow.training.checkpoints import Checkpoints
from napari_graphflow.training.data import TrainingData

#: Attributes of `Run` in a checkpoint, besides the states of its parts.
PROGRESS = ("step", "best", "stale", "prepared", "pending_metrics")


@dataclass(frozen=True)
class Plan:
    """Settings and data of a run."""

    config: TrainingConfig
    folder: Path
    data: TrainingData
    card: ModelCard
    teacher: Model | GivenTeacher | None = None

    def with_setting(self, setting: Setting) -> "Plan":
        """Return this plan with another batch and patch size."""
        return replace(
            self,
            config=self.config.model_copy(update={"batch_size": setting.batch_size}),
            data=replace(self.data, patch_size=setting.patch_size),
            card=self.card.model_copy(update={"patch_size": setting.patch_size}),
        )


@dataclass
class Run:
    """A run in progress: everything a step needs, and the progress made.

    Attributes
    ----------
    network, student
        The network to train, and the same network wrapped by Fabric.
    teacher
        The frozen network on its device; None if there is none, or answers in its place.
    average
        The moving average of the network's weights, if any.
    class_weights
        (K,), weights of the classes in the cross-entropy; None weights all equally.
    stale
        Number of validations since the best one.
    prepared
        Whether the method has trained its own modules.
    pending_metrics
        Metrics of the last step; None once they are reported and the network is validated.
    """

    plan: Plan
    fabric: Fabric
    batches: BatchesAhead
    network: nn.Module
    student: nn.Module
    optimiser: Optimizer
    schedule: LRScheduler
    checkpoints: Checkpoints
    teacher: nn.Module | None = None
    method: Method | None = None
    average: AveragedModel | None = None
    class_weights: Tensor | None = None
    step: int = 0
    best: float = -1.0
    stale: int = 0
    prepared: bool = False
    pending_metrics: dict[str, float] | None = None

    @property
    def config(self) -> TrainingConfig:
        return self.plan.config

    @property
    def result(self) -> nn.Module:
        """The network that is validated and saved."""
        return self.network if self.average is None else self.average.module

    def save_checkpoint(self) -> CheckpointSaved:
        """Write everything needed to resume; random numbers and batches follow from the step."""
        content = {name: part.state_dict() for name, part in self._parts().items()}
        content |= {name: getattr(self, name) for name in PROGRESS}
        if self.method is not None:
            content["method"] = self.method.checkpoint()
        return self.checkpoints.save(content, self.step)

    def restore(self, content: dict[str, Any]) -> None:
        """Restore the state that `save_checkpoint` wrote."""
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        if self.method is not None:
            self.method.restore(content["method"])
        for name in PROGRESS:
            setattr(self, name, content[name])

    def _parts(self) -> dict[str, Any]:
        average = {} if self.average is None else {"average": self.average}
        return average | {
            "student": self.student,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "precision": self.fabric.strategy.precision,
        }

    def save_result(self) -> ModelSaved:
        """Save the model with the best weights, or the last ones without validation cases."""
        paths = JobPaths(self.plan.folder)
        if paths.best_weights.is_file():
            load_weights(self.result, paths.best_weights)
        card = self.plan.card
        assert card.provenance is not None
        score = self.best if self.best >= 0 else None
        extras: dict[str, nn.Module] = {}
        if self.method is not None and self.method.state_dict():
            extras[METHOD] = self.method
        card = card.model_copy(
            update={
                "parameters": count_parameters(self.result),
                "provenance": card.provenance.model_copy(
                    update={
                        "best_validation_dice": score,
                        "shapes": self.method and self.method.shapes,
                        "measured": self.method.measured if self.method else {},
                    }
                ),
            }
        )
        save_model(paths.model, card, self.result, extras)
        return ModelSaved(path=paths.relative(paths.model), name=card.name)
