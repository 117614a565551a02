"""Join saved models, such as those of the folds of a cross-validation, into one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_graphflow.config.model_card import WEIGHTS, ModelCard, Provenance, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.models.saved import Model, import_state, read_state
from napari_graphflow.networks.ensemble import MEMBER

#: What the members must have in common, since there is one card for all.
_EQUAL = ("network", "dims", "in_channels", "width", "arguments", "classes", "taps", "divisor",
          "mapping", "regions", "preprocessing")  # fmt: skip


def join(folders: Sequence[Path], out: Path, name: str = "") -> Model:
    """Save an ensemble: one model that returns the mean logits of several ones.

    Parameters
    ----------
    folders
        Saved models of one network, with the same classes and preprocessing.
    out
        Folder of the ensemble; must not exist.
    name
        Its name. Default: that of the first one, with the number of models.

    Raises
    ------
    UserError
        If there are fewer than two models, they differ in more than their weights, or one is
        damaged or an ensemble itself.
    """
    cards = [read_model_card(folder) for folder in folders]
    if len(cards) < 2:
        raise UserError("An ensemble needs at least two models.", "Name two or more.")
    if out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    for folder, card in zip(folders, cards, strict=True):
        differing = [one for one in _EQUAL if getattr(card, one) != getattr(cards[0], one)]
        if differing or card.members > 1:
            why = f"another {differing[0]} than {folders[0]}" if differing else "several networks"
            raise UserError(
                f"{folder} has {why.replace('_', ' ')}, so that they cannot be one model.",
                "Join models of one network that were trained with the same settings.",
            )
    state = {
        f"{MEMBER.format(index)}{key}": value
        for index, folder in enumerate(folders)
        for key, value in read_state(folder / WEIGHTS).items()
    }
    return import_state(state, _card(cards, name), out, source=folders[0])


def _card(cards: Sequence[ModelCard], name: str) -> ModelCard:
    first = cards[0]
    updates: dict[str, Any] = {
        "name": name or f"{first.name} x {len(cards)}",
        "members": len(cards),
        "taps": {name: f"{MEMBER.format(0)}{path}" for name, path in first.taps.items()},
        "patch_size": max(card.patch_size for card in cards),
        # What holds for each of them.
        "largest_part": tuple(
            one for one in first.largest_part if all(one in card.largest_part for card in cards)
        ),
        "trained_mirrored": tuple(
            one
            for one in first.trained_mirrored
            if all(one in card.trained_mirrored for card in cards)
        ),
        "provenance": _provenance(first.provenance),
    }
    return first.model_copy(update=updates)


def _provenance(made: Provenance | None) -> Provenance | None:
    """Return how the first one was trained, without the Dice on its validation cases.

    The others learnt from these cases.
    """
    return made and made.model_copy(update={"best_validation_dice": None, "shapes": None})
