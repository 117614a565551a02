"""One segmentation: the request to the worker, and its result as layers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.prediction import DEFAULTS, PredictionOptions
from napari_graphflow.dataset.compatibility import ImageFacts, cautions
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.edits import keep_result
from napari_graphflow.plugin.viewer.layer_facts import layer_facts
from napari_graphflow.plugin.viewer.layers import labels_layer
from napari_graphflow.plugin.viewer.map_layers import map_layer, maps_of, show_only
from napari_graphflow.plugin.viewer.placement import record_on, size_and_axes
from napari_graphflow.plugin.viewer.record import Placement
from napari_graphflow.plugin.viewer.world import transform_keywords
from napari_graphflow.plugin.widgets.words import in_words
from napari_graphflow.plugin.worker.replies import Reply
from napari_graphflow.plugin.worker.requests import Request, dispatcher

UNCERTAINTY = "How unsure the model is: 0 sure, 1 all structures equally likely. No diagnosis."
ENTROPY = "Entropy of the class probabilities, divided by that of equal ones."
PROBABILITY = "How likely the model holds this structure to be here, from 0 to 1. Not calibrated."
SOFTMAX = "Softmax of the logits of the network."


@dataclass(frozen=True)
class Task:
    """The inputs of one segmentation.

    Attributes
    ----------
    image, card
        The layer and the model.
    volume
        The image in the orientation of its file.
    mask
        The Labels layer to update, or None for a new one.
    slab, index
        The slices to send and the one to segment; `slab` is None for the whole image.
    probability, uncertainty
        Which maps to compute in addition to the mask.
    made_by
        What identifies the model as the maker of its masks.
    options
        Whether to mirror, and to keep only the largest parts; of single slices all parts are kept.
    place
        Where the voxels of the image lie; arrays for its viewer are in this order.
    facts
        What decides whether the model fits.
    """

    image: Image
    card: ModelCard
    volume: Volume
    mask: Labels | None = None
    slab: slice | None = None
    index: int = 0
    probability: bool = False
    uncertainty: bool = False
    made_by: str = ""
    options: PredictionOptions = DEFAULTS
    place: Placement = field(init=False)
    facts: ImageFacts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", layer_facts(self.image))
        object.__setattr__(self, "place", size_and_axes(self.image))

    def sent(self) -> Volume:
        """Return the part of the image to send to the worker."""
        if self.slab is None:
            return self.volume
        # In the orientation of the file, which a model may require.
        return _cut(self.shown(), self.slab).oriented(self.volume.orientation)

    def shown(self) -> Volume:
        """Return the image in the order in which its layer shows it."""
        return self.place.shown(self.volume)


SegmentationResult = tuple[Reply, Volume, dict[str, NDArray[Any]]]


def request_segmentation(
    task: Task,
    model: Path,
    device: str,
    *,
    progress: Callable[[Reply], None],
    done: Callable[[SegmentationResult], None],
    failed: Callable[[Exception], None],
    cancelled: Callable[[], None],
) -> Request:
    """Request a mask from the worker; return at once."""
    request = Request(
        progress=progress,
        done=done,
        failed=failed,
        cancelled=cancelled,
        finish=lambda reply: _finish(reply, task),
    )
    return dispatcher().send(
        "segment",
        request,
        image=task.sent(),
        model=str(model),
        device=device,
        probabilities=task.probability or task.uncertainty,
        whole=task.slab is None,
        mirror=task.options.mirror,
        postprocess=task.options.postprocess and task.slab is None,
    )


def slab_around(index: int, volume: Volume, card: ModelCard, place: Placement) -> slice:
    """Return the slices of the window, along its first axis, that are needed to segment one.

    Only the slice itself in 2D, and a patch depth in 3D. Of a model whose slices have another
    orientation, all.
    """
    shown = place.shown(volume)
    slices = shown.shape[0]
    line = next(pair for pair in ("LR", "PA", "SI") if shown.orientation[2] in pair)
    code = card.preprocessing.code(volume.orientation)
    along = 2 - next(axis for axis, letter in enumerate(code) if letter in line)
    if card.dims == 2 and along != 0:
        return slice(0, slices)
    thickness = 1 if card.dims == 2 else card.patch_size[along]
    start = max(0, min(index - thickness // 2, slices - thickness))
    return slice(start, min(slices, start + thickness))


def _cut(volume: Volume, slab: slice) -> Volume:
    step = volume.matrix[:, 2] * volume.spacing[0] * slab.start
    origin = tuple((np.array(volume.origin) + step).tolist())
    return replace(volume, array=volume.array[slab], origin=origin)


def _finish(reply: Reply, task: Task) -> SegmentationResult:
    """Embed the arrays of the worker in the image grid; runs in the background."""
    sent, shown = task.sent(), task.shown()
    labels = sent.with_array(reply.pop("labels"))
    if task.slab is not None:
        whole = np.zeros(shown.shape, labels.array.dtype)
        whole[task.index] = task.place.shown(labels).array[task.index - task.slab.start]
        labels = shown.with_array(whole)
    doubts = cautions(task.card, task.facts, labels.array)
    site = reply.get("site")
    unlike = [site["text"]] if site and site["unlike"] else []
    reply["cautions"] = [*reply.get("cautions", ()), *doubts, *unlike]
    maps: dict[str, NDArray[Any]] = {}
    if "probabilities" in reply and task.slab is None:
        soft = sent.with_array(reply.pop("probabilities"), channels=True)
        soft_array = task.place.shown(soft).array.astype(np.float32)
        if task.probability:
            maps |= {
                f"probability of {in_words(name)}": np.ascontiguousarray(soft_array[..., value])
                for name, value in reply["classes"].items()
                if value
            }
        if task.uncertainty:
            entropy = -(soft_array * np.log(np.maximum(soft_array, 1e-6))).sum(-1)
            maps["uncertainty"] = entropy / np.log(max(soft_array.shape[-1], 2))
    return reply, labels, maps


def add_mask(viewer: ViewerModel, task: Task, labels: Volume, classes: dict[str, int]) -> Labels:
    """Add a result as a new Labels layer to the case of its image, with the image's geometry."""
    image, cases = task.image, cases_of(viewer)
    name = f"{task.card.name} · {cases.name(cases.key(image))}"
    _, keywords, _ = labels_layer(labels, name, classes=classes)
    # The image may have been moved, or opened by another reader.
    keywords |= transform_keywords(image)
    keywords["metadata"] = record_on(image)
    layer = Labels(np.ascontiguousarray(task.place.shown(labels).array), **keywords)
    keep_result(layer, task.made_by)
    cases.add(layer, image)
    return layer


