"""``export``: a saved model as a folder that others can run."""

from pathlib import Path

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import Json
from napari_graphflow.cli.terminal import console, output, print_json, progress_bar
from napari_graphflow.config.exports import Kind
from napari_graphflow.system.failures import Failure

#: Exit code if the export computes something else than the model.
DIFFERS = 3


def export(
    model: Path,
    *,
    to: Kind,
    out: Path,
    cases: tuple[Path, ...] = (),
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Export a model to a folder that runs without this program, and compare both.

    The folder has a script that needs numpy, SimpleITK and the runtime of the format only. If it
    computes something else than the model, nothing is written, and the exit code is 3.

    Parameters
    ----------
    model
        Folder of a saved model.
    to
        Format.
    out
        Folder of the export; must not exist.
    cases
        Images on which the export is compared with PyTorch; by default, two are generated.
    """
    from napari_graphflow.export.folder import ParityError, export_model

    with progress_bar() as bar:
        task = bar.add_task("loading the model", total=None)
        try:
            parity = export_model(
                model, to, out, cases, lambda step: bar.update(task, description=step)
            )
        except ParityError as error:
            if json:
                failure = Failure(code="differs", text=str(error), exit_code=DIFFERS)
                print_json({"failure": failure.model_dump()})
            console.print(f"error: {error}", style="red", soft_wrap=True)
            return DIFFERS
    if json:
        print_json(parity.model_dump())
    else:
        output.print(f"{out}: {parity}", soft_wrap=True)
    return 0
