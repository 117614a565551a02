"""Score a model or a folder of masks on a split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

from napari_graphflow.dataset.cases import Dataset, Split
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.predictions import Predictions
from napari_graphflow.evaluation.scores import Organs, Predict, Scores, evaluate
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel, segment


def evaluate_split(
    folder: Path,
    split: str = "test",
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    fold: int = 0,
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
        Exactly one of the two.
    fold
        Fold of nnU-Net's ``splits_final.json``, where the dataset has one.
    device
        Device of the model.
    organs
        Additional structures that combine several classes, such as a liver with its lesions.
    lesions
        Classes that are also scored lesion by lesion (connected components).
    progress
        Called with the number of finished cases and their total.

    Returns
    -------
    dict
        ``cases``: name -> class or organ -> metrics; ``summary``: see
        :func:`napari_graphflow.evaluation.metrics.summarise`, with organs excluded from its mean
        over classes;
        ``lesions``, if requested: class -> ``cases``, as returned by
        :func:`napari_graphflow.evaluation.lesions.lesion_scores`, and their ``summary``;
        ``dataset``, ``split``, ``scored`` (name of the model or folder) and ``notes``: sentences on
        the split and on what was left out.

    Raises
    ------
    UserError
        If the split has no labelled case, a mask is missing or has another size, or the model does
        not fit the images or classes.
    """
    if (model is None) == (predictions is None):
        raise UserError(
            "Exactly one of model and predictions is needed.",
            "Choose a model or a folder of predictions.",
        )
    dataset = Dataset.open(folder, fold=fold)
    if split not in get_args(Split):
        raise UserError(f"{split!r} is not a valid split.", "Choose train, val or test.")
    cases = dataset.labelled(cast(Split, split))
    if not cases:
        raise UserError(
            f"The split {split} of {dataset.name} has no labelled case.", "Choose another split."
        )
    if model is not None:
        loaded = load_for_inference(model, device)
        check_classes(loaded.card, dataset)
        predict: Predict = _from_model(loaded)
        notes: list[str] = []
        title = loaded.card.name
    else:
        assert predictions is not None
        predict = masks = Predictions(predictions, dataset, cases)
        notes, title = masks.notes, predictions.name
    scored = evaluate(dataset, cases, predict, progress, organs=organs, lesions=lesions)
    said = [one.text for one in dataset.findings] + notes
    return {"dataset": dataset.name, "split": split, "scored": title, "notes": said, **scored}


def _from_model(model: LoadedModel) -> Predict:
    return lambda case, image: segment(model, image).labels.array
