"""What a run works on, how far it is, and what it leaves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.distillation.method import Method, Record
from napari_graphflow.models.saved import METHOD, Model, load_weights, save_model
from napari_graphflow.training.data import TrainingData

BEST = "checkpoints/best.safetensors"


MODEL = "artifacts/model"


@dataclass
class Run:
    """What a run works on, and how far it is."""

    config: TrainingConfig
    folder: Path
    data: TrainingData
    card: ModelCard
    teacher: Model | None = None
    method: Method | None = None
    step: int = 0
    best: float = -1.0
    #: Whether the method has trained what comes before the student.
    prepared: bool = False
    #: What to tell of the last step; None once it was told and the network validated.
    untold: dict[str, float] | None = None

    def content(self, state: dict[str, Any]) -> dict[str, Any]:
        """All that a run needs to go on; the random numbers and batches follow from the step."""
        content = {name: part.state_dict() for name, part in state.items()}
        content |= {"step": self.step, "best": self.best, "untold": self.untold}
        content["prepared"] = self.prepared
        if self.method is not None:
            content["method"] = self.method.checkpoint()
        return content

    def restore(self, state: dict[str, Any], content: dict[str, Any]) -> None:
        """Go on from what `content` gave."""
        for name, part in state.items():
            part.load_state_dict(content[name])
        if self.method is not None:
            self.method.restore(content["method"])
        self.step, self.best = content["step"], content["best"]
        self.untold, self.prepared = content["untold"], content["prepared"]

    def save_result(self, network: nn.Module) -> Record:
        """Save the best network, or the last one where there was nothing to validate on."""
        best = self.folder / BEST
        if best.is_file():
            load_weights(network, best)
        assert self.card.provenance is not None
        score = self.best if self.best >= 0 else None
        extras: dict[str, nn.Module] = {}
        if self.method is not None and self.method.state_dict():
            extras[METHOD] = self.method
        card = self.card.model_copy(
            update={
                "parameters": sum(p.numel() for p in network.parameters()),
                "provenance": self.card.provenance.model_copy(
                    update={
                        "best_validation_dice": score,
                        "shapes": self.method and self.method.shapes,
                    }
                ),
            }
        )
        save_model(self.folder / MODEL, card, network, extras)
        return {"event": "model", "path": MODEL, "name": card.name}
