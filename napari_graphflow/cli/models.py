"""``networks`` and ``models``: available networks and saved models."""

from itertools import count
from pathlib import Path
from typing import Any

from cyclopts import App
from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import DatasetFolder, Device, Flag, Json
from napari_graphflow.cli.terminal import console, output, print_json, progress_bar
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.networks import NETWORKS, PARAMETERS
from napari_graphflow.config.openvino_form import read_form
from napari_graphflow.config.run import MIN_TEACHER_DICE
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.teachers import refuse_poor
from napari_graphflow.system.destinations import require_writable
from napari_graphflow.system.events import TeacherScored
from napari_graphflow.system.failures import explain
from napari_graphflow.system.folders import models_root

#: Mean Dice below which a cause is looked for, although the model is good enough to teach.
_WEAK = 0.7
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
    path: Path,
    /,
    *,
    out: Path | None = None,
    card: Path | None = None,
    name: str = "",
    classes: tuple[str, ...] = (),
    dataset: Path | None = None,
    fold: tuple[str, ...] = (),
    configuration: str = "",
    mirror: Flag = False,
    trust: Flag = False,
    licence: str = "",
    source: str = "",
    force: Flag = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Create a saved model from what another program trained.

    PATH is a results folder of nnU-Net v2 (with plans.json and dataset.json), a MONAI bundle, a
    folder of masks made by any program for the cases of --dataset (a mask per case, or a folder per
    case with a mask per structure), a network as ONNX or OpenVINO with its card beside it
    (NAME.json), or a checkpoint of any network that --card describes. Nothing in it is run.

    Parameters
    ----------
    path
        What was trained; with --card a safetensors file, or a .pt file that contains only tensors.
    out
        Folder of the new model; must not exist. Default: a folder in that of this user's models.
    card
        JSON file in the format of model.json: name, role (teacher), network (such as
        monai:DynUNet), arguments, dims (2 or 3), in_channels, classes ({"background": 0, ...}),
        patch_size, taps, and preprocessing with orientation (LPS, RAS, ... or stored), axes (order
        of z, y, x, or the numbers of transpose_forward), spacing, intensity (mean_std with mean
        and std; zscore, percentile, ct_window, range, none), clip (lower and upper bound) and
        percentiles (0 100 clips nothing), each per channel if there are several. divisor is the
        number of which each side must be a multiple; "windows": "even" cuts windows as nnU-Net
        does.
    name
        Name of the model; by default what the other program calls it.
    classes
        The classes of the model from those of what was trained, such as lung=lung_left,lung_right
        (several to one), liver (the same name) or spleen= (none). Upper and lower case are the
        same; what is not named is background. Default: the same classes, or those of --dataset.
    dataset
        Folder of a dataset whose classes the model gets, and on which it is scored at once, as by
        ``models check``. A poor model is removed again. Masks are of its cases.
    fold
        Folds of nnU-Net to use, such as 0 or all; several become an ensemble. Default: all that
        are finished.
    configuration
        Configuration of nnU-Net, such as 2d or 3d_fullres. Default: that of the training.
    mirror
        Also mirror each window, as nnUNetv2_predict does unless told not to; 4 times as slow in
        2D, 8 times in 3D.
    trust
        Open TorchScript (.pt, .ts) and torch.export (.pt2) files. They are programs of PyTorch,
        which can do anything when they are opened: only if you trust who made them.
    licence
        Licence under which the model may be used.
    source
        Where the model comes from.
    force
        Keep a model that is poor on the dataset.
    """
    from napari_graphflow.inference.teacher_check import removed_if_poor
    from napari_graphflow.models.importing import ImportOptions, import_teacher
    from napari_graphflow.models.importing.classes import read_table

    opened = None if dataset is None else Dataset.open(dataset)
    options = ImportOptions(
        name=name,
        licence=licence,
        source=source,
        card=card,
        classes=read_table(classes) if classes else None,
        dataset=opened,
        folds=fold,
        configuration=configuration,
        mirror=mirror,
        trust=trust,
    )
    target = out or _free_folder(name or path.resolve().stem)
    require_writable([target])
    model = import_teacher(path, target, options)
    found, folder = model.card, model.folder
    result = {"name": found.name, "model": str(folder), "parameters": found.parameters}
    if not json:
        size = f"{found.parameters / 1e6:.2f} M parameters"
        size = "predictions" if found.is_predictions else size
        output.print(f"{found.name}: {size} in {folder}", soft_wrap=True)
    if dataset is None:
        command = f"napari-graphflow models check {folder} --dataset DATASET"
        console.print(f"Score it before it teaches: {command}", soft_wrap=True)
        if json:
            print_json(result)
        return 0
    bound = 0.0 if force else MIN_TEACHER_DICE
    with removed_if_poor(folder, "To keep it: --force."):
        scores = _scored(found, folder, dataset, bound)
        if not json:
            output.print(str(scores), soft_wrap=True)
        refuse_poor(found.name, scores, bound)
    _say_cause(scores)
    if json:
        print_json(result | {"dice": scores.dice, "mean": scores.mean})
    return 0


def _free_folder(name: str) -> Path:
    """Return a folder among the models of this user that does not exist."""
    root = models_root()
    names = (name if n == 1 else f"{name}-{n}" for n in count(1))
    return next(root / one for one in names if not (root / one).exists())


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
                "kind": card.kind,
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
    if not found:
        output.print(
            f"No models in {root}. To list those of another folder, name it: "
            "napari-graphflow models list FOLDER",
            soft_wrap=True,
        )
        return
    table = Table(
        "name", "role", "kind", "network", "axes", "parameters", "on a CPU", "s a window",
        "in PyTorch", box=None,
    )  # fmt: skip
    for row in found:
        if "problem" in row:
            continue
        seconds = [f"{row[key]:.3g}" if row[key] else "" for key in ("seconds", "torch_seconds")]
        millions = f"{row['parameters'] / 1e6:.2f} M"
        table.add_row(
            row["name"], row["role"], row["kind"], row["network"], f"{row['dims']}D", millions,
            row["engine"], *seconds,
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
    config_file: ConfigFile = None,
    json: Json = False,
) -> int:
    """Score a model on validation cases of a dataset before it teaches; exit code 1 if it is poor.

    A low score of a good network means that its card states another orientation, order of axes or
    scaling than it was trained with: below 0.7, others are compared on one case, and a better one
    is named.

    Parameters
    ----------
    model
        Folder of a saved model.
    min_dice
        Smallest mean Dice with which the exit code is 0.
    """
    card = read_model_card(model)
    scores = _scored(card, model, dataset, min_dice, device)
    if json:
        print_json(scores.model_dump(exclude={"t", "event"}))
    else:
        output.print(str(scores), soft_wrap=True)
    try:
        refuse_poor(model.name, scores, min_dice)
    except UserError as error:
        console.print(str(error), style="yellow", soft_wrap=True)
        return 1
    _say_cause(scores)
    return 0


def _say_cause(scores: TeacherScored) -> None:
    """Say with which settings a model that is good enough would be better."""
    if scores.cause:
        console.print(scores.cause, style="yellow", soft_wrap=True)


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


def _scored(
    card: ModelCard, model: Path, folder: Path, bound: float, device: str = "auto"
) -> TeacherScored:
    """Score a model on a dataset, with the likely cause if it is poor."""
    from napari_graphflow.inference.teacher_check import score_saved

    with progress_bar() as bar:
        task = bar.add_task("scoring", total=None)
        return score_saved(
            card, model, Dataset.open(folder), bound and max(bound, _WEAK), device,
            lambda done, total: bar.update(task, total=total, completed=done),
        )  # fmt: skip
