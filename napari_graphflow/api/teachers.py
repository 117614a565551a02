"""Import a teacher from Python."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graphflow.config.run import MIN_TEACHER_DICE
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.evaluation.teachers import refuse_poor
from napari_graphflow.inference.teacher_check import removed_if_poor, score_saved
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.importing import ImportOptions
from napari_graphflow.models.importing import import_teacher as import_unscored
from napari_graphflow.models.saved import Model

if TYPE_CHECKING:
    from torch import nn


def import_teacher(
    source: "str | PathLike[str] | nn.Module",
    out: str | PathLike[str],
    options: ImportOptions | None = None,
    *,
    min_dice: float = MIN_TEACHER_DICE,
    device: str = "auto",
) -> Model | GivenTeacher:
    """Create a saved model from what another program trained, or from a network of your own.

    Parameters
    ----------
    source
        The results folder of nnU-Net v2, a MONAI bundle, a folder of predictions, a network as
        ONNX, OpenVINO, TorchScript or `torch.export`, or a checkpoint that a card describes; or a
        network itself, with ``ImportOptions(card={...})``. Unless this card names a network that
        can be built by its name, it is saved as it computes: its answers alone, without feature
        maps, on the CPU.
    out
        Folder of the new model; must not exist.
    options
        What is chosen. With a dataset, the model gets its classes and is scored on it.
    min_dice
        Smallest mean Dice on this dataset with which the model is kept; 0 keeps every model.
    device
        Where it is scored.

    Raises
    ------
    UserError
        If `source` is nothing that can be imported, `out` exists, or the model is poor; names the
        likely cause.
    """
    options = options or ImportOptions()
    given = Path(source) if isinstance(source, (str, PathLike)) else source
    model = import_unscored(given, Path(out), options)
    if options.dataset is None:
        return model
    chosen = options.dataset
    dataset = chosen if isinstance(chosen, Dataset) else Dataset.open(Path(chosen))
    with removed_if_poor(model.folder, "To keep it: min_dice=0."):
        scores = score_saved(model.card, model.folder, dataset, min_dice, device)
        refuse_poor(model.card.name, scores, min_dice)
    return model
