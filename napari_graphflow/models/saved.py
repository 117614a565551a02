"""A saved model: a folder of ``model.json``, ``weights.safetensors`` and optional further weights.

Nothing in it can run code: weights are safetensors, and a foreign checkpoint is opened with
``weights_only=True`` or refused.
"""

import hashlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.networks import build
from napari_graphflow.networks.layers import norms_without_copies

WEIGHTS = "weights.safetensors"


#: The modules of the distillation that made a student, such as paraphrasers.
METHOD = "method.safetensors"


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with its card."""

    card: ModelCard
    module: nn.Module
    folder: Path

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device


def build_network(card: ModelCard) -> nn.Module:
    """Build the network of a card, with fresh weights."""
    arguments = dict(card.arguments)
    if card.taps:
        arguments["taps"] = card.taps
    return build(
        card.network, card.in_channels, len(card.classes), card.dims, card.width, **arguments
    )


def save_model(
    folder: Path, card: ModelCard, module: nn.Module, extras: dict[str, nn.Module] | None = None
) -> None:
    """Write a model folder aside and move it into place; a model that was there is replaced.

    Parameters
    ----------
    folder
        Where the model goes.
    card
        Its description.
    module
        The network.
    extras
        Further modules by file name, such as `METHOD`.
    """
    folder = Path(folder)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    aside.mkdir(parents=True)
    try:
        save_weights(module, aside / WEIGHTS)
        for name, extra in (extras or {}).items():
            save_weights(extra, aside / name)
        (aside / "model.json").write_text(card.model_dump_json(indent=2), "utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_model(folder: Path, device: str | torch.device = "cpu") -> Model:
    """Load a saved model in evaluation mode, frozen.

    Raises
    ------
    UserError
        If the folder is no saved model, or its weights are damaged or of another network.
    """
    folder = Path(folder)
    card = read_model_card(folder)
    module = build_network(card)
    load_weights(module, folder / WEIGHTS)
    norms_without_copies(module).requires_grad_(False)
    return Model(card, module.eval().to(device), folder)


def import_model(weights: Path, card: ModelCard, out: Path) -> Model:
    """Make a saved model of any network and its checkpoint, safetensors or tensor-only ``.pt``."""
    module = build_network(card)
    load_weights(module, weights)
    count = sum(p.numel() for p in module.parameters())
    save_model(out, card.model_copy(update={"parameters": count}), module)
    return load_model(out)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the state of a module as safetensors, by a file aside and a rename."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    # Cloned because safetensors refuses tensors that share memory.
    state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    save_file(state, aside)
    aside.replace(path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load weights into a module, with a sentence for whatever is wrong with the file."""
    state = _read_state(Path(path))
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(state))
    extra = sorted(set(state) - set(wanted))
    shapes = [
        name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape
    ]
    if missing or extra or shapes:
        example = (missing or extra or sorted(shapes))[0]
        raise UserError(
            f"The weights in {path} belong to another network: {len(missing)} missing, "
            f"{len(extra)} unknown and {len(shapes)} of another shape, for example {example}.",
            "Choose the network, its width, channels and classes as they were in training.",
        )
    module.load_state_dict(state)


def weights_hash(folder: Path) -> str:
    """SHA-256 of a model's weights, to tell whether two files hold the same teacher."""
    with (Path(folder) / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged or not a safetensors file ({error}).", "Copy or train it again."
        ) from None
    except Exception as error:  # torch.load raises many kinds, pickle.UnpicklingError among them
        raise UserError(
            f"{path} cannot be opened as plain weights ({type(error).__name__}); "
            "files that would run code are refused.",
            "Save its state_dict as safetensors and import that.",
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"{path} holds no plain table of weights.",
            "Save its state_dict as safetensors and import that.",
        )
    return state
