"""A teacher without a network: answers of any program for the cases of one dataset."""

from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.dataset.answers import Answers, ReadsAnswers
from napari_graphflow.models.saved import Model, load_model


@dataclass(frozen=True)
class GivenTeacher:
    """Answers with a card; they are cut like the images of their cases."""

    card: ModelCard
    folder: Path
    answers: ReadsAnswers
    module: None = None


def load_teacher(folder: Path) -> Model | GivenTeacher:
    """Load a saved model, or the answers in place of one.

    Raises
    ------
    UserError
        If the folder is neither.
    """
    card = read_model_card(folder)
    if card.is_predictions:
        return GivenTeacher(card, Path(folder), Answers.open(Path(folder)))
    return load_model(folder)
