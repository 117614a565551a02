"""A network of one's own, which is an object in Python, as a saved model.

A job runs in a process of its own that has not the code of the network. Therefore a card either
names a network that can be built there (one of this package, of MONAI, or of an entry point), which
keeps all feature maps; or the network is saved in OpenVINO's format, as it computes, which keeps
its answers alone.
"""

import copy
import pickle
from collections.abc import Mapping
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_graphflow.config.model_card import GRAPH, ModelCard
from napari_graphflow.config.padding import padded_size
from napari_graphflow.errors import UserError
from napari_graphflow.models.graph import FIXED, OUTPUT, adapted, as_logits
from napari_graphflow.models.importing.files import read_json
from napari_graphflow.models.importing.graph import save_graph, tried, valid_card
from napari_graphflow.models.openvino_form import TOLERANCE, noise, traced
from napari_graphflow.models.saved import Model, loaded_network, save_network
from napari_graphflow.networks.automatic_taps import total_stride
from napari_graphflow.networks.taps import TapAdapter, first_output

_KEYS = "dims, in_channels, classes, patch_size and preprocessing"


def module_card(module: nn.Module, given: ModelCard | Mapping[str, Any] | Path | None) -> ModelCard:
    """Return the card of a network, without which nobody knows which images it is for.

    Parameters
    ----------
    module
        The network.
    given
        A card, the entries of one, or its file. Default of `name` is the class of the network, of
        `role` teacher, of `network` a network that is saved as it computes.

    Raises
    ------
    UserError
        If there is none, or it is not valid.
    """
    if isinstance(given, ModelCard):
        return given
    name = type(_plain(module)).__name__
    if given is None:
        raise UserError(
            f"The network {name} does not say which images it is for.",
            f"Pass a card with {_KEYS}: ImportOptions(card={{...}}).",
            "undescribed",
        )
    content = given if isinstance(given, Mapping) else read_json(given)
    content = {"network": GRAPH} | dict(content)
    return valid_card(content, name, f"The card of {name} is not valid", f"It needs {_KEYS}.")


def import_module(module: nn.Module, card: ModelCard, out: Path) -> Model:
    """Save a network with its weights as a teacher; the network itself is not changed.

    Parameters
    ----------
    module
        From an image (B, C, *spatial) to logits (B, K, *spatial), class probabilities, or one logit
        of the only class.
    card
        Its description. A `network` that can be built by its name must be of the same code.
    out
        Folder of the new model; must not exist.

    Raises
    ------
    UserError
        If the network does not run as its card says, or what is saved would answer otherwise.
    """
    try:
        network = copy.deepcopy(_plain(module)).cpu().float().eval()
    except (TypeError, RuntimeError, NotImplementedError, pickle.PicklingError) as error:
        raise UserError(
            f"{card.name} holds what cannot be copied: {error}.",
            "Pass its weights in a file, or a network without it.",
        ) from None
    if card.network != GRAPH:
        built = loaded_network(network.state_dict(), card, Path(card.name))
        reference = TapAdapter(network, {}, built.multiple)
        reference.head = built.head
        difference = max(_difference(built, reference, one) for one in _images(card, built))
        if difference > TOLERANCE:
            raise _differs(card.name, difference, f"Correct arguments of {card.network}.")
        return save_network(built, card, out)
    card = _with_divisor(network, card)
    graph = _converted(network, card)
    card = tried(graph, card)
    difference = _of_graph(graph, network, card)
    if difference > TOLERANCE and not card.arguments[FIXED]:  # a trace of the size of a patch
        arguments = card.arguments | {FIXED: True}
        card = card.model_copy(update={"arguments": arguments, "windows": "patch"})
        difference = _of_graph(graph, network, card)
    if difference > TOLERANCE:
        raise _differs(
            card.name,
            difference,
            "Its code may decide by the values of the image; make it a network of an entry point.",
        )
    return save_graph(graph, card, out)


class _Answers(nn.Module):
    """The network, with logits of all classes as its answer."""

    def __init__(self, module: nn.Module, output: str = "") -> None:
        super().__init__()
        self.module, self.output = module, output

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = first_output(self.module(x))
        return as_logits(found[:, 0] if found.ndim == x.ndim + 1 else found, self.output)


def _of_graph(graph: Any, network: nn.Module, card: ModelCard) -> float:
    """Return by how much a network in OpenVINO differs from the network itself."""
    saved = adapted(graph, card)
    output = str(card.arguments.get(OUTPUT, "logits"))
    reference = TapAdapter(_Answers(network, output), {}, saved.multiple)
    reference.head = saved.head
    images = _images(card, saved)[: 2 if card.arguments[FIXED] else None]
    return max(_difference(saved, reference, one) for one in images)


def _plain(module: nn.Module) -> nn.Module:
    return module.module if isinstance(module, TapAdapter) else module


def _with_divisor(network: nn.Module, card: ModelCard) -> ModelCard:
    """Return a card with the number of which the sides of an image must be a multiple."""
    if card.divisor is not None:
        return card
    image = noise(card.in_channels, card.patch_size)
    try:
        stride = total_stride(TapAdapter(network, {}), image)
    except Exception as error:  # of the network's own code
        raise _fails(card, error) from None
    return card.model_copy(update={"divisor": gcd(stride, *card.patch_size)})


def _converted(network: nn.Module, card: ModelCard) -> Any:
    window = noise(card.in_channels, card.patch_size)
    try:
        with torch.no_grad():
            network(window)
    except Exception as error:  # of the network's own code
        raise _fails(card, error) from None
    try:
        return traced(_Answers(network), window)
    except UserError:
        raise
    except Exception as error:  # torch and OpenVINO raise many kinds
        raise UserError(
            f"OpenVINO cannot convert {card.name} ({type(error).__name__}).",
            "Make it a network of an entry point, and name it in the card.",
        ) from None


def _images(card: ModelCard, network: TapAdapter) -> list[Tensor]:
    """Return a patch, and what a trace knows nothing of: negative values, another last side."""
    size = padded_size(card.patch_size, network.multiple)
    multiple = network.multiple if isinstance(network.multiple, int) else network.multiple[-1]
    other = (*size[:-1], size[-1] + max(multiple, 8))
    patch = noise(card.in_channels, card.patch_size)
    return [patch, patch - 1, noise(card.in_channels, other)]


@torch.no_grad()
def _difference(a: TapAdapter, b: TapAdapter, image: Tensor) -> float:
    """Return the largest difference of a class probability."""
    return float((a.logits(image).softmax(1) - b.logits(image).softmax(1)).abs().max())


def _fails(card: ModelCard, error: Exception) -> UserError:
    size = " x ".join(map(str, card.patch_size))
    message = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(
        f"{card.name} cannot process an image of {size} voxels in {card.in_channels} channels: "
        f"{message}.",
        "Correct dims, in_channels and patch_size of its card.",
    )


def _differs(name: str, difference: float, remedy: str) -> UserError:
    return UserError(
        f"What would be saved of {name} answers otherwise: by up to {difference:.2g} in a "
        "probability.",
        remedy,
    )
