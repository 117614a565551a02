"""Convert a saved model to OpenVINO, and compare both on the same windows."""

import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_graphflow.config.model_card import weights_hash
from napari_graphflow.config.openvino_form import OpenVinoForm, Parity, form_folder
from napari_graphflow.config.padding import padded_size
from napari_graphflow.errors import UserError
from napari_graphflow.models.graph import GraphNetwork
from napari_graphflow.models.openvino_package import import_openvino
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.taps import Head, TapAdapter, channels_last, first_output
from napari_graphflow.system.files import replace_file, written_aside

#: Largest accepted difference of a class probability, and smallest share of equal labels.
TOLERANCE, EQUAL = 1e-3, 0.9999
REPEATS = 3


class _Logits(nn.Module):
    """The plain network, without the padding and the taps of its adapter."""

    def __init__(self, module: nn.Module, head: Head) -> None:
        super().__init__()
        self.module, self.head = module, head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = first_output(self.module(x))
        return self.head(logits[:, 0] if logits.ndim == x.ndim + 1 else logits)


def convert(model: Model) -> OpenVinoForm:
    """Write the OpenVINO form of a model into its folder.

    Parameters
    ----------
    model
        A loaded model on the CPU.

    Raises
    ------
    UserError
        If OpenVINO is not installed, cannot convert the network, or computes other results.
    """
    openvino = import_openvino()
    card, multiples = model.card, model.multiples
    plain = model.for_engine
    network = to_openvino(model)
    # Another size along the last axis, where one that was fixed by tracing would show.
    size = padded_size(card.patch_size, multiples)
    other = (*size[:-1], size[-1] + max(multiples[-1], 8))
    windows = [noise(card.in_channels, shape) for shape in (size, other)]
    parity = _compare(network, plain, windows)
    if parity.probability_difference > TOLERANCE or parity.equal_labels < EQUAL:
        raise UserError(
            f"The OpenVINO form of {card.name} differs from PyTorch: by up to "
            f"{parity.probability_difference:.2g} in a probability, with "
            f"{parity.equal_labels:.2%} equal labels.",
            "The model runs in PyTorch.",
        )
    form = OpenVinoForm(
        weights=weights_hash(model.folder),
        version=str(openvino.__version__).split("-")[0],
        dims=card.dims,
        classes=card.engine_outputs,
        multiple=multiples,
        parity=parity,
    )
    with written_aside(form_folder(model.folder)) as aside:
        aside.mkdir()
        openvino.save_model(network, aside / "model.xml", compress_to_fp16=False)
        replace_file(aside / "form.json", form.model_dump_json(indent=2).encode())
    return form


def plain_logits(adapter: TapAdapter) -> nn.Module:
    """Return the network from a padded image to logits, for converters.

    Raises
    ------
    UserError
        If it is in OpenVINO's format already.
    """
    if isinstance(adapter.module, GraphNetwork):
        raise UserError(
            "This network is in OpenVINO's format, and is not converted again.",
            "Distil it into a student, which can be.",
        )
    return _Logits(adapter.module, adapter.head).eval()


def example_window(model: Model) -> Tensor:
    """Return noise of the size of a window, with which a network is traced."""
    return noise(model.card.in_channels, padded_size(model.card.patch_size, model.multiples))


def to_openvino(model: Model) -> Any:
    """Return the network in OpenVINO, for images of any size.

    Raises
    ------
    UserError
        If OpenVINO is not installed, or has no equivalent of an operation.
    """
    network = plain_logits(model.for_engine)
    try:
        return traced(network, example_window(model))
    except UserError:
        raise
    except Exception as error:  # OpenVINO raises its own and torch's many kinds
        raise UserError(
            f"OpenVINO cannot convert the network {model.card.network} ({type(error).__name__}).",
            "The model runs in PyTorch.",
        ) from None


def traced(network: nn.Module, window: Tensor) -> Any:
    """Return a network in OpenVINO, as it computes a window (1, C, *spatial); raises many kinds."""
    openvino = import_openvino()
    # torch deprecates tracing, and warns of each size that the network looks at.
    with warnings.catch_warnings(action="ignore"):
        # Not checked by running it again: it is compared at another size, too.
        program = torch.jit.trace(network, window, check_trace=False)
        sizes = [-1, window.shape[1], *[-1] * (window.ndim - 2)]
        return openvino.convert_model(program, example_input=window, input=sizes)


def noise(channels: int, shape: tuple[int, ...]) -> Tensor:
    """Return the same random image (1, C, *spatial) in each call."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand((1, channels, *shape), generator=generator)


@torch.inference_mode()
def _compare(network: Any, adapter: TapAdapter, windows: list[Tensor]) -> Parity:
    openvino = import_openvino()
    plain = plain_logits(adapter)
    difference, equal, voxels = 0.0, 0, 0
    torch_seconds, openvino_seconds = [], []
    for window in windows:
        fixed = network.clone()
        fixed.reshape(list(window.shape))
        compiled = openvino.compile_model(fixed, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for _ in range(REPEATS):
            started = time.perf_counter()
            expected = plain(channels_last(window))
            middle = time.perf_counter()
            found = torch.from_numpy(np.array(compiled(window.numpy())[0]))
            torch_seconds.append(middle - started)
            openvino_seconds.append(time.perf_counter() - middle)
        a, b = expected.softmax(1), found.softmax(1)
        difference = max(difference, float((a - b).abs().max()))
        equal += int((a.argmax(1) == b.argmax(1)).sum())
        voxels += a[:, 0].numel()
    return Parity(
        probability_difference=difference,
        equal_labels=equal / voxels,
        torch_seconds=min(torch_seconds),
        openvino_seconds=min(openvino_seconds),
    )
