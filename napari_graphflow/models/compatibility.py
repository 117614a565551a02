"""Check that a model is compatible with an image or a dataset."""

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume


def check_fits(volume: Volume, card: ModelCard) -> None:
    """Check that an image has the channels and axes that a model requires.

    Raises
    ------
    UserError
        If the number of channels differs, or a 3D model is given a 2D image.
    """
    found = volume.array.shape[-1] if volume.channels else 1
    if found != card.in_channels:
        raise UserError(
            f"The model {card.name} requires images with {card.in_channels} "
            f"channel{'s' * (card.in_channels > 1)}, but this image has {found}.",
            "Choose another model or another image.",
        )
    if volume.ndim < card.dims:
        raise UserError(
            f"The model {card.name} requires 3D volumes, but this image is 2D.",
            "Choose a 2D model.",
        )


def check_classes(card: ModelCard, dataset: Dataset, role: str = "model") -> None:
    """Check that a model and a dataset have the same classes; `role` names the model in errors.

    Raises
    ------
    UserError
        If the names or label values of the classes differ.
    """
    if card.classes != dataset.classes:
        raise UserError(
            f"The {role} {card.name} has the classes {', '.join(card.classes)}, but the dataset "
            f"{dataset.name} has {', '.join(dataset.classes)}.",
            f"Choose a {role} that was trained on these classes.",
        )
