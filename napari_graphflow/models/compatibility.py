"""Whether a model fits an image, and whether its classes are those of a dataset."""

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume


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


def check_classes(card: ModelCard, dataset: Dataset, role: str = "model") -> None:
    """Refuse a model of other classes than a dataset's; `role` names it in the message.

    Raises
    ------
    UserError
        If names, order or number of the classes differ.
    """
    if card.classes != dataset.classes:
        raise UserError(
            f"The {role} {card.name} knows the classes {', '.join(card.classes)}, but the dataset "
            f"{dataset.name} has {', '.join(dataset.classes)}.",
            f"Choose a {role} that was trained on these classes.",
        )
