"""``networks`` and ``models``: available networks and saved models."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.options import DatasetFolder, Device, Flag, Json
from napari_graphflow.cli.terminal import console, output, print_json, progress_bar
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.networks import NETWORKS, PARAMETERS
from napari_graphflow.config.openvino_form import read_form
from napari_graphflow.config.run import MIN_TEACHER_DICE
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.teachers import refuse_poor
from napari_graphflow.system.destinations import require_writable
from napari_graphflow.system.events import TeacherScored
from napari_graphflow.system.failures import explain
from napari_graphflow.system.folders import models_root

if TYPE_CHECKING:
    from napari_graphflow.inference.predict import LoadedModel

models = App(name="models", help="Saved models.")


def networks(*, macs: Flag = False, json: Json = False) -> None:
    """List the available networks with their parameter counts in 2D and 3D.

    Parameters
    ----------
    macs
        Also count the multiply-adds for a 2D image of 256 x 256 pixels.
    """
    rows: dict[str, dict[str, Any]] = {
        name: {**info._asdict(), "parameters": PARAMETERS.get(name, {})}
        for name, info in NETWORKS.items()
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
        counts = [row["parameters"].get(dims) for dims in (2, 3)]
        millions = ["" if count is None else f"{count / 1e6:.2f} M" for count in counts]
        cost = [f"{row['macs'] / 1e9:.2f} G"] if macs else []
        table.add_row(name, row["role"], *millions, *cost, row["text"])
    output.print(table)


@models.command(name="import")
def import_model(
    weights: Path,
    card: Path,
    out: Path,
    *,
    dataset: Path | None = None,
) -> None:
    """Create a saved model from a checkpoint of any network and a card that describes it.

    Parameters
    ----------
    weights
        A safetensors file, or a .pt file that contains only tensors.
    card
        JSON file in the format of model.json: name, role (teacher), network (such as
        monai:DynUNet), arguments, dims (2 or 3), in_channels, classes ({"background": 0, ...}),
        patch_size, taps, and preprocessing with orientation (LPS, RAS, ... or stored), axes (order
        of z, y, x, or the numbers of transpose_forward), spacing, intensity (mean_std with mean
        and std; zscore, percentile, ct_window, range, none), clip (lower and upper bound) and
        percentiles (0 100 clips nothing), each per channel if there are several. divisor is the
        number of which each side must be a multiple; "windows": "even" cuts windows as nnU-Net
        does.
    out
        Folder of the new model; must not exist.
    dataset
        Folder of a dataset on which the model is scored at once, as by ``models check``.
    """
    from napari_graphflow.models.saved import import_model as import_weights

    require_writable([out])
    if out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    model = import_weights(weights, read_config(ModelCard, card), out)
    output.print(f"{model.card.name}: {model.card.parameters / 1e6:.2f} M parameters in {out}")
    if dataset is None:
        command = f"napari-graphflow models check {out} --dataset DATASET"
        console.print(f"Score it before it teaches: {command}", soft_wrap=True)
        return
    from napari_graphflow.inference.loading import in_torch

    scores = _scored(in_torch(model), dataset)
    output.print(str(scores), soft_wrap=True)
    try:
        refuse_poor(model.card.name, scores, MIN_TEACHER_DICE)
    except UserError as error:
        console.print(f"warning: {error}", style="yellow", soft_wrap=True)


@models.command
def convert(folders: tuple[Path, ...], /, *, json: Json = False) -> None:
    """Write the OpenVINO form of saved models, with which they run faster on a CPU.

    A finished job converts its model itself; this is for models from elsewhere and for teachers.
    A form that computes something else than PyTorch is not written.

    Parameters
    ----------
    folders
        Folders of saved models.
    """
    from napari_graphflow.models.openvino_form import convert as convert_model
    from napari_graphflow.models.saved import load_model

    require_writable(folder / "form" for folder in folders)
    rows = []
    for folder in folders:
        parity = convert_model(load_model(folder)).parity
        rows.append({"model": str(folder), **parity.model_dump()})
        if not json:
            output.print(
                f"{folder}: {parity.openvino_seconds:.3g} s a window instead of "
                f"{parity.torch_seconds:.3g} s in PyTorch, {parity.equal_labels:.3%} equal labels",
                soft_wrap=True,
            )
    if json:
        print_json(rows)


@models.command(name="list")
def list_models(folder: Path | None = None, /, *, json: Json = False) -> None:
    """List the saved models in a folder, with the measured seconds of their engines.

    Parameters
    ----------
    folder
        Folder that holds the folders of models; by default that of this user.
    """
    root = folder or models_root()
    if folder is not None and not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    found: list[dict[str, Any]] = []
    for path in sorted(root.glob("*/model.json")):
        try:
            card, form = read_model_card(path.parent), read_form(path.parent)
        except (UserError, OSError) as error:
            found.append({"name": path.parent.name, "problem": explain(error).text})
            continue
        found.append(
            {
                "name": path.parent.name,
                "role": card.role_text,
                "network": card.network,
                "dims": card.dims,
                "parameters": card.parameters,
                "engine": "OpenVINO" if form else "PyTorch",
                "seconds": form and form.parity.openvino_seconds,
                "torch_seconds": form and form.parity.torch_seconds,
            }
        )
    if json:
        print_json(found)
        return
    table = Table(
        "name", "role", "network", "axes", "parameters", "on a CPU", "s a window", "in PyTorch",
        box=None,
    )  # fmt: skip
    for row in found:
        if "problem" in row:
            continue
        seconds = [f"{row[key]:.3g}" if row[key] else "" for key in ("seconds", "torch_seconds")]
        millions = f"{row['parameters'] / 1e6:.2f} M"
        table.add_row(
            row["name"], row["role"], row["network"], f"{row['dims']}D", millions, row["engine"],
            *seconds,
        )  # fmt: skip
    output.print(table)
    for row in found:
        if "problem" in row:
            console.print(f"{row['name']}: {row['problem']}", style="yellow", soft_wrap=True)


@models.command
def check(
    model: Path,
    *,
    dataset: DatasetFolder,
    min_dice: float = MIN_TEACHER_DICE,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Score a model on validation cases of a dataset before it teaches; exit code 1 if it is poor.

    A low score of a good network means that its card states another orientation, order of axes or
    scaling than it was trained with.

    Parameters
    ----------
    model
        Folder of a saved model.
    min_dice
        Smallest mean Dice with which the exit code is 0.
    """
    from napari_graphflow.inference.loading import load_for_inference

    scores = _scored(load_for_inference(model, device), dataset)
    if json:
        print_json(scores.model_dump(exclude={"t", "event"}))
    else:
        output.print(str(scores), soft_wrap=True)
    try:
        refuse_poor(model.name, scores, min_dice)
    except UserError as error:
        console.print(str(error), style="yellow", soft_wrap=True)
        return 1
    return 0


@models.command
def describe(model: Path, *, dataset: DatasetFolder, device: Device = "auto") -> None:
    """Save with a model how it describes the training and validation images of a dataset.

    ``segment`` then says whether new images are like those. Students of the method generalisable
    have this already.

    Parameters
    ----------
    model
        Folder of a saved model.
    """
    from napari_graphflow.inference.describing import describe_dataset

    require_writable([model / "description"])
    with progress_bar() as bar:
        task = bar.add_task("describing the images", total=None)
        count = describe_dataset(
            model,
            dataset,
            device,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    output.print(f"{count} images of {dataset} are described in {model}.", soft_wrap=True)


def _scored(model: "LoadedModel", folder: Path) -> TeacherScored:
    from napari_graphflow.inference.teacher_score import score_teacher

    dataset = Dataset.open(folder)
    check_classes(model.card, dataset)
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=None)
        steps = score_teacher(model, dataset)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                scores: TeacherScored = end.value
                return scores
            bar.update(task, completed=step.step, total=step.total)
