"""A network of another program in OpenVINO: its answers alone, without feature maps, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.config.model_card import GRAPH_FILES, ModelCard
from napari_graphflow.errors import UserError
from napari_graphflow.models.openvino_package import import_openvino
from napari_graphflow.networks.taps import Head, TapAdapter, crop

#: Arguments of the card: whether the size of the input is fixed, and what the output is.
FIXED, OUTPUT = "fixed", "output"
#: Number of which the sides of the input are a multiple, unless the card says otherwise.
_MULTIPLE = 32
#: Smallest probability; its logarithm is the logit.
_LEAST = 1e-6


class GraphNetwork(nn.Module):
    """Run a network of OpenVINO in torch, image by image and without gradients.

    Parameters
    ----------
    network
        What OpenVINO has read.
    size
        The only size of its input, if it is fixed; smaller images are padded with edge values.
    output
        ``logits``, ``probabilities``, or ``sigmoid`` for one channel that is the logit of the only
        class beside the background.
    """

    def __init__(
        self, network: Any, output: str = "logits", size: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self._network, self._output, self._size = network, output, size
        self._compiled: dict[tuple[int, ...], Any] = {}
        # Tells the device of the run.
        self.marker = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K, *spatial) of images (B, C, *spatial)."""
        sides = x.shape[2:]
        extra = [max(0, n - side) for n, side in zip(self._size or sides, sides, strict=True)]
        padding = [n for e in reversed(extra) for n in (0, e)]
        images = functional.pad(x.detach().float().cpu(), padding, mode="replicate").numpy()
        answers = torch.cat([torch.from_numpy(self._run(one[None])) for one in images])
        small = any(n < side for n, side in zip(answers.shape[2:], sides, strict=False))
        if answers.ndim != x.ndim or small:
            raise UserError(
                f"The network answers with an array of shape {tuple(answers.shape)} for one of "
                f"{tuple(images.shape)}.",
                "Export it so that its first output is (batch, class, *size of the image).",
            )
        return crop(as_logits(answers, self._output), sides).to(x.device)

    def _run(self, image: Any) -> Any:
        if image.shape not in self._compiled:
            self._compiled = {image.shape: _compile(self._network, image.shape)}
        return np.array(self._compiled[image.shape](np.ascontiguousarray(image))[0], np.float32)


def as_logits(answers: Tensor, output: str) -> Tensor:
    """Return logits of all classes from what a network answers, see `GraphNetwork`."""
    if output == "probabilities":
        return answers.clamp_min(_LEAST).log()
    if output == "sigmoid":
        return torch.cat([torch.zeros_like(answers), answers], 1)
    return answers


def _compile(network: Any, shape: tuple[int, ...]) -> Any:
    openvino = import_openvino()
    fixed = network.clone()
    try:
        fixed.reshape(list(shape))
        return openvino.compile_model(fixed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError:
        size = " x ".join(map(str, shape[2:]))
        raise UserError(
            f"The network cannot process an image of {size} voxels in {shape[1]} channels.",
            "Write its patch_size, divisor and in_channels to its card, and use this patch size.",
        ) from None


def read_graph(path: Path) -> Any:
    """Read a file of OpenVINO or ONNX.

    Raises
    ------
    UserError
        If OpenVINO is missing, or cannot read it.
    """
    openvino = import_openvino()
    try:
        return (
            openvino.convert_model(path)
            if path.suffix == ".onnx"
            else openvino.Core().read_model(path)
        )
    except Exception as error:  # OpenVINO raises its own and many kinds
        raise UserError(
            f"{path.name} cannot be read by OpenVINO ({type(error).__name__}).",
            "Export the network again, with operations of ONNX or OpenVINO only.",
        ) from None


def load_graph(folder: Path, card: ModelCard) -> TapAdapter:
    """Load a network that was saved in OpenVINO's format."""
    return adapted(read_graph(folder / GRAPH_FILES[0]), card)


def adapted(network: Any, card: ModelCard) -> TapAdapter:
    """Return a network of OpenVINO with the padding and the classes of its card."""
    size = card.patch_size if card.arguments.get(FIXED) else None
    module = GraphNetwork(network, str(card.arguments.get(OUTPUT, "logits")), size)
    adapter = TapAdapter(module, {}, 1 if size else card.divisor or _MULTIPLE)
    adapter.head = Head(card.regions, card.groups)
    return adapter
