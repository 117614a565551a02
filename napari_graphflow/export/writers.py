"""What writes an export of each kind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from napari_graphflow.config.exports import Kind
from napari_graphflow.export.bundle import write_bundle
from napari_graphflow.export.networks import write_int8, write_onnx, write_openvino
from napari_graphflow.export.nnunet import write_nnunet
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.saved import Model

WRITERS: dict[Kind, Callable[[Model, Path, Sequence[Volume]], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "openvino-int8": write_int8,
    "monai-bundle": write_bundle,
    "nnunet": write_nnunet,
}
