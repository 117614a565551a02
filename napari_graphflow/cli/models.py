"""``networks`` and ``models``: what can be trained, and what was."""

from pathlib import Path

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.terminal import Json, output, print_json
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import NETWORKS
from napari_graphflow.config.settings import read_config
from napari_graphflow.errors import UserError

models = App(name="models", help="Saved models.")


def networks(*, json: Json = False) -> None:
    """List the networks that can be trained.

    Parameters
    ----------
    json
        Print them as JSON.
    """
    if json:
        print_json({name: info._asdict() for name, info in NETWORKS.items()})
        return
    table = Table("name", "usual role", "what", box=None)
    for name, info in NETWORKS.items():
        table.add_row(name, info.role, info.text)
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
