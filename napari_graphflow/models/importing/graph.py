"""Networks in ONNX, OpenVINO, TorchScript and `torch.export`, as teachers by their answers alone.

All are saved in OpenVINO's format, whose operations compute and do nothing else. TorchScript and
`torch.export` archives may hold code, so that they are opened only if they are trusted.
"""

import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from napari_graphflow.config.model_card import GRAPH, GRAPH_FILES, ModelCard
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.models.graph import FIXED, OUTPUT, GraphNetwork, adapted, read_graph
from napari_graphflow.models.importing.files import read_json, refuse_large
from napari_graphflow.models.openvino_package import import_openvino
from napari_graphflow.models.saved import Model, load_model
from napari_graphflow.system.files import replace_file, written_aside

#: Formats that only compute, and those that may run code.
SAFE, CODE = (".onnx", ".xml"), (".pt2", ".ts", ".torchscript")
#: Largest side of the image on which a network is tried.
_TRIAL_SIDE = 64
_ROUNDING = 1e-3


def is_graph(path: Path) -> bool:
    """Whether a file is a whole network in one of these formats, not only its weights."""
    return path.is_file() and (path.suffix in SAFE + CODE or _is_torchscript(path))


def _is_torchscript(path: Path) -> bool:
    if path.suffix not in (".pt", ".pth"):
        return False
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
    return False


def graph_card(path: Path, given: ModelCard | Mapping[str, Any] | Path | None) -> ModelCard:
    """Read the card of a network: `given`, or the ``.json`` file of its name beside it.

    Raises
    ------
    UserError
        If there is none, or it is not valid.
    """
    if isinstance(given, ModelCard):
        return given
    if isinstance(given, Mapping):
        content = dict(given) | {"network": GRAPH}
        return valid_card(
            content, path.stem, f"The card of {path.name} is not valid", "Correct it."
        )
    beside = given or next(
        (one for one in (path.with_suffix(".json"), path.with_name("model.json")) if one.is_file()),
        None,
    )
    if beside is None:
        raise UserError(
            f"{path.name} does not say which images it is for.",
            f"Write dims, in_channels, classes, patch_size and preprocessing to "
            f"{path.with_suffix('.json').name} beside it, or to a file for --card.",
            "undescribed",
        )
    content = read_json(beside) | {"network": GRAPH}
    return valid_card(content, path.stem, f"{beside} cannot be read", "Correct the file.")


def valid_card(content: Mapping[str, Any], name: str, problem: str, remedy: str) -> ModelCard:
    """Return the card of a teacher with these entries, by default of this name.

    Raises
    ------
    UserError
        If an entry is missing or wrong: `problem` and which, and `remedy`.
    """
    try:
        return ModelCard.model_validate({"name": name, "role": "teacher"} | dict(content))
    except ValidationError as error:
        raise UserError(f"{problem}: {first_problem(error)}.", remedy) from None


def import_graph(path: Path, card: ModelCard, out: Path, *, trust: bool) -> Model:
    """Save a whole network as a teacher.

    Parameters
    ----------
    path, card
        The file, and its description.
    out
        Folder of the new model; must not exist.
    trust
        Whether a file that may run code is opened.

    Raises
    ------
    UserError
        If the file is not trusted or cannot be read, or answers otherwise than its card says.
    """
    refuse_large(path)
    with suppress(UserError):
        refuse_large(path.with_suffix(".bin"))
    network = read_graph(path) if path.suffix in SAFE else _converted(path, card, trust)
    return save_graph(network, tried(network, card), out)


def save_graph(network: Any, card: ModelCard, out: Path) -> Model:
    """Save a network of OpenVINO with a card of `tried`, and load it."""
    openvino = import_openvino()
    with written_aside(out) as aside:
        aside.mkdir(parents=True)
        openvino.save_model(network, aside / GRAPH_FILES[0], compress_to_fp16=False)
        count = (aside / GRAPH_FILES[1]).stat().st_size // 4
        card = card.model_copy(update={"parameters": count})
        replace_file(aside / "model.json", card.model_dump_json(indent=2).encode())
    return load_model(out)


def _converted(path: Path, card: ModelCard, trust: bool) -> Any:
    if not trust:
        raise UserError(
            f"{path.name} is a program of PyTorch, which can do anything when it is opened.",
            "If you trust who made it, add --trust; or ask for it as ONNX or safetensors.",
            "untrusted",
        )
    openvino = import_openvino()
    image = torch.zeros(1, card.in_channels, *card.patch_size)
    try:
        if path.suffix == ".pt2":
            return openvino.convert_model(torch.export.load(path))
        program = torch.jit.load(str(path), map_location="cpu").eval()
        return openvino.convert_model(
            program, example_input=image, input=[-1, card.in_channels, *[-1] * card.dims]
        )
    except Exception as error:  # torch and OpenVINO raise many kinds
        raise UserError(
            f"{path.name} cannot be opened or converted ({type(error).__name__}).",
            "Check dims, in_channels and patch_size of its card, or export it as ONNX.",
        ) from None


@torch.no_grad()
def tried(network: Any, card: ModelCard) -> ModelCard:
    """Run a network on noise, and return its card with what was found of sizes and output."""
    raw = GraphNetwork(network)
    small = [min(side, _TRIAL_SIDE) // 32 * 32 + 32 for side in card.patch_size]
    generator = torch.Generator().manual_seed(0)
    whole = torch.rand(1, card.in_channels, *card.patch_size, generator=generator)
    fixed = True
    with suppress(UserError, RuntimeError):
        other = raw(torch.rand(1, card.in_channels, *small, generator=generator))
        fixed = other.shape[2:] != torch.Size(small)
    arguments: dict[str, Any] = {FIXED: fixed}
    found = raw(whole) if fixed else other
    if not torch.isfinite(found).all():
        raise UserError(
            "The network answers with NaN or infinite numbers.", "Export it again, from its logits."
        )
    if found.shape[1] == 1 and card.outputs == 2:
        arguments[OUTPUT] = "sigmoid"
        if found.min() >= 0 and found.max() <= 1:
            raise UserError(
                "The network answers with one probability per voxel.",
                "Export it without its last sigmoid, or with two classes.",
            )
    elif found.shape[1] != card.outputs:
        raise UserError(
            f"The network answers with {found.shape[1]} classes, but its card has {card.outputs}.",
            "Correct classes in its card, or add --classes with names of all its classes.",
        )
    elif found.min() >= 0 and float((found.sum(1) - 1).abs().max()) < _ROUNDING:
        arguments[OUTPUT] = "probabilities"
    elif found.min() >= 0 and found.max() <= 1:
        raise UserError(
            "The network answers with a separate sigmoid for each class.",
            "Export it without its last sigmoid.",
        )
    windows = "patch" if fixed else card.windows
    card = card.model_copy(update={"arguments": arguments, "windows": windows})
    adapted(network, card)(whole)
    return ModelCard.model_validate(json.loads(card.model_dump_json()))
