"""Autosaved masks that were restored: the open case continues with them."""

from collections.abc import Iterator

from napari import Viewer
from napari.layers import Labels

from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.dataset.open_case import OpenCase, in_values_of
from napari_graphflow.plugin.viewer.autosave import mark_saved, start_autosave
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import is_mask
from napari_graphflow.plugin.viewer.painting import replace_labels
from napari_graphflow.plugin.viewer.placement import same_place


def adopt(viewer: Viewer, case: OpenCase) -> str:
    """Continue with the restored mask of a case, and return a sentence about it.

    It replaces the mask in one undo step; the layers it was restored with are removed. A mask that
    does not lie on the image of the case, or has other structures, stays where it is.
    """
    for mask in _restored(viewer, case):
        try:
            labels = in_values_of(case.mask, mask)
        except UserError:
            continue
        changed = replace_labels(case.mask, labels)
        mark_saved(mask)
        cases = cases_of(viewer)
        for layer in cases.layers(cases.key(mask)):
            if layer is mask or (layer not in case.layers and not is_mask(layer)):
                viewer.layers.remove(layer)
        viewer.layers.selection.active = case.mask
        return (
            f"{case.name} goes on with its autosaved mask ({counted(changed, 'voxel')} changed). "
            "Ctrl+Z shows the stored one."
        )
    return ""


def _restored(viewer: Viewer, case: OpenCase) -> Iterator[Labels]:
    autosave, cases = start_autosave(viewer), cases_of(viewer)
    key = cases.key(case.images[0])  # the same for every layer of its file
    for mask in list(autosave.restored) if autosave is not None else ():
        ours = mask in viewer.layers and cases.key(mask) == key
        if ours and mask is not case.mask and same_place(mask, case.images[0]):
            yield mask
