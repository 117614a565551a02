"""``models ensemble``: several saved models as one."""

from collections.abc import Sequence
from pathlib import Path

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.models import models
from napari_graphflow.cli.options import Json
from napari_graphflow.cli.terminal import console, output, print_json
from napari_graphflow.config.openvino_form import openvino_is_used
from napari_graphflow.errors import UserError
from napari_graphflow.system.destinations import require_writable, saying_what_stands


@models.command
def ensemble(
    folders: tuple[Path, ...],
    /,
    *,
    out: Path,
    name: str = "",
    config_file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Join models of one network, such as those of several folds, into one that averages them.

    It is used like any other model, and takes as long as all of them together.

    Parameters
    ----------
    folders
        Folders of saved models: one network, the same classes and the same preprocessing.
    out
        Folder of the new model; must not exist.
    name
        Its name; by default that of the first one and their number.
    """
    found = write_ensemble(folders, out, name)
    if json:
        print_json({"model": str(out), "name": found})
    else:
        output.print(f"{found}: {out}", soft_wrap=True)


def write_ensemble(folders: Sequence[Path], out: Path, name: str = "") -> str:
    """Save an ensemble with its OpenVINO form, where it can be converted; return its name."""
    from napari_graphflow.models.ensemble import join
    from napari_graphflow.models.openvino_form import convert

    require_writable([out])
    with saying_what_stands(out, "Nothing was written, and the models are unchanged."):
        model = join(folders, out, name)
    if openvino_is_used():
        try:
            convert(model)
        except UserError as error:
            console.print(str(error), style="yellow", soft_wrap=True)
    return model.card.name
