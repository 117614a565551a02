"""``models show``, ``models taps`` and ``models remove``: what a saved model is."""

import shutil
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from napari_graphflow.cli.models import models
from napari_graphflow.cli.options import Flag, Json
from napari_graphflow.cli.terminal import output, print_json
from napari_graphflow.config.model_card import ModelCard, read_model_card, weights_hash
from napari_graphflow.errors import UserError
from napari_graphflow.system.files import listing, replace_file

#: What the folder of a model may hold; a folder with anything else is not removed.
_FILES = {"model.json", "openvino", "weights.safetensors", "method.safetensors",
          "source.safetensors", "predictions.json", "predictions",
          "network.xml", "network.bin"}  # fmt: skip

#: What `show` says of predictions.
_OF_PREDICTIONS = {
    "name", "role", "for", "kind", "classes", "from_classes", "licence", "source", "sha256",
}  # fmt: skip


@models.command
def show(model: Path, /, *, json: Json = False) -> None:
    """Show what a saved model is for and what its network receives.

    Parameters
    ----------
    model
        Folder of a saved model.
    """
    card = read_model_card(model)
    facts = _facts(card) | {"sha256": weights_hash(model)}
    if card.is_predictions:
        facts = {name: fact for name, fact in facts.items() if name in _OF_PREDICTIONS}
    if json:
        print_json(facts)
        return
    table = Table("", Column(overflow="fold"), show_header=False, box=None)
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            table.add_row(name.replace("_", " "), _text(value))
    output.print(table)


def _facts(card: ModelCard) -> dict[str, Any]:
    steps = card.preprocessing
    return {
        "name": card.name,
        "role": card.role_text,
        "for": card.purpose_text,
        "kind": card.kind,
        "network": card.network,
        "parameters": card.parameters,
        "classes": card.classes,
        "from_classes": card.mapping,
        "orientation": steps.orientation,
        "axes": " ".join(steps.axes),
        "spacing": steps.spacing,
        "intensity": steps.channel_intensity or steps.intensity,
        "clip": steps.clip,
        "mean": steps.mean,
        "std": steps.std,
        "steps": "those of nnU-Net" if steps.nnunet else "",
        "patch_size": card.patch_size,
        "multiple": card.divisor,
        "overlap": card.overlap,
        "mirrored_axes": card.mirror,
        "can_mirror_axes": card.trained_mirrored,
        "keeps_only_largest_part_of": card.largest_part,
        "networks_averaged": card.members if card.members > 1 else None,
        "licence": card.purpose.licence or "not stated",
        "source": card.purpose.source or "not stated",
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


@models.command
def taps(model: Path, /, *, use: tuple[str, ...] = (), json: Json = False) -> None:
    """List the feature maps of a model that methods of distillation compare.

    Those of nnU-Net's networks are chosen by their stride: encoder and decoder at 4, encoder_2 and
    decoder_2 at 2, encoder_3 and decoder_3 at 8.

    Parameters
    ----------
    model
        Folder of a saved model.
    use
        Taps to change, such as encoder=encoder.stages.2; other names stay.
    """
    import torch

    from napari_graphflow.models.saved import load_model
    from napari_graphflow.networks.taps import strides_of

    loaded = load_model(model)
    if use:
        changes = dict(_named(entry) for entry in use)
        loaded.adapter.use_taps({**loaded.adapter.taps, **changes})
    size = [max(32, 4 * multiple) for multiple in loaded.multiples]
    with torch.no_grad():
        found = loaded.module(torch.zeros(1, loaded.card.in_channels, *size)).taps
    rows: list[dict[str, Any]] = [
        {
            "tap": name,
            "layer": loaded.adapter.taps[name],
            "channels": tensor.shape[1],
            "stride": strides_of(tensor.shape[2:], size),
        }
        for name, tensor in found.items()
    ]
    if use:
        card = loaded.card.model_copy(update={"taps": {**loaded.card.taps, **changes}})
        replace_file(model / "model.json", card.model_dump_json(indent=2).encode())
    if json:
        print_json(rows)
        return
    table = Table("tap", "layer", "channels", "stride", box=None)
    for row in rows:
        table.add_row(
            row["tap"], row["layer"], str(row["channels"]), " x ".join(map(str, row["stride"]))
        )
    output.print(table)
    if not rows:
        output.print(
            "This model has no taps; methods that compare logits can be used: logits, dist and "
            "channel_wise. Name taps with --use encoder=LAYER decoder=LAYER.",
            soft_wrap=True,
        )


def _named(entry: str) -> tuple[str, str]:
    name, equals, path = entry.partition("=")
    if not (name and equals and path):
        raise UserError(f"{entry!r} is not NAME=LAYER.", "Write encoder=encoder.stages.2.")
    return name, path


@models.command
def remove(model: Path, /, *, yes: Flag = False) -> None:
    """Remove a saved model; students that were distilled from it stay.

    Parameters
    ----------
    model
        Folder of a saved model.
    yes
        Required, because the model cannot be brought back.
    """
    card = read_model_card(model)
    odd = [one.name for one in listing(model) if one.name not in _FILES]
    if odd:
        raise UserError(
            f"{model} also holds {odd[0]}, which is not part of a model.",
            "Move it elsewhere first.",
        )
    if not yes:
        raise UserError(
            f"{card.name} in {model} would be removed and cannot be brought back.", "Add --yes."
        )
    shutil.rmtree(model)
    output.print(f"Removed {card.name}.")
