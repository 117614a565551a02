"""``networks`` and ``models``: available networks and saved models."""

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
    """List the available networks with their parameter counts in 2D and 3D.

    Parameters
    ----------
    macs
        Also count the multiply-adds for a 2D image of 256 x 256 pixels.
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
    columns = ("name", "usual role", "2D", "3D", *(["multiply-adds"] if macs else []))
    table = Table(*columns, "description", box=None)
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
    """Create a saved model from a checkpoint of any network and a card that describes it.

    Parameters
    ----------
    weights
        A safetensors file, or a .pt file that contains only tensors.
    card
        JSON file in the format of model.json, with network (such as monai:SegResNet), arguments,
        classes, taps, patch_size and preprocessing.
    out
        Folder of the new model; must not exist.
    """
    from napari_graphflow.models.saved import import_model as import_weights

    if out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    model = import_weights(weights, read_config(ModelCard, card), out)
    output.print(f"{model.card.name}: {model.card.parameters / 1e6:.2f} M parameters in {out}")
