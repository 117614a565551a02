"""Plain logits distillation, the baseline that every other method has to beat."""

from torch import Tensor

from napari_graphflow.config import DistillationConfig
from napari_graphflow.distillation import Method
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.networks import Output


class LogitsDistillation(Method):
    """Hinton's distillation of softened predictions, pixel by pixel."""

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__(config)
        self.weights = {"logits": config.logits_weight}

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        return {
            "logits": logits_loss(student.logits, teacher.logits, self.config.temperature, weight)
        }
