"""Masks of other programs on the open case, such as nnInteractive, micro-sam or 3D Slicer."""

from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtWidgets import QInputDialog, QPushButton, QWidget

from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.dataset.open_case import OpenCase, in_values_of
from napari_graphflow.plugin.dataset.session import CaseSession
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import class_names
from napari_graphflow.plugin.viewer.painting import replace_labels
from napari_graphflow.plugin.viewer.placement import same_place
from napari_graphflow.plugin.widgets.legend import Legend
from napari_graphflow.plugin.widgets.panel import Panel

PROGRAMS = ("nnInteractive", "micro-sam", "3D Slicer")
BY_HAND = "drawn by hand"


class TakeMask(QPushButton):
    """Shown while another mask on the open case is selected; takes it over.

    Parameters
    ----------
    panel, session, legend
        The dock, its open case, and the structure that is chosen there.
    """

    def __init__(self, panel: Panel, session: CaseSession, legend: Legend) -> None:
        super().__init__()
        self._panel, self._session, self._legend = panel, session, legend
        self._viewer = getattr(panel.viewer, "__wrapped__", panel.viewer)
        self.setToolTip(
            "Use the selected mask, from nnInteractive, micro-sam or 3D Slicer, for this case. A "
            "mask of one object becomes the chosen structure."
        )
        self._viewer.layers.selection.events.active.connect(self.refresh, position="last")
        session.changed.connect(self.refresh)
        self.clicked.connect(lambda _: self.take())
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """Show the button if there is something to take."""
        case = self._session.case
        other = other_mask(self._viewer, case)
        self.setVisible(other is not None and case is not None and case.editable)
        self.setText(f"Use {other.name}" if other is not None else "")

    def take(self) -> None:
        """Ask where the mask is from, and take it."""
        case, other = self._session.case, other_mask(self._viewer, self._session.case)
        source = ask_source(self, other) if other is not None else None
        if case is None or other is None or source is None:
            return
        try:
            text = take(self._viewer, case, other, self._legend.chosen(), source)
        except UserError as error:
            self._panel.fail(error)
        else:
            self._panel.status.done(text)


def other_mask(viewer: Viewer, case: OpenCase | None) -> Labels | None:
    """Return the selected mask if it is another one on the voxels of the open case."""
    active = viewer.layers.selection.active
    if case is None or not isinstance(active, Labels) or active is case.mask:
        return None
    cases = cases_of(viewer)
    if cases.key(active) != cases.key(case.images[0]) or not same_place(active, case.images[0]):
        return None
    return active


def taken(mask: Labels, other: Labels, chosen: int) -> NDArray[Any]:
    """Return the labels of `mask` with those of another mask.

    Structures with names are matched by name and replace all. A mask with a single value and no
    names, as of a program that outlines one object, becomes the structure `chosen`.

    Raises
    ------
    UserError
        If it contains a structure that `mask` does not have.
    """
    array = np.asarray(other.data)
    names = {value: name for value, name in class_names(other).items() if value}
    if not names and len(np.unique(array[array != 0])) == 1:
        labels = np.array(mask.data)
        labels[labels == chosen] = 0
        labels[array != 0] = chosen
        return labels
    return in_values_of(mask, other)


def ask_source(parent: QWidget, layer: Labels) -> str | None:
    """Ask which program a mask is from, for the log; empty if drawn by hand, None to cancel."""
    text = f"Which program made {layer.name}?"
    chosen, accepted = QInputDialog.getItem(
        parent, "Take a mask", text, [*PROGRAMS, BY_HAND], 0, True
    )
    if not accepted:
        return None
    return "" if chosen == BY_HAND else str(chosen).strip()


def take(viewer: Viewer, case: OpenCase, other: Labels, chosen: int, source: str) -> str:
    """Use another mask as that of the open case, as one undo step, and return what was done.

    Raises
    ------
    UserError
        As for `taken`.
    """
    labels = taken(case.mask, other, chosen)
    changed = np.nonzero(np.asarray(case.mask.data) != labels)
    count = replace_labels(case.mask, labels)
    if source and count:
        case.source, case.taken = source, (changed, labels[changed])
    other.visible = False
    viewer.layers.selection.active = case.mask
    made = f" by {source}" if source else ""
    return f"{counted(count, 'voxel')} taken from {other.name}{made}. Ctrl+Z takes it back."