def add_map(viewer: ViewerModel, image: Image, name: str, array: NDArray[Any]) -> Image:
    """Add a map of probabilities or uncertainty to the case of its image, in place of the last."""
    cases, title = cases_of(viewer), f"{name} · {image.name}"
    key = cases.key(image)
    for old in [one for one in maps_of(viewer, key) if one.name == title]:
        viewer.layers.remove(old)
    uncertain = name == "uncertainty"
    layer = map_layer(
        array,
        image,
        title,
        (0.0, 1.0),
        colours="inferno" if uncertain else "viridis",
        caption=UNCERTAINTY if uncertain else PROBABILITY,
        term=ENTROPY if uncertain else SOFTMAX,
    )
    cases.add(layer, image)
    show_only(viewer, key, layer)
    return layer


def update_mask(layer: Labels, new: NDArray[Any], task: Task) -> None:
    """Write a result into a mask so that napari can undo it."""
    old = np.asarray(layer.data)
    if task.slab is None:
        indices = np.nonzero(old != new)
    else:
        inside = np.nonzero(old[task.index] != new[task.index])
        indices = (np.full(inside[0].shape, task.index), *inside)
    if indices[0].size:
        layer.data_setitem(indices, new[indices].astype(old.dtype))
    keep_result(layer, task.made_by, None if task.slab is None else task.index)
