"""Masks that belong to a case of a dataset, and who saves them where training finds them."""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from napari.utils.events import EmitterGroup

from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.placement import same_place, viewer_of


@dataclass(frozen=True)
class CaseMask:
    """The open case of a dataset.

    Attributes
    ----------
    case, dataset
        Names.
    image, mask
        Its first image layer and its mask layer.
    use
        Saves a mask on the same voxels, given as its layer, as the finished mask of the case.
    """

    case: str
    dataset: str
    image: Image
    mask: Labels
    use: Callable[[Labels], None]


#: Emits `changed` when a case is opened or closed.
events = EmitterGroup(source=None, changed=None)
_known: "WeakKeyDictionary[Labels, CaseMask]" = WeakKeyDictionary()


def register(found: CaseMask) -> None:
    """Let all docks know where the mask of an open case belongs."""
    _known[found.mask] = found
    events.changed()


def forget(mask: Labels) -> None:
    """Forget a case that was closed."""
    _known.pop(mask, None)
    events.changed()


def case_of(layer: Labels) -> CaseMask | None:
    """Return the open case whose mask a layer is, or on whose image it lies; else None."""
    if layer in _known:
        return _known[layer]
    viewer = viewer_of(layer)
    if viewer is None:
        return None
    cases = cases_of(viewer)
    return next(
        (
            one
            for one in _known.values()
            if one.image in viewer.layers
            and cases.key(layer) == cases.key(one.image)
            and same_place(layer, one.image)
        ),
        None,
    )
