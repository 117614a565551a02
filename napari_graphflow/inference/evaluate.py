"""Score a model or a folder of masks on a split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

from napari_graphflow.dataset.cases import Dataset, Split
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.scores import Organs, Predict, Scores, _from_folder, evaluate
from napari_graphflow.inference.predict import segment
from napari_graphflow.models.compatibility import check_classes
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.models.saved import Model, load_model


def evaluate_split(
    folder: Path,
    split: str = "test",
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    device: str = "auto",
    organs: Organs | None = None,
    lesions: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a saved model, or a folder of masks named after the cases, on a split of a dataset.

    Parameters
    ----------
    folder
        Folder of the dataset.
    split
        ``train``, ``val`` or ``test``; its labelled cases are scored.
    model, predictions
        Exactly one of them.
    device
        Where the model runs.
    organs
        Structures of several classes that are scored besides, such as a liver with its lesions.
    lesions
        Classes whose connected components are scored one by one.
    progress
        Called with the cases done and their total.

    Returns
    -------
    dict
        ``cases``: name -> class or organ -> metrics; ``summary``: see
        :func:`napari_graphflow.evaluation.metrics.summarise`, with organs left out of its mean
        over classes;
        ``lesions``, if asked for: class -> ``cases``, as
        :func:`napari_graphflow.evaluation.lesions.lesion_scores` gives them, and their
        ``summary``; and what
        was scored on what.

    Raises
    ------
    UserError
        If the split has no labelled case, a mask is missing or of another size, or the model was
        made for other images or classes.
    """
    if (model is None) == (predictions is None):
        raise UserError("Either a model or a folder of predictions is scored.", "Give one of them.")
    dataset = Dataset.open(folder)
    if split not in get_args(Split):
        raise UserError(f"There is no split {split}.", "Choose train, val or test.")
    cases = dataset.labelled(cast(Split, split))
    if not cases:
        raise UserError(
            f"The split {split} of {dataset.name} has no labelled case.", "Choose another split."
        )
    if model is not None:
        loaded = load_model(model, resolve_device(device))
        check_classes(loaded.card, dataset)
        predict = _from_model(loaded)
        title = loaded.card.name
    else:
        assert predictions is not None
        predict = _from_folder(predictions, dataset)
        title = predictions.name
    scored = evaluate(dataset, cases, predict, progress, organs=organs, lesions=lesions)
    return {"dataset": dataset.name, "split": split, "scored": title, **scored}


def _from_model(model: Model) -> Predict:
    return lambda case, image: segment(model, image).labels.array
