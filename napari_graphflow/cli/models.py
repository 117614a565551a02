"""``networks`` and ``models``: what can be trained, and what was."""

from pathlib import Path
from typing import Any

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.options import Flag, Json
from napari_graphflow.cli.terminal import output, print_json
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import NETWORKS, PARAMETERS
from napari_graphflow.config.settings import read_config
from napari_graphflow.errors import UserError

models = App(name="models", help="Saved models.")


def networks(*, macs: Flag = False, json: Json = False) -> None:
    """List the networks that can be trained, with their parameters in 2D and 3D.

    Parameters
    ----------
    macs
        Count the multiply-adds for a 2D image of 256 × 256 pixels as well.
    """
    rows: dict[str, dict[str, Any]] = {
        name: {**info._asdict(), "parameters": PARAMETERS[name]} for name, info in NETWORKS.items()
    }
    if macs:
        from napari_graphflow.models.size import count_macs
        from napari_graphflow.networks import build

        for name, row in rows.items():
            row["macs"] = count_macs(build(name, 1, 2, dims=2), (1, 1, 256, 256))
    if json:
        print_json(rows)
        return
    heads = ("name", "usual role", "2D", "3D", *(["multiply-adds"] if macs else []), "what")
    table = Table(*heads, box=None)
    for name, row in rows.items():
        millions = [f"{count / 1e6:.2f} M" for count in row["parameters"].values()]
        cost = [f"{row['macs'] / 1e9:.2f} G"] if macs else []
        table.add_row(name, row["role"], *millions, *cost, row["text"])
    output.print(table)


@models.command(name="import")
def import_model(
    weights: Path,
    card: Path,
    out: Path,
) -> None:
    """Make a saved model of any network from a checkpoint and a card that describes it.

    Parameters
    ----------
    weights
        A safetensors file, or a .pt file that holds nothing but tensors.
    card
        JSON file like the model.json of a saved model: network (such as monai:SegResNet), its
        arguments, classes, taps, patch_size and preprocessing.
    out
        Folder of the model to write.
    """
    from napari_graphflow.models.saved import import_model as import_weights

    if out.exists():
        raise UserError(f"{out} exists already.", "Choose another folder for the model.")
    model = import_weights(weights, read_config(ModelCard, card), out)
    output.print(f"{model.card.name}: {model.card.parameters / 1e6:.2f} M parameters in {out}")
