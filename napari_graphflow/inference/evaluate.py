"""Score a model or a folder of masks on a split."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.config.prediction import DEFAULTS, PredictionOptions
from napari_graphflow.dataset.cases import Case, Dataset, Split
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.dataset.sites import FILE
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.metrics import summarise
from napari_graphflow.evaluation.predictions import Predictions
from napari_graphflow.evaluation.scores import Organs, Predict, Scores, evaluate
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel, segment
from napari_graphflow.inference.site_check import Codes, read_quantiles


def evaluate_split(
    folder: Path,
    split: str = "test",
    *,
    model: Path | None = None,
    predictions: Path | None = None,
    fold: int = 0,
    sites: Sequence[str] = (),
    device: str = "auto",
    organs: Organs | None = None,
    lesions: Sequence[str] = (),
    match_intensities: bool = False,
    options: PredictionOptions = DEFAULTS,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a saved model, or a folder of masks named after the cases, on a split of a dataset.

    Parameters
    ----------
    folder
        Folder of the dataset.
    split
        ``train``, ``val`` or ``test``; its labelled cases are scored, and of sites that were no
        source of the model all labelled cases.
    model, predictions
        Exactly one of the two.
    fold
        Fold of nnU-Net's ``splits_final.json``, where the dataset has one.
    sites
        Sites to score, by ``sites.csv``; all by default.
    device
        Device of the model.
    organs
        Additional structures that combine several classes, such as a liver with its lesions.
    lesions
        Classes that are also scored lesion by lesion (connected components).
    match_intensities
        Whether to map the intensities of each image to those the model learnt from.
    options
        Whether the model mirrors, and keeps only the largest parts.
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
        ``sites``, if known: site -> ``role`` (``source``, ``target`` or empty), number of
        ``cases`` and ``summary``;
        ``warnings``: each warning of reading and segmenting -> names of the cases;
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
    sources = _sources(model)
    cases = _chosen(dataset, cast(Split, split), sites, sources)
    if not cases:
        raise UserError(
            f"The split {split} of {dataset.name} has no labelled case.", "Choose another split."
        )
    if model is not None:
        loaded = load_for_inference(model, device)
        check_classes(loaded.card, dataset)
        options.mirror_axes(loaded.card)
        match = read_quantiles(model) if match_intensities else None
        warnings: dict[str, list[str]] = {}
        predict: Predict = _from_model(loaded, match, options, warnings)
        notes = _applied(loaded.card, options)
        title = loaded.card.name
    else:
        assert predictions is not None
        predict = masks = Predictions(predictions, dataset, cases)
        notes, title, warnings = masks.notes, predictions.name, masks.warnings
    scored = evaluate(dataset, cases, predict, progress, organs=organs, lesions=lesions)
    scored |= _by_site(scored, cases, sources, dataset.classes)
    scored["warnings"] |= warnings
    said = [one.text for one in dataset.findings] + notes
    return {"dataset": dataset.name, "split": split, "scored": title, "notes": said, **scored}


def _applied(card: ModelCard, options: PredictionOptions) -> list[str]:
    """Return in words what is done besides the network."""
    notes = []
    if kept := options.kept(card):
        notes.append(f"Only the largest part is kept of {', '.join(kept)}.")
    if options.mirror_axes(card):
        notes.append("Each window is also segmented mirrored.")
    return notes


def _sources(model: Path | None) -> tuple[str, ...]:
    """Return the source sites of a model, if it was trained on some of several sites."""
    made = None if model is None else read_model_card(model).provenance
    return made.run.sources if made is not None and made.run is not None else ()


def _chosen(
    dataset: Dataset, split: Split, sites: Sequence[str], sources: Sequence[str]
) -> list[Case]:
    """Return the labelled cases to score: of targets all, because none was used for training."""
    known = {case.site for case in dataset.cases if case.site}
    if unknown := [site for site in sites if site not in known]:
        raise UserError(
            f"{unknown[0]!r} is not a site of {dataset.name}.",
            f"Its sites are {', '.join(sorted(known))}." if known else f"Write {FILE}.",
        )

    def scored(case: Case) -> bool:
        target = bool(sources) and bool(case.site) and case.site not in sources
        return case.label is not None and (target or case.split == split)

    return [case for case in dataset.cases if scored(case) and (not sites or case.site in sites)]


def _by_site(
    scored: Scores, cases: Sequence[Case], sources: Sequence[str], classes: Collection[str]
) -> Scores:
    """Return the scores of the classes for each site, if sites are known."""
    names: dict[str, list[str]] = {}
    for case in cases:
        if case.site:
            names.setdefault(case.site, []).append(case.name)
    roles = {True: "source", False: "target"}
    found = {
        site: {
            "role": roles[site in sources] if sources else "",
            "cases": len(some),
            "summary": summarise({name: _only(scored["cases"][name], classes) for name in some}),
        }
        for site, some in sorted(names.items())
    }
    return {"sites": found} if found else {}


def _only(case: dict[str, Any], classes: Collection[str]) -> dict[str, Any]:
    return {name: metrics for name, metrics in case.items() if name in classes}


def _from_model(
    model: LoadedModel,
    match: Codes | None,
    options: PredictionOptions,
    warnings: dict[str, list[str]],
) -> Predict:
    def predict(case: Case, image: Volume) -> NDArray[np.integer]:
        found = segment(model, image, match=match, options=options)
        for text in found.warnings:
            warnings.setdefault(text, []).append(case.name)
        return found.labels.array

    return predict
