"""Load a saved model with the engine for a device: OpenVINO on CPUs, otherwise torch."""

from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_graphflow.config.model_card import ModelCard, read_model_card, weights_hash
from napari_graphflow.config.openvino_form import openvino_is_used, read_form
from napari_graphflow.errors import UserError
from napari_graphflow.inference.engines import Array
from napari_graphflow.inference.predict import LoadedModel
from napari_graphflow.inference.site_check import (
    SOURCE,
    Codes,
    Describe,
    image_code,
    read_codes,
)
from napari_graphflow.system.devices import devices
from napari_graphflow.system.install import install_hint

if TYPE_CHECKING:
    from torch import nn

    from napari_graphflow.models.saved import Model


def load_for_inference(
    folder: Path, device: str = "auto", *, threads: int | None = None
) -> LoadedModel:
    """Load a saved model for segmentation.

    Parameters
    ----------
    folder
        Folder of the model.
    device
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:1``. On a CPU the OpenVINO form of the model
        is used where it has one.
    threads
        Threads on a CPU, all cores by default.

    Raises
    ------
    UserError
        If the folder is not a saved model, its weights are damaged, the device is not available,
        or the model needs PyTorch and it is not installed.
    """
    folder = Path(folder)
    card = read_model_card(folder)
    if uses_openvino(folder, device):
        from napari_graphflow.inference.openvino_engine import open_engine

        engine = open_engine(folder, threads)
        if engine is not None:
            return LoadedModel(card, engine, *_description(folder, card, threads), folder)
    if find_spec("torch") is None:
        raise UserError(
            f"{card.name} has no usable OpenVINO form, so it needs PyTorch, which is not "
            "installed.",
            f"{install_hint('train')}, or choose a student with its OpenVINO form.",
        )
    import torch

    from napari_graphflow.models.devices import resolve_device
    from napari_graphflow.models.saved import load_model

    if threads:
        torch.set_num_threads(threads)
    return in_torch(load_model(folder, resolve_device(device)))


def uses_openvino(folder: Path, device: str) -> bool:
    """Whether a model has an OpenVINO form of its present weights, and runs on the CPU."""
    if device not in ("auto", "cpu") or not openvino_is_used():
        return False
    form = read_form(folder)
    if form is None:
        return False
    with suppress(FileNotFoundError):  # a student without its weights can be run all the same
        if form.weights != weights_hash(folder):
            return False
    return device == "cpu" or devices()[0].name == "cpu"


def in_torch(model: "Model") -> LoadedModel:
    """Return a model that is loaded in torch, ready to run there."""
    from napari_graphflow.inference.torch_engine import TorchEngine

    card, source = model.card, read_codes(model.folder)
    describe: Describe | None = None
    if source is not None:
        describe = partial(_describe, model.module, card.patch_size)
    engine = TorchEngine(model.for_engine if card.paints_late else model.module, card.dims)
    return LoadedModel(card, engine, source, describe, model.folder)


def _description(
    folder: Path, card: ModelCard, threads: int | None
) -> tuple[Codes | None, Describe | None]:
    """Return the codes of a model that runs without PyTorch, and what describes an image.

    Only PyTorch gives the bottleneck, so that it is loaded for the first image.
    """
    if find_spec("torch") is None:
        # Without PyTorch there may be no safetensors either; that there are codes is all to know.
        return (np.zeros((0, 0), np.float32) if (folder / SOURCE).is_file() else None), None
    source = read_codes(folder)
    if source is None:
        return None, None

    @cache
    def module() -> "nn.Module":
        import torch

        from napari_graphflow.models.saved import load_model

        if threads:
            torch.set_num_threads(threads)
        return load_model(folder).module

    return source, lambda array: image_code(module(), array, card.patch_size)


def _describe(module: "nn.Module", patch: tuple[int, ...], array: Array) -> Codes:
    return image_code(module, array, patch)
