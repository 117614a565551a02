"""Models made by other programs, as saved models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.mask_files import has_masks, is_nnunet_training
from napari_graphflow.errors import UserError
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.importing.bundle import is_bundle, read_bundle
from napari_graphflow.models.importing.classes import map_classes
from napari_graphflow.models.importing.files import refuse_large
from napari_graphflow.models.importing.graph import graph_card, import_graph, is_graph, valid_card
from napari_graphflow.models.importing.module import import_module, module_card
from napari_graphflow.models.importing.nnunet import read_nnunet, regions_inside
from napari_graphflow.models.importing.predictions import read_predictions
from napari_graphflow.models.saved import Model, import_state, read_state
from napari_graphflow.system.destinations import saying_what_stands
from napari_graphflow.system.files import replace_file


@dataclass(frozen=True)
class ImportOptions:
    """What is chosen when a model is imported.

    Attributes
    ----------
    name, licence, source
        Of the saved model; by default what the other program wrote.
    card
        Description of a checkpoint or of a network, its entries, or its file.
    classes
        Table as for `napari_graphflow.models.importing.classes.map_classes`.
    dataset
        Dataset whose classes the model gets; predictions are those of its cases.
    folds, configuration, mirror
        Of nnU-Net, see `napari_graphflow.models.importing.nnunet.read_nnunet`.
    trust
        Whether TorchScript and `torch.export` archives are opened, which may run code.
    """

    name: str = ""
    licence: str = ""
    source: str = ""
    card: ModelCard | Mapping[str, Any] | Path | None = None
    classes: Mapping[str, Sequence[str]] | None = None
    dataset: Dataset | Path | None = None
    folds: tuple[str, ...] = ()
    configuration: str = ""
    mirror: bool = False
    trust: bool = False


def import_teacher(
    source: Path | nn.Module, out: Path, options: ImportOptions | None = None
) -> Model | GivenTeacher:
    """Create a saved model from what another program trained.

    Parameters
    ----------
    source
        The results folder of nnU-Net v2, a MONAI bundle, a folder of predictions, a network as
        ONNX, OpenVINO, TorchScript or `torch.export`, or a checkpoint that a card describes; or a
        network itself, with a card. Unless its card names a network that can be built here, it is
        saved as it computes: its answers alone, without feature maps, on the CPU.
    out
        Folder of the new model; must not exist.
    options
        What is chosen.

    Raises
    ------
    UserError
        If `source` is nothing that can be imported, or `out` exists.
    """
    options = options or ImportOptions()
    if Path(out).exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    out = Path(out)
    if isinstance(source, nn.Module):
        with saying_what_stands(out, "Nothing was written."):
            return import_module(source, described(module_card(source, options.card), options), out)
    path = Path(source)
    with saying_what_stands(out, f"Nothing was written, and {path} is unchanged."):
        if options.card is None and _is_predictions(path):
            return _import_predictions(path, out, options)
        if is_graph(path):
            card = described(graph_card(path, options.card), options)
            return import_graph(path, card, out, trust=options.trust)
        card, state = _read(path, options)
        inside = regions_inside(path) if card.regions and options.card is None else {}
        return import_state(state, described(card, options, inside), out, source=path)


def _is_predictions(path: Path) -> bool:
    known = is_nnunet_training(path) or is_bundle(path)
    return path.is_dir() and not known and has_masks(path)


def _import_predictions(path: Path, out: Path, options: ImportOptions) -> GivenTeacher:
    dataset = _dataset(options)
    if dataset is None:
        raise UserError(
            f"{path} is a folder of masks, which are of the cases of a dataset.",
            "Name it with --dataset.",
        )
    teacher = read_predictions(path, out, dataset, options.classes or {}, options.name)
    card = replace(teacher, card=_with_source(teacher.card, options)).card
    replace_file(out / "model.json", card.model_dump_json(indent=2).encode())
    return replace(teacher, card=card)


def _dataset(options: ImportOptions) -> Dataset | None:
    given = options.dataset
    return Dataset.open(given) if isinstance(given, (str, Path)) else given


def _with_source(card: ModelCard, options: ImportOptions) -> ModelCard:
    given = {"licence": options.licence, "source": options.source}
    purpose = card.purpose.model_copy(update={key: one for key, one in given.items() if one})
    return card.model_copy(update={"purpose": purpose})


def _read(path: Path, options: ImportOptions) -> tuple[ModelCard, dict[str, Tensor]]:
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if options.card is not None:
        refuse_large(path)
        return _given_card(options.card, path), read_state(path)
    if path.is_dir() and is_nnunet_training(path):
        return read_nnunet(path, options.folds, options.configuration, mirror=options.mirror)
    if path.is_dir() and is_bundle(path):
        return read_bundle(path)
    raise UserError(
        f"{path} is not a model that can be imported.",
        "Choose the results folder of nnU-Net v2 with plans.json, a MONAI bundle, a folder of "
        "masks, or a checkpoint with --card.",
    )


def _given_card(given: ModelCard | Mapping[str, Any] | Path, path: Path) -> ModelCard:
    if isinstance(given, ModelCard):
        return given
    if isinstance(given, Mapping):
        return valid_card(given, path.stem, f"The card of {path.name} is not valid", "Correct it.")
    return read_config(ModelCard, Path(given))


def described(
    card: ModelCard, options: ImportOptions, inside: Mapping[str, Sequence[str]] | None = None
) -> ModelCard:
    """Return a card with the chosen name, classes, licence and source; see `map_classes`."""
    updates: dict[str, object] = {"name": options.name} if options.name else {}
    card, dataset = _with_source(card, options), _dataset(options)
    if options.classes is not None or dataset is not None:
        known = sorted(card.classes, key=card.classes.__getitem__)
        wanted = None if dataset is None else dataset.classes
        classes, mapping = map_classes(known, options.classes or {}, wanted, inside or {})
        same = classes if not mapping else {one for one in classes if mapping.get(one) == one}
        parts = tuple(one for one in card.largest_part if one in same)
        updates |= {"classes": classes, "mapping": mapping, "largest_part": parts}
    return ModelCard.model_validate(card.model_copy(update=updates).model_dump())
