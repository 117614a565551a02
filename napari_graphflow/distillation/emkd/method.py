"""EMKD as a method: region affinity on labelled cases, the other two terms on all cases."""

import torch
from torch import Tensor

from napari_graphflow.config.methods import EMKDOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.dist import dist_loss
from napari_graphflow.distillation.emkd.losses import (
    PRESETS,
    focal_dice_loss,
    importance_maps_loss,
    prediction_maps_loss,
    region_affinity_loss,
)
from napari_graphflow.distillation.method import Method, check_taps
from napari_graphflow.networks.taps import Output

#: The encoder's feature maps at strides 2 and 8.
TAPS = ("lo", "hi")


class EMKD(Method):
    """Efficient medical image segmentation based on knowledge distillation (Qin et al., TMI 2021).

    See :mod:`napari_graphflow.distillation.emkd.losses` for the equations. Terms of weight 0 are
    not computed.
    """

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        check_taps(shapes, TAPS)
        assert isinstance(config.method, EMKDOptions)
        self.options = config.method
        self.by_certainty = self.options.certainty
        self.preset = PRESETS[self.options.preset]
        self.weights = {
            "prediction_maps": self.options.prediction_weight,
            "importance_maps": self.options.importance_weight,
            "region_affinity": self.options.affinity_weight,
        }
        if self.options.preset == "official":
            self.supervised_loss = focal_dice_loss

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        terms = {}
        if self.weights["prediction_maps"]:
            loss = dist_loss if self.options.prediction_loss == "dist" else prediction_maps_loss
            terms["prediction_maps"] = loss(
                student.logits,
                teacher.logits,
                self.options.temperature,
                weight=None if self.preset.ignored else weight,
            )
        if self.weights["importance_maps"]:
            losses = [
                importance_maps_loss(
                    student.taps[tap],
                    teacher.taps[tap],
                    self.options.power,
                    resize=self.preset.resize,
                )
                for tap in TAPS
            ]
            terms["importance_maps"] = torch.stack(losses).sum()
        return terms

    def labelled_terms(self, student: Output, teacher: Output, labels: Tensor) -> dict[str, Tensor]:
        if not self.weights["region_affinity"]:
            return {}
        losses = [
            region_affinity_loss(
                student.taps[tap],
                teacher.taps[tap],
                labels,
                student.logits.shape[1],
                self.preset.masks,
                absent=self.preset.absent,
            )
            for tap in TAPS
        ]
        return {"region_affinity": torch.stack(losses).sum()}
