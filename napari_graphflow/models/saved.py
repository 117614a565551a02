"""Saved models: a folder with ``model.json``, ``weights.safetensors`` and optional further weights.

Loading a model never runs code: weights are safetensors, and foreign checkpoints are opened with
``weights_only=True`` or rejected.
"""

import copy
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_graphflow.config.model_card import GRAPH, WEIGHTS, ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.models.size import count_parameters
from napari_graphflow.networks import build
from napari_graphflow.networks.ensemble import as_one
from napari_graphflow.networks.layers import norms_without_copies
from napari_graphflow.networks.taps import Head, TapAdapter
from napari_graphflow.system.files import replace_file, written_aside

#: Weights of the distillation method that produced a student, such as its paraphrasers.
METHOD = "method.safetensors"
#: Largest side of the image on which an imported network is tried.
_TRIAL_SIDE = 64
_ROUNDING = 1e-3
#: Weights of the largest network; more are an error of the card.
_MOST_WEIGHTS = 2_000_000_000


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with its card."""

    card: ModelCard
    module: nn.Module
    folder: Path

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def adapter(self) -> TapAdapter:
        """The network with its padding, as it is loaded."""
        assert isinstance(self.module, TapAdapter)
        return self.module

    @property
    def for_engine(self) -> TapAdapter:
        """The network as an engine runs it, see `ModelCard.paints_late`."""
        if not self.card.paints_late:
            return self.adapter
        plain = copy.copy(self.adapter)
        plain.head = Head()
        return plain

    @property
    def multiples(self) -> tuple[int, ...]:
        """Number of which the size of the network's input must be a multiple, per axis."""
        multiple = self.adapter.multiple
        return (multiple,) * self.card.dims if isinstance(multiple, int) else tuple(multiple)


def build_network(card: ModelCard) -> TapAdapter:
    """Build the network described by a card, with newly initialised weights."""
    _refuse_huge(card)
    network = _build(card)
    if card.divisor is not None:
        network.multiple = card.divisor
    network.head = Head(card.regions, card.groups)
    return network


def _build(card: ModelCard) -> TapAdapter:
    sizes = card.in_channels, card.outputs, card.dims, card.width
    members = [build(card.network, *sizes, **card.arguments) for _ in range(card.members)]
    network = as_one(members)
    if card.taps:
        network.use_taps({**network.taps, **card.taps})
    return network


def _refuse_huge(card: ModelCard) -> None:
    """Count the weights of a network before memory is allocated for them."""
    try:
        with torch.device("meta"):
            count = count_parameters(_build(card))
    except (RuntimeError, UserError):
        return  # it computes with its weights while it is built, or fails again without this check
    if count > _MOST_WEIGHTS:
        raise UserError(
            f"The network {card.network} of {card.name} has {count:.1e} weights.",
            f"Networks of up to {_MOST_WEIGHTS:.0e} weights can be used; check width and "
            "arguments in the card.",
        )


