"""Open what is compared: a saved model, a job with a model, or a folder of masks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import WEIGHTS, ModelCard
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Case, Dataset
from napari_graphflow.dataset.compatibility import check_classes
from napari_graphflow.evaluation.predictions import Predictions
from napari_graphflow.evaluation.study import Cost, Side, role_of
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.trained import model_folder, training_curve

Predict = Callable[[Case, Volume], NDArray[np.integer]]


@dataclass
class OpenSide:
    """What is compared, ready to give the mask of a case.

    Attributes
    ----------
    side
        Its description, without scores.
    predict
        Returns the mask of a case on the grid of its image.
    folder
        Folder of the model; None for masks.
    seconds
        Duration of each case.
    masks
        The folder of masks, for its notes.
    training, codes
        Codes (n, d) of the images a model learnt from, and the code (d,) of each case; None and
        empty if it knows none.
    """

    side: Side
    predict: Predict
    folder: Path | None = None
    seconds: list[float] = field(default_factory=list)
    masks: Predictions | None = None
    training: NDArray[np.float32] | None = None
    codes: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def open_side(
    path: Path,
    letter: str,
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    device: str = "auto",
    threads: int = 0,
) -> OpenSide:
    """Open a model or a folder of masks.

    Raises
    ------
    UserError
        If there is neither, the model does not fit the dataset, or a case has no mask.
    """
    folder = model_folder(path)
    if folder is None:
        masks = Predictions(path, dataset, cases)
        return OpenSide(Side(letter=letter, role="mask", name=path.name), masks, masks=masks)
    loaded = load_for_inference(folder, device, threads=threads or None)
    card = loaded.card
    check_classes(card, dataset)
    seconds: list[float] = []
    codes: dict[str, NDArray[np.float32]] = {}

    def predict(case: Case, image: Volume) -> NDArray[np.integer]:
        started = time.perf_counter()
        found = segment(loaded, image)
        seconds.append(time.perf_counter() - started)
        if found.code is not None:
            codes[case.name] = found.code
        return found.labels.array

    side = Side(
        letter=letter,
        role=role_of(card),
        name=card.name,
        cost=Cost(
            parameters=card.parameters or None,
            model_bytes=model_bytes(folder),
            device=loaded.engine.title,
        ),
        curve=training_curve(folder),
        facts=training_facts(card),
    )
    return OpenSide(side, predict, folder, seconds, training=loaded.source, codes=codes)


def training_facts(card: ModelCard) -> dict[str, str]:
    """Return how a model was trained, for reports."""
    made = card.provenance
    facts = {"network": card.network}
    if made is None:
        return facts
    run = made.run
    if isinstance(run, DistillationConfig):
        facts["method"] = METHODS[run.method.name].title
    if made.teacher is not None:
        facts["teacher"] = made.teacher.name
    facts |= {"masks": str(made.labelled_cases), "cases without a mask": str(made.unlabelled_cases)}
    if run is not None:
        facts |= {
            "steps": f"{run.steps:,}",
            "batch": str(run.batch_size),
            "patch": " x ".join(map(str, card.patch_size)),
            "learning rate": f"{run.learning_rate:g}",
            "augmentation": run.augmentation,
            "seed": str(run.seed),
        }
    return facts


def model_bytes(folder: Path) -> int | None:
    """Return the size of a model's weights; None if they are gone."""
    try:
        return (folder / WEIGHTS).stat().st_size
    except OSError:
        return None
