"""Whether a model fits an image or a dataset, from what its card says it is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.methods import METHODS, MethodName
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.networks import NETWORKS, TAP_NAMES, network_title
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import FLAT
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.imaging.windows import is_ct, sample

#: Ratio of voxel spacings from which they count as very different.
_VERY_DIFFERENT = 2.5
#: No image in Hounsfield units has a smaller range of values than this.
_SMALLEST_CT_RANGE = 100
_PHOTOGRAPH = "RGB"
#: Networks of which the card lists all taps.
_TAPS_ON_CARD = ("nnunet:", "monai:")
_BUILT_IN = {name for name, info in NETWORKS.items() if not info.path}
_CHOOSE = "Choose another model or another image."
#: Why predictions segment no image.
NO_NETWORK = "it is a folder of predictions, which can teach but segments no other image"


@dataclass(frozen=True)
class ImageFacts:
    """What decides whether a model fits an image.

    Attributes
    ----------
    axes, channels
        Number of spatial axes and of channels.
    rgb
        Whether the channels are the colours of a photograph.
    modality
        From the header, such as ``CT`` or ``MR``; empty if unknown.
    spacing
        Voxel spacing in mm along (z, y, x) or (y, x); None if the image has no physical size.
    hounsfield
        Whether the values are Hounsfield units; None if they might be.
    """

    axes: int
    channels: int = 1
    rgb: bool = False
    modality: str = ""
    spacing: tuple[float, ...] | None = None
    hounsfield: bool | None = None


def image_facts(volume: Volume) -> ImageFacts:
    """Return the facts of an image."""
    channels = volume.array.shape[-1] if volume.channels else 1
    return ImageFacts(
        axes=volume.ndim,
        channels=channels,
        rgb=channels == 3 and volume.array.dtype in (np.uint8, np.uint16),
        modality=volume.modality,
        spacing=volume.oriented().spacing if volume.sized else None,
        hounsfield=None if volume.channels else are_hounsfield_units(volume.array),
    )


def are_hounsfield_units(array: NDArray[Any]) -> bool | None:
    """Judge by the values, None if they might be.

    A CT reaches below water, and its body is surrounded by air.
    """
    if is_ct(array):
        return True
    few = sample(array)
    if few.size == 0:
        return None
    low, high = float(few.min()), float(few.max())
    return False if low >= 0 or high - low < _SMALLEST_CT_RANGE else None


def reason_not_to_fit(card: ModelCard, facts: ImageFacts) -> str | None:
    """Return why a model cannot be used on an image, as a clause; None if it can."""
    if card.is_predictions:
        return NO_NETWORK
    if facts.axes < card.dims:
        return "it needs 3D volumes, and this image is 2D"
    if facts.channels != card.in_channels:
        many = "s" * (card.in_channels > 1)
        return f"it needs {card.in_channels} channel{many}, and this image has {facts.channels}"
    wanted = card.modality
    if facts.rgb != (wanted == _PHOTOGRAPH) and wanted:
        found = "a colour photograph" if facts.rgb else "not one"
        return f"it is for {_title(wanted)}, and this is {found}"
    if wanted and facts.modality and wanted != facts.modality:
        return f"it is for {_title(wanted)}, and this is {_title(facts.modality)}"
    if wanted == "CT" and facts.hounsfield is False:  # whatever the header says
        return "it is for CT, and the values of this image are not Hounsfield units"
    if wanted not in ("", "CT") and not facts.modality and facts.hounsfield:
        return f"it is for {_title(wanted)}, and the values of this image are those of a CT"
    return None


def reason_for_caution(card: ModelCard, facts: ImageFacts) -> str | None:
    """Return why the result of a model that fits may be wrong, as a clause, or None."""
    wanted, trained = card.modality, card.purpose.spacing
    unknown = not facts.modality and facts.hounsfield is None and facts.channels == 1
    if wanted and unknown:
        return f"it is for {_title(wanted)}, and the modality of this image is unknown"
    if trained is None:
        return None
    if facts.spacing is None:
        return f"it was trained on voxels of {_mm(trained)}, and the size of these is unknown"
    count = min(card.dims, len(trained), facts.axes)
    ratios = np.array(facts.spacing[-count:]) / np.array(trained[-count:])
    if np.maximum(ratios, 1 / ratios).max() >= _VERY_DIFFERENT:
        return f"it was trained on voxels of {_mm(trained)}, and these are {_mm(facts.spacing)}"
    return None


def cautions(card: ModelCard, facts: ImageFacts, mask: NDArray[np.integer]) -> list[str]:
    """Return what the user must know about a result, as sentences: doubts, and what is missing."""
    found = []
    if reason := reason_for_caution(card, facts):
        found.append(f"Check the mask: {card.name} may not fit, because {reason}.")
    structures = {name: value for name, value in card.classes.items() if value}
    present = set(np.unique(mask).tolist())
    if structures and present.isdisjoint(structures.values()):
        found.append(f"{card.name} found none of: {', '.join(structures)}.")
    return found


def check_fits(volume: Volume, card: ModelCard) -> None:
    """Check that an image has the channels and axes that a model requires.

    Raises
    ------
    UserError
        If the number of channels differs, or a 3D model is given a 2D image.
    """
    channels = volume.array.shape[-1] if volume.channels else 1
    plain = ImageFacts(axes=volume.ndim, channels=channels, rgb=card.modality == _PHOTOGRAPH)
    refuse_unfit(card, plain)


def refuse_unfit(card: ModelCard, facts: ImageFacts) -> None:
    """Raise the reason why a model does not fit an image.

    Raises
    ------
    UserError
        If there is one.
    """
    if reason := reason_not_to_fit(card, facts):
        raise UserError(f"The model {card.name} does not fit: {reason}.", _CHOOSE)


def check_classes(card: ModelCard, dataset: Dataset, role: str = "model") -> None:
    """Check that a model and a dataset have the same classes; `role` names the model in errors.

    Raises
    ------
    UserError
        If the names or label values of the classes differ.
    """
    if card.classes != dataset.classes:
        raise UserError(
            f"The {role} {card.name} has the classes {_listed(card.classes, dataset.classes)}, but "
            f"the dataset {dataset.name} has {_listed(dataset.classes, card.classes)}.",
            f"Choose a {role} that was trained on these classes, or import it with --classes.",
            "unknown_class",
        )


def check_fits_dataset(card: ModelCard, dataset: Dataset) -> None:
    """Check that a model can propose masks for the cases of a dataset, before any is read.

    Raises
    ------
    UserError
        If classes, axes, channels or modality differ.
    """
    check_classes(card, dataset)
    reason = NO_NETWORK if card.is_predictions else reason_not_to_fit_dataset(card, dataset)
    if reason:
        raise UserError(f"The model {card.name} does not fit: {reason}.", _CHOOSE)


def _listed(classes: Mapping[str, int], others: Mapping[str, int]) -> str:
    """List classes, with their values if the others have the same names with other values."""
    if set(classes) != set(others):
        return ", ".join(classes)
    return ", ".join(f"{name} = {value}" for name, value in classes.items())


def axes_of(dataset: Dataset) -> int:
    """Return the number of spatial axes of the images of a dataset, by their file format."""
    return 2 if dataset.file_ending.lower() in FLAT else 3


def reason_not_to_fit_dataset(card: ModelCard, dataset: Dataset) -> str | None:
    """Return why a model can neither propose masks nor teach on a dataset, as a clause, or None."""
    axes = axes_of(dataset)
    if card.classes != dataset.classes:
        return (
            f"it has the classes {_listed(card.classes, dataset.classes)}, and {dataset.name} has "
            f"{_listed(dataset.classes, card.classes)}"
        )
    if axes < card.dims:
        return f"it needs 3D volumes, and the images of {dataset.name} are 2D"
    channels = len(dataset.channel_names)
    rgb = axes == 2 and channels == 1 and card.in_channels == 3
    if channels != card.in_channels and not rgb:
        many = "s" * (card.in_channels > 1)
        return f"it needs {card.in_channels} channel{many}, and {dataset.name} has {channels}"
    wanted, found = card.modality, modality_of_channels(dataset.channel_names)
    if wanted and found and wanted != found:
        return f"it is for {_title(wanted)}, and {dataset.name} is {_title(found)}"
    return None


def reason_not_to_pair(
    method: MethodName,
    card: ModelCard,
    network: str,
    tap: str = "none",
    student_tap: str = "none",
) -> str | None:
    """Return why a method cannot compare a teacher with a student, as a clause, or None.

    Parameters
    ----------
    method, tap, student_tap
        Name of the method, and of the feature maps of both networks that its options name.
    card, network
        Card of the teacher, and network of the student.
    """
    if not card.gives_features and not (METHODS[method].answers_only and tap == "none"):
        what = f"the tap {tap}" if METHODS[method].answers_only else METHODS[method].title
        able = [info.title for info in METHODS.values() if info.answers_only]
        return (
            f"{what} needs feature maps, and this teacher has class probabilities only; methods "
            f"for it are {', '.join(able[:-1])} and {able[-1]}, without taps"
        )
    wanted = (tap,) if tap != "none" else METHODS[method].taps
    missing = [one for one in wanted if one not in card.taps]
    listed = card.taps or card.network.startswith("monai:")
    if missing and listed and card.network.startswith(_TAPS_ON_CARD):
        return (
            f"{METHODS[method].title} needs the tap {missing[0]}, and this teacher has "
            f"{', '.join(card.taps) or 'none'}; “models taps” names further ones"
        )
    for name, one, own in ((card.network, tap, tuple(card.taps)), (network, student_tap, ())):
        if name in _BUILT_IN and one not in ("none", *TAP_NAMES, *own):
            return f"there is no tap {one}; taps are {', '.join(TAP_NAMES)}"
    if not METHODS[method].decoder:
        return None
    for name in (card.network, network):
        if name in NETWORKS and not NETWORKS[name].decoder and not card.taps:
            return f"{METHODS[method].title} needs a decoder, and {network_title(name)} has none"
    return None


def tap_pairs_of(card: ModelCard, network: str) -> int:
    """Return how many tap pairs Graph Flow can compare of a teacher and a student; 0 if none."""
    if reason_not_to_pair("graph_flow", card, network) is not None:
        return 0
    endings = ("", "_2", "_3")
    pairs = [{f"encoder{ending}", f"decoder{ending}"} for ending in endings]
    return sum(not card.taps or card.taps.keys() >= pair for pair in pairs)


def refuse_distillation(
    card: ModelCard,
    dataset: Dataset,
    method: MethodName,
    network: str,
    dims: int,
    tap: str = "none",
    student_tap: str = "none",
    *,
    whole: bool = False,
) -> None:
    """Raise the reason why a distillation cannot run, before anything is read.

    Parameters
    ----------
    card, dataset, method, network, dims, tap, student_tap
        Teacher, dataset, method, student with its number of axes, and the taps that the options of
        the method name.
    whole
        Whether the teacher answers for whole cases.

    Raises
    ------
    UserError
        If the teacher does not fit the dataset, the dimensions, the method or the student.
    """
    reason = reason_not_to_fit_dataset(card, dataset)
    reason = reason or reason_not_to_pair(method, card, network, tap, student_tap)
    if reason is None and whole and not (METHODS[method].answers_only and tap == "none"):
        other = f"it is {card.dims}D, and the student is {dims}D"
        other = other if card.dims != dims else "the student's preprocessing is another"
        reason = (
            f"{other}, so that it answers for whole cases, without the feature maps that "
            f"{METHODS[method].title} needs"
        )
    if reason:
        raise UserError(
            f"The teacher {card.name} does not fit: {reason}.",
            "Choose another teacher, or other settings.",
        )


def modality_of_channels(names: tuple[str, ...]) -> str:
    """Return the modality that the channel names of a dataset mean; empty if none."""
    found = {_MODALITIES.get(name.strip().upper().replace("-", "_"), "") for name in names}
    return found.pop() if len(found) == 1 else ""


_MR = "MR MRI T1 T1W T1C T1CE T1GD T1_WEIGHTED T2 T2W T2_WEIGHTED FLAIR DWI ADC PD PDW SWI T2_FLAIR"
_MODALITIES = {
    **dict.fromkeys(_MR.split(), "MR"),
    **dict.fromkeys(("CT", "CBCT"), "CT"),
    **dict.fromkeys(("PET", "PT"), "PT"),
    **dict.fromkeys(("US", "ULTRASOUND"), "US"),
    **dict.fromkeys(("RGB", "R", "G", "B", "RED", "GREEN", "BLUE"), _PHOTOGRAPH),
}


def _title(modality: str) -> str:
    """Return a modality in words."""
    return {_PHOTOGRAPH: "colour photographs", "PT": "PET", "US": "ultrasound"}.get(
        modality, modality
    )


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing) + " mm"
