"""The distillation losses as pure functions: tensors in, scalars out, each with its equation."""

from napari_graphflow.distillation.attention import attention_loss, attention_map
from napari_graphflow.distillation.channel_wise import channel_wise_loss
from napari_graphflow.distillation.dist import dist_loss
from napari_graphflow.distillation.emkd.losses import (
    importance_map,
    importance_maps_loss,
    prediction_maps_loss,
    region_affinity_loss,
)
from napari_graphflow.distillation.generalisable.losses import (
    cross_distillation_loss,
    dual_contrastive_graph_loss,
)
from napari_graphflow.distillation.graph_flow.loss import graph_flow_loss, variation_graph
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.training.step import supervised_loss

__all__ = [
    "attention_loss",
    "attention_map",
    "channel_wise_loss",
    "cross_distillation_loss",
    "dist_loss",
    "dual_contrastive_graph_loss",
    "graph_flow_loss",
    "importance_map",
    "importance_maps_loss",
    "logits_loss",
    "prediction_maps_loss",
    "region_affinity_loss",
    "supervised_loss",
    "variation_graph",
]
