"""Apply a model from Python: load it, segment images and arrays, score it on a dataset."""

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.prediction import PredictionOptions
from napari_graphflow.dataset.compatibility import cautions, image_facts, refuse_unfit
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.scores import Scores
from napari_graphflow.imaging.files import read_volume, write_labels
from napari_graphflow.imaging.paths import refuse_overwriting
from napari_graphflow.imaging.volume import Volume, as_volume
from napari_graphflow.inference.evaluate import evaluate_split
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import LoadedModel
from napari_graphflow.inference.predict import segment as segment_volume

Pathlike = str | PathLike[str]
AnyModel = LoadedModel | Pathlike


def load_model(folder: Pathlike, device: str = "auto") -> LoadedModel:
    """Load a saved model, ready to segment.

    Parameters
    ----------
    folder
        Folder of the model.
    device
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:1``. On a CPU the OpenVINO form of the model
        is used where it has one.

    Returns
    -------
    LoadedModel
        Its ``card`` says what it is for: classes, channels, dimensions, spacing.

    Raises
    ------
    UserError
        If the folder is not a saved model, or the device is not available.
    """
    return load_for_inference(Path(folder), device)


@overload
def segment(
    model: AnyModel,
    image: NDArray[Any],
    *,
    spacing: Sequence[float] | None = None,
    orientation: str = "LPS",
    mirror: bool | None = None,
    postprocess: bool = True,
    out: Pathlike | None = None,
    overwrite: bool = False,
) -> NDArray[Any]: ...


@overload
def segment(
    model: AnyModel,
    image: Volume | Pathlike,
    *,
    spacing: None = None,
    orientation: str = "LPS",
    mirror: bool | None = None,
    postprocess: bool = True,
    out: Pathlike | None = None,
    overwrite: bool = False,
) -> Volume: ...


def segment(
    model: AnyModel,
    image: NDArray[Any] | Volume | Pathlike,
    *,
    spacing: Sequence[float] | None = None,
    orientation: str = "LPS",
    mirror: bool | None = None,
    postprocess: bool = True,
    out: Pathlike | None = None,
    overwrite: bool = False,
) -> NDArray[Any] | Volume:
    """Segment an image; the mask lies on the image's own grid.

    Parameters
    ----------
    model
        A loaded model, or the folder of one.
    image
        A volume of :func:`read_volume`, the path of a file, or an array (z, y, x) or (y, x), with
        the channels last if there are several.
    spacing
        Voxel size of an array in mm, in the order of its axes. An array of three axes needs it.
    orientation
        Directions of increasing x, y and z of an array, such as LPS for x to the patient's left, y
        to the back and z to the head.
    mirror
        Whether each window is also segmented mirrored, along the axes along which training images
        were mirrored. None does what the model's card says.
    postprocess
        Whether only the largest part is kept of ``model.card.largest_part``.
    out
        File to which the mask is also written, with the geometry of the image and the class names.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    mask
        Class indices as in ``model.card.classes``: an array for an array, otherwise a volume.

    Raises
    ------
    UserError
        If the image does not fit the model, an array has no spacing, or the file exists.

    Warns
    -----
    UserWarning
        If the result may be wrong, such as for voxels of another size than the model was trained
        on.
    """
    model = model if isinstance(model, LoadedModel) else load_model(model)
    if out is not None:
        refuse_overwriting([Path(out)], overwrite=overwrite)
    volume = _volume(image, model.card.dims, model.card.in_channels, spacing, orientation)
    facts = image_facts(volume)
    refuse_unfit(model.card, facts)
    options = PredictionOptions(mirror=mirror, postprocess=postprocess)
    found = segment_volume(model, volume, options=options)
    mask = found.labels
    for text in (*volume.warnings, *found.warnings, *cautions(model.card, facts, mask.array)):
        warnings.warn(text, stacklevel=2)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_labels(out, mask.array, volume, classes=model.card.classes)
    return mask.array if isinstance(image, np.ndarray) else mask


def evaluate(
    dataset: Pathlike,
    model: AnyModel | None = None,
    *,
    predictions: Pathlike | None = None,
    split: str = "test",
    mirror: bool | None = None,
    postprocess: bool = True,
    **options: Any,
) -> Scores:
    """Score a model, or a folder of masks, on the labelled cases of a split.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    model, predictions
        Exactly one of the two: a model, or a folder of masks named like the cases.
    split
        ``train``, ``val`` or ``test``.
    mirror, postprocess
        As of :func:`segment`.
    options
        As of :func:`napari_graphflow.inference.evaluate.evaluate_split`: ``fold``, ``sites``,
        ``device``, ``organs``, ``lesions``, ``match_intensities``, ``progress``.

    Returns
    -------
    dict
        ``summary``: class -> metric -> ``mean`` and more, with ``mean`` over the classes;
        ``cases``: name -> class -> metrics, such as ``dice_score`` and ``hausdorff_distance_95``
        in mm; ``notes``: what was left out.

    Raises
    ------
    UserError
        If the split has no labelled case, or the model does not fit the dataset.
    """
    if isinstance(model, LoadedModel):
        model = model.folder
    return evaluate_split(
        Path(dataset),
        split,
        model=None if model is None else Path(model),
        predictions=None if predictions is None else Path(predictions),
        options=PredictionOptions(mirror=mirror, postprocess=postprocess),
        **options,
    )


def _volume(
    image: NDArray[Any] | Volume | Pathlike,
    dims: int,
    channels: int,
    spacing: Sequence[float] | None,
    orientation: str,
) -> Volume:
    if isinstance(image, np.ndarray):
        axes = image.ndim - (channels > 1) if spacing is None else len(spacing)
        if axes == 3 and spacing is None:
            raise UserError(
                "An array of three axes has no voxel size.",
                "Pass spacing=(z, y, x) in mm, or a volume of gf.read_volume.",
            )
        return as_volume(image, spacing, orientation, channels=image.ndim == axes + 1)
    if spacing is not None:
        raise UserError("A volume has its own spacing.", "Leave out spacing.")
    return image if isinstance(image, Volume) else read_volume(image)
