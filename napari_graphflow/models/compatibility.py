"""Whether a model fits an image, and whether its classes are those of a dataset."""

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.models.saved import Model


def _check_classes(model: Model, dataset: Dataset) -> None:
    if model.card.classes != dataset.classes:
        raise UserError(
            f"The model {model.card.name} knows {', '.join(model.card.classes)}, but the dataset "
            f"{dataset.name} has {', '.join(dataset.classes)}.",
            "Choose a model that was trained on these classes.",
        )


def check_fits(volume: Volume, card: ModelCard) -> None:
    """Refuse an image that a model was not made for.

    Raises
    ------
    UserError
        If the number of channels or of axes differs.
    """
    found = volume.array.shape[-1] if volume.channels else 1
    if found != card.in_channels:
        raise UserError(
            f"The model {card.name} was made for images of {card.in_channels} "
            f"channel{'s' * (card.in_channels > 1)}, but this image has {found}.",
            "Choose another model or another image.",
        )
    if volume.ndim < card.dims:
        raise UserError(
            f"The model {card.name} was made for volumes, but this image is a 2D picture.",
            "Choose a 2D model.",
        )


def check_classes(card: ModelCard, dataset: Dataset) -> None:
    """Refuse a teacher of other classes."""
    if card.classes != dataset.classes:
        raise UserError(
            f"The teacher {card.name} knows the classes {', '.join(card.classes)}, but the dataset "
            f"{dataset.name} has {', '.join(dataset.classes)}.",
            "Choose a teacher that was trained on these classes.",
        )
