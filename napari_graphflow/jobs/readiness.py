"""Refuse a run that would fail later, before a job exists or an image is read."""

from napari_graphflow.config.methods import taps_of
from napari_graphflow.config.model_card import answers_whole_cases, read_model_card
from napari_graphflow.config.networks import require_network
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.answers import Answers
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import refuse_distillation
from napari_graphflow.errors import UserError


def check_run(config: TrainingConfig) -> None:
    """Check network, dataset and teacher of a run.

    Raises
    ------
    UserError
        If the network is unknown, the dataset or the teacher cannot be opened, or the teacher does
        not fit the dataset, the method or the student, or a self-training has no unlabelled case.
    """
    require_network(config.network)
    dataset = Dataset.of_run(config)
    if isinstance(config, DistillationConfig):
        card = read_model_card(config.teacher)
        whole = answers_whole_cases(card, config)
        about = (config.method.name, config.network, config.dims, *taps_of(config.method))
        refuse_distillation(card, dataset, *about, whole=whole)
        if card.is_predictions:
            scored = dataset.labelled("val") if config.teacher_min_dice else []
            unlabelled = dataset.unlabelled("train") if config.unlabelled else []
            needed = [*dataset.labelled("train"), *unlabelled, *scored]
            Answers.open(config.teacher).require(case.name for case in needed)
    elif config.self_training != "none":
        labelled = len(dataset.labelled("train"))
        hidden = max(0, labelled - (config.labelled or labelled))
        if not hidden + len(dataset.unlabelled("train")):
            raise UserError(
                f"Self-training needs cases without a mask, but {dataset.name} has none.",
                "Add images without a mask to it, or set self_training to none.",
            )
