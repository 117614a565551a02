"""Opens, puts away and saves the cases of a dataset; everything slow runs in the background."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.labelling.records import CaseFacts
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import case_steps, open_case
from napari_graphflow.plugin.dataset.case_hold import CaseHold
from napari_graphflow.plugin.dataset.loading import LoadedCase, case_stamp, load_blind, load_case
from napari_graphflow.plugin.dataset.open_case import OpenCase, Unsaved, in_values_of
from napari_graphflow.plugin.dataset.restored import adopt
from napari_graphflow.plugin.viewer import case_masks
from napari_graphflow.plugin.viewer.autosave import mark_saved
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.painting import replace_labels
from napari_graphflow.plugin.widgets.panel import Panel


class CaseSession(QObject):
    """The labelling of one dataset in one viewer.

    Labelling is used on the background thread only, one call after the other.

    Attributes
    ----------
    labelling
        None until a dataset is open.
    case
        The open case, or None.
    unsaved
        Masks that could not be saved, by case; they are shown when their case is opened again.
    """

    #: The open case, its status or its marks changed.
    changed = Signal()
    #: The list of cases has to be read again.
    listed = Signal()
    #: Something was done, in words.
    said = Signal(str)
    failed = Signal(object)
    #: Another window has a case open.
    taken = Signal(str, object)
    #: Whether a case is being read.
    reading = Signal(str)

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._viewer = getattr(panel.viewer, "__wrapped__", panel.viewer)
        self._background = panel.background
        self.labelling: Labelling | None = None
        self.case: OpenCase | None = None
        self.unsaved: dict[str, Unsaved] = {}
        self._ahead: LoadedCase | None = None
        self._wanted = ""
        self._slab: tuple[int, int] | None = None
        self.hold = CaseHold(self, self._background, lambda: (self.labelling, self.case))
        self.hold.changed.connect(self.changed)
        self.hold.taken.connect(self.taken)
        self._viewer.layers.events.removed.connect(self._removed)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.release)

    def use(self, labelling: Labelling | None) -> None:
        """Label another dataset; the open case is put away first.

        Raises
        ------
        UserError
            If its mask cannot be put away.
        """
        self.put_away()
        self.labelling, self._ahead, self._wanted = labelling, None, ""

    def open(self, name: str, slab: tuple[int, int] | None = None) -> None:
        """Show a case, at a slab of its slices if one is given; the open one becomes a draft."""
        labelling = self.labelling
        if labelling is None or not name or (self.case is not None and self.case.name == name):
            return
        try:
            self.put_away()
        except UserError as error:
            self.failed.emit(error)
            return
        self._wanted, self._slab = name, slab
        ready, self._ahead = self._ahead, None
        unsaved = self.unsaved.get(name)
        fits = ready is not None and not unsaved and ready.name == name
        if fits and ready is not None and ready.stamp == case_stamp(labelling, name):
            self._show(labelling, ready)
            return
        self.reading.emit(name)
        labels = unsaved.labels if unsaved else None
        self._run(lambda: load_case(labelling, name, labels), partial(self._show, labelling))

    def open_blind(self, name: str) -> None:
        """Open a case whose proposal was accepted with an empty mask, to draw it again."""
        labelling = self.labelling
        if labelling is None:
            return
        try:
            self.put_away()
        except UserError as error:
            self.failed.emit(error)
            return
        self._wanted, self._slab, self._ahead = name, None, None
        self.reading.emit(name)
        self._run(lambda: load_blind(labelling, name), partial(self._show, labelling))

    def read_ahead(self, name: str) -> None:
        """Read the case that is probably opened next."""
        labelling, ready = self.labelling, self._ahead
        if labelling is None or not name or (ready is not None and ready.name == name):
            return
        if self._background.busy() and self._wanted:
            return

        def keep(loaded: LoadedCase) -> None:
            if labelling is self.labelling:
                self._ahead = loaded

        # What is wrong with it is said when it is opened.
        self._background.run(lambda: load_case(labelling, name), keep, lambda _: None)

    def put_away(self) -> None:
        """Remove the open case from the viewer; its changes become a draft.

        Raises
        ------
        UserError
            If its mask was moved in napari; the case then stays open.
        """
        case = self.case
        if case is None:
            return
        unsaved = case.draft() if case.editable or case.changed else None
        labelling = self._close(case)
        if unsaved is not None and case.editable:
            self._store(case, unsaved, lambda: case_steps.put_away(labelling, unsaved))
            return
        if unsaved is not None:
            problem = f"Your changes of {case.name} are not saved, because it is open elsewhere."
            self._keep(unsaved, UserError(problem, "Open it again here, and take it over."))
        name = case.name
        self._run(lambda: labelling.release(name), lambda _: None)

    def finish(self, then: Callable[[], None] | None = None, mask: Labels | None = None) -> None:
        """Save the mask as finished, or accept the untouched proposal.

        Parameters
        ----------
        then
            What follows, with the case already out of the viewer; None keeps it open.
        mask
            Another mask on the voxels of the case, to be used instead of its own.
        """
        case = self.case
        if case is None or self.labelling is None:
            return
        try:
            if mask is not None:
                case.labels(mask)  # refuses a mask that does not lie on the image
                replace_labels(case.mask, in_values_of(case.mask, mask))
            unsaved = case.draft()
        except UserError as error:
            self.failed.emit(error)
            return
        labelling = self.labelling
        kept_open = then is None
        if kept_open:
            unsaved = replace(unsaved, labels=unsaved.labels.copy())
            case.changed = False
        else:
            self._close(case)
        self._store(
            case,
            unsaved,
            lambda: case_steps.finish(labelling, unsaved, kept_open=kept_open),
            kept_open=kept_open,
            mask=mask,
        )
        if then is not None:
            then()

    def act(self, action: str, then: Callable[[], None] | None = None, note: str = "") -> None:
        """Reject, flag, review, approve, exclude or reopen the open case.

        Edits are saved before: as a draft, before an approval as the finished mask.
        """
        case = self.case
        if case is None or self.labelling is None:
            return
        labelling = self.labelling
        try:
            if case.blind:
                raise UserError(
                    f"{case.name} is drawn again, and its status stays.", "Finish it, or open it."
                )
            unsaved = case.draft()
        except UserError as error:
            self.failed.emit(error)
            return
        name = case.name
        self._close(case)

        def done(facts: CaseFacts) -> None:
            mark_saved(case.mask)
            self.said.emit(f"{name} is {facts.status}.")
            self.listed.emit()

        self._background.run(
            lambda: case_steps.act(labelling, unsaved, action, note),
            done,
            partial(self._keep, unsaved),
        )
        if then is not None:
            then()
        else:
            self.open(name)

    def describe(self, **changes: Any) -> None:
        """Set the difficulty or the comment of the open case."""
        case, labelling = self.case, self.labelling
        if case is None or labelling is None:
            return
        name = case.name
        self._run(lambda: labelling.describe(name, **changes), partial(self._described, case))

    def mark_slice(self) -> None:
        """Mark the slice in view as done, or take the mark back.

        Raises
        ------
        UserError
            If no single slice is in view, or slices along another axis are marked already.
        """
        case = self.case
        if case is None:
            return
        axis, index = case.stored_slice(*self.slice_in_view(case))
        if case.slices and axis != case.axis:
            raise UserError(
                "Slices are marked as done along another axis.",
                "Turn the view back with “change order of visible axes”.",
            )
        marked = (case.slices or frozenset()) ^ {index}
        case.slices, case.axis, case.changed = (marked or None), axis, True
        self.changed.emit()

    def is_shown(self) -> bool:
        """Whether the open case is the one that is shown and selected in the viewer."""
        cases, case = cases_of(self._viewer), self.case
        shown = cases.shown()
        return case is not None and shown is not None and shown.key == cases.key(case.images[0])

    def slice_in_view(self, case: OpenCase) -> tuple[int, int]:
        """Return the axis of the mask across the view, and the index of the slice in view."""
        return open_case.slice_in_view(self._viewer, case)

    def slice_is_done(self) -> bool:
        """Whether the slice in view is marked as done."""
        return self.case is not None and open_case.slice_is_done(self._viewer, self.case)

    def go_to(self, slices: tuple[int, int]) -> None:
        """Look at the middle of a slab of stored slices, along the first stored axis."""
        case = self.case
        if case is None or case.mask.ndim != 3:
            return
        open_case.look_at_slice(self._viewer, case, sum(slices) // 2)

    def take_over(self) -> None:
        """Take the open case from the other window that has it open."""
        self.hold.take(take_over=True)

    def release(self) -> None:
        """Put the open case away, before the dock is closed."""
        if not self.hold.stop():
            return
        self._viewer.layers.events.removed.disconnect(self._removed)
        try:
            self.put_away()
        except UserError as error:
            self.failed.emit(error)
        self._background.finish(30)

    def _show(self, labelling: Labelling, loaded: LoadedCase) -> None:
        if labelling is not self.labelling or loaded.name != self._wanted or self.case is not None:
            return
        self._wanted = ""
        case = self.case = open_case.show(self._viewer, loaded)
        unsaved = None if loaded.blind else self.unsaved.pop(loaded.name, None)
        case.changed = unsaved is not None
        if unsaved is not None:
            case.slices, case.axis = unsaved.slices, unsaved.axis
        for event in (case.mask.events.paint, case.mask.events.labels_update):
            event.connect(self._edited)
        case_masks.register(
            case_masks.CaseMask(
                case.name, labelling.dataset.name, case.images[0], case.mask,
                lambda layer: self.finish(mask=None if layer is case.mask else layer),
            )
        )  # fmt: skip
        if text := adopt(self._viewer, case):
            self.said.emit(text)
        if self._slab is not None:
            self.go_to(self._slab)
        self.changed.emit()
        self.hold.take()

    def _close(self, case: OpenCase) -> Labelling:
        assert self.labelling is not None
        self.case = None
        case_masks.forget(case.mask)
        for event in (case.mask.events.paint, case.mask.events.labels_update):
            event.disconnect(self._edited)
        open_case.remove(self._viewer, case)
        self.changed.emit()
        return self.labelling

    def _store(
        self,
        case: OpenCase,
        unsaved: Unsaved,
        write: Callable[[], tuple[str, OpenedCase | CaseFacts | None]],
        *,
        kept_open: bool = False,
        mask: Labels | None = None,
    ) -> None:
        def stored(result: tuple[str, OpenedCase | CaseFacts | None]) -> None:
            text, found = result
            if not case.changed or not kept_open:  # otherwise it was painted meanwhile
                mark_saved(case.mask)
            if mask is not None:
                mark_saved(mask)
            if kept_open and isinstance(found, OpenedCase):
                case.opened = unsaved.saved(found)
                self.changed.emit()
            if text:
                self.said.emit(text)
            self.listed.emit()

        def failed(error: Exception) -> None:
            if kept_open:
                case.changed = True
                self.failed.emit(error)
            else:
                self._keep(unsaved, error)

        self._background.run(write, stored, failed)

    def _keep(self, unsaved: Unsaved, error: Exception) -> None:
        """Keep a mask that could not be saved until its case is opened again."""
        if not unsaved.blind:  # it must not take the place of the accepted one
            self.unsaved[unsaved.name] = unsaved
        self.failed.emit(error)

    def _described(self, case: OpenCase, facts: CaseFacts) -> None:
        case.opened = replace(case.opened, facts=facts)
        self.changed.emit()
        self.listed.emit()

    def _edited(self, event: Any) -> None:
        if self.case is not None and not self.case.changed:
            self.case.changed = True
            self.changed.emit()

    def _removed(self, event: Any) -> None:
        """Put the case away if the user deletes one of its layers."""
        case = self.case
        if case is not None and any(event.value is layer for layer in case.layers):
            try:
                self.put_away()
            except UserError as error:
                self.failed.emit(error)

    def _run(self, function: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._background.run(function, done, self.failed.emit)