def save_model(
    folder: Path, card: ModelCard, module: nn.Module, extras: dict[str, nn.Module] | None = None
) -> None:
    """Write a model to a temporary folder and move it into place; an existing model is replaced.

    Parameters
    ----------
    folder
        Folder of the model.
    card
        Description of the model.
    module
        The network.
    extras
        Additional modules to save, by file name, such as `METHOD`.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(folder) as aside:
        aside.mkdir()
        save_weights(module, aside / WEIGHTS)
        for name, extra in (extras or {}).items():
            save_weights(extra, aside / name)
        replace_file(aside / "model.json", card.model_dump_json(indent=2).encode())


def load_model(folder: Path, device: str | torch.device = "cpu") -> Model:
    """Load a saved model in evaluation mode, frozen.

    Raises
    ------
    UserError
        If the folder is not a saved model, or its weights are damaged or of another network.
    """
    folder = Path(folder)
    card = read_model_card(folder)
    if card.is_predictions:
        raise UserError(
            f"{card.name} in {folder} is a folder of predictions, which has no network.",
            "It can be a teacher; choose another model for anything else.",
        )
    if card.network == GRAPH:
        from napari_graphflow.models.graph import load_graph

        return Model(card, load_graph(folder, card).requires_grad_(False).eval().to(device), folder)
    module = build_network(card)
    load_weights(module, folder / WEIGHTS)
    norms_without_copies(module).requires_grad_(False)
    return Model(card, module.eval().to(device), folder)


def import_state(
    state: dict[str, Tensor], card: ModelCard, out: Path, source: Path | None = None
) -> Model:
    """Create a saved model from the weights of a network; `source` names them in errors.

    Raises
    ------
    UserError
        If the weights are not those of the network, or it cannot process an image as described by
        the card.
    """
    return save_network(loaded_network(state, card, source or out), card, out)


def loaded_network(state: dict[str, Tensor], card: ModelCard, source: Path) -> TapAdapter:
    """Build the network of a card with these weights, and run it once; as `import_state`."""
    module = build_network(card)
    _load_state(module, state, source)
    _try(module, card)
    return module


def save_network(module: nn.Module, card: ModelCard, out: Path) -> Model:
    """Save a network with its number of weights on the card, and load it."""
    parameters = count_parameters(module)
    save_model(out, card.model_copy(update={"parameters": parameters}), module)
    return load_model(out)


@torch.no_grad()
def _try(module: nn.Module, card: ModelCard) -> None:
    """Run a network once, on an image of another size than its patches."""
    sides = [min(side, _TRIAL_SIDE) + 3 for side in card.patch_size]
    size = " x ".join(map(str, sides))
    try:
        logits = module.eval()(torch.zeros(1, card.in_channels, *sides)).logits
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        message = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"The network {card.network} cannot process an image of {size} voxels: {message}.",
            "Set divisor in the card to the factor by which the network reduces each side.",
        ) from None
    if _are_probabilities(logits):
        raise UserError(
            f"The network {card.network} answers with probabilities instead of logits.",
            "Leave out its last softmax, such as by its arguments.",
        )
    if tuple(logits.shape[1:]) != (len(card.classes), *sides):
        raise UserError(
            f"The network {card.network} returns {logits.shape[1]} classes, but the card has "
            f"{len(card.classes)}.",
            "Correct classes or arguments in the card.",
        )


def _are_probabilities(logits: Tensor) -> bool:
    return bool(logits.min() >= 0) and float((logits.sum(1) - 1).abs().max()) < _ROUNDING


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the state of a module as safetensors; a file that was there is replaced whole."""
    # Cloned because safetensors refuses tensors that share memory.
    state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    with written_aside(path) as aside:
        aside.touch()
        mode = stat.S_IMODE(aside.stat().st_mode)
        try:
            save_file(state, aside)
        except SafetensorError as error:
            # Its errors of the operating system have the number only in their text.
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        aside.chmod(mode)  # safetensors lets only this user read its files


def load_weights(module: nn.Module, path: Path) -> None:
    """Load weights into a module.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its names or shapes differ from the module's.
    """
    _load_state(module, read_state(Path(path)), path)


def _load_state(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
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
            f"{len(extra)} unexpected and {len(shapes)} of a different shape, such as {example}.",
            "Use the network, width, channels and classes that the model was trained with.",
        )
    for name, values in state.items():
        _check_values(name, values, wanted[name], path)
    module.load_state_dict(state)


def _check_values(name: str, values: Tensor, wanted: Tensor, path: Path) -> None:
    """Refuse weights with which a network would run, but answer at random."""
    if values.is_floating_point() != wanted.is_floating_point():
        kind = str(values.dtype).removeprefix("torch.")
        raise UserError(
            f"The weights in {path} are stored as {kind}, such as {name}.",
            "Save them as floating point numbers.",
        )
    if not torch.isfinite(values).all():
        raise UserError(
            f"The weights in {path} contain NaN or infinite numbers, such as {name}.",
            "Train the model again, or choose an earlier checkpoint.",
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network from a safetensors file or a tensor-only ``.pt`` file.

    Raises
    ------
    UserError
        If the file is missing or damaged, or holds anything else.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    try:
        with path.open("rb"):  # otherwise a lack of permission is taken for a damaged file
            pass
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise UserError(
            f"{path} cannot be read: permission denied.",
            "Ask its owner for permission to read it.",
        ) from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged or not a safetensors file ({error}).",
            "Copy the file again, or retrain the model.",
        ) from None
    except Exception as error:  # torch.load raises many kinds, pickle.UnpicklingError among them
        raise UserError(
            f"{path} cannot be loaded as tensors only ({type(error).__name__}); "
            "files that could run code are rejected.",
            "Save the state_dict as a safetensors file and import that.",
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"{path} does not contain a state_dict of tensors.",
            "Save the state_dict as a safetensors file and import that.",
        )
    return state
