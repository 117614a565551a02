"""Models made by other programs, as saved models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.errors import UserError
from napari_graphflow.models.importing.bundle import is_bundle, read_bundle
from napari_graphflow.models.importing.classes import map_classes
from napari_graphflow.models.importing.nnunet import is_nnunet, read_nnunet
from napari_graphflow.models.saved import Model, import_state, read_state


@dataclass(frozen=True)
class ImportOptions:
    """What is chosen when a model is imported.

    Attributes
    ----------
    name, licence, source
        Of the saved model; by default what the other program wrote.
    card
        Description of a checkpoint.
    classes, dataset_classes
        Table and classes as for `napari_graphflow.models.importing.classes.map_classes`.
    folds, configuration, mirror
        Of nnU-Net, see `napari_graphflow.models.importing.nnunet.read_nnunet`.
    """

    name: str = ""
    licence: str = ""
    source: str = ""
    card: ModelCard | None = None
    classes: Mapping[str, Sequence[str]] | None = None
    dataset_classes: Mapping[str, int] | None = None
    folds: tuple[str, ...] = ()
    configuration: str = ""
    mirror: bool = False


def import_teacher(path: Path, out: Path, options: ImportOptions | None = None) -> Model:
    """Create a saved model from what another program trained.

    Parameters
    ----------
    path
        The results folder of nnU-Net v2, a MONAI bundle, or a checkpoint that a card describes.
    out
        Folder of the new model; must not exist.
    options
        What is chosen.

    Raises
    ------
    UserError
        If `path` is nothing that can be imported, or `out` exists.
    """
    options = options or ImportOptions()
    if Path(out).exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the model.")
    card, state = _read(Path(path), options)
    return import_state(state, described(card, options), Path(out))


def _read(path: Path, options: ImportOptions) -> tuple[ModelCard, dict[str, Tensor]]:
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if options.card is not None:
        return options.card, read_state(path)
    if path.is_dir() and is_nnunet(path):
        return read_nnunet(path, options.folds, options.configuration, mirror=options.mirror)
    if path.is_dir() and is_bundle(path):
        return read_bundle(path)
    raise UserError(
        f"{path} is not a model that can be imported.",
        "Choose the results folder of nnU-Net v2 with plans.json, a MONAI bundle, or a checkpoint "
        "with --card.",
    )


def described(card: ModelCard, options: ImportOptions) -> ModelCard:
    """Return a card with the chosen name, classes, licence and source."""
    updates: dict[str, object] = {"name": options.name} if options.name else {}
    given = {"licence": options.licence, "source": options.source}
    purpose = card.purpose.model_copy(update={key: one for key, one in given.items() if one})
    updates["purpose"] = purpose
    if options.classes is not None or options.dataset_classes is not None:
        known = sorted(card.classes, key=card.classes.__getitem__)
        classes, mapping = map_classes(known, options.classes or {}, options.dataset_classes)
        updates |= {"classes": classes, "mapping": mapping}
    return ModelCard.model_validate(card.model_copy(update=updates).model_dump())
