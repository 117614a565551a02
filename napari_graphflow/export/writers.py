"""What writes an export of each kind."""

from collections.abc import Callable
from pathlib import Path

from napari_graphflow.config.exports import Kind
from napari_graphflow.export.bundle import write_bundle
from napari_graphflow.export.networks import write_onnx, write_openvino
from napari_graphflow.export.nnunet import write_nnunet
from napari_graphflow.models.saved import Model

WRITERS: dict[Kind, Callable[[Model, Path], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "monai-bundle": write_bundle,
    "nnunet": write_nnunet,
}
