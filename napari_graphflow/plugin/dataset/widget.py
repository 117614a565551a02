"""*Dataset*: the cases of a dataset, opened one after the other, corrected and decided on."""

from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Points, Shapes
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.overview import CaseRow, list_cases, next_cases
from napari_graphflow.labelling.priority import Suggestion
from napari_graphflow.labelling.statuses import STATUSES
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import presenter
from napari_graphflow.plugin.dataset.case_box import CaseBox, confirmed
from napari_graphflow.plugin.dataset.case_order import CaseOrder
from napari_graphflow.plugin.dataset.case_table import CaseModel, CaseTable, CountsBar
from napari_graphflow.plugin.dataset.proposals_presenter import worst_places
from napari_graphflow.plugin.dataset.readers_presenter import known_reader
from napari_graphflow.plugin.dataset.session import CaseSession
from napari_graphflow.plugin.dataset.tabs import DatasetTabs
from napari_graphflow.plugin.dataset.taking import TakeMask
from napari_graphflow.plugin.dataset.volumes import Volumes
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.widgets.dataset_combo import DatasetCombo
from napari_graphflow.plugin.widgets.hints import set_hint
from napari_graphflow.plugin.widgets.keys import KEYS, Keys, problem_text, with_key
from napari_graphflow.plugin.widgets.layout import folded, note, row, shrinkable
from napari_graphflow.plugin.widgets.legend import Legend
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel
from napari_graphflow.plugin.widgets.structure_tools import StructureTools

#: Buttons after which the next case is opened.
_GOES_ON = ("finish", "reject", "flag", "review", "approve", "exclude")


class DatasetWidget(Panel):
    """Lists cases, opens them, and passes decisions on to labelling."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.session = CaseSession(self)
        self.rows: list[CaseRow] = []
        self.order = CaseOrder()
        self._taken = ""
        self.dataset = DatasetCombo(self)
        self.new = QPushButton("New …")
        self.new.setToolTip("Make a dataset from a folder of scans")
        self.counts = note()
        self.bar = CountsBar()
        self.search = QLineEdit()
        set_hint(self.search, "Search")
        self.search.setClearButtonEnabled(True)
        self.filter = QComboBox()
        shrinkable(self.filter)
        self.filter.addItem("all", None)
        for status in STATUSES:
            self.filter.addItem(status, status)
        self.model = CaseModel()
        self.table = CaseTable(self.model)
        self.volumes = Volumes(self, self.model.put_measured)
        self.before = QPushButton("◀")
        self.next = QPushButton()
        self.after = QPushButton("▶")
        for button in (self.before, self.after):
            button.setFixedWidth(36)
        self.why = note()
        self.box = CaseBox(self)
        self.legend = Legend()
        self.tools = StructureTools(self, self.legend, self._shown_slice)
        self.structures = folded("Structures", self.legend, self.tools)
        self.structures.expand(animate=False)

        cases = QWidget()
        column = QVBoxLayout(cases)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addLayout(row(self.search, self.filter))
        column.addWidget(self.table, 1)
        column.addLayout(row(self.before, self.next, self.after, stretch=1))
        column.addWidget(self.why)
        column.addWidget(self.box)
        self.take = TakeMask(self, self.session, self.legend)
        column.addWidget(self.take)
        column.addWidget(self.structures)
        column.addWidget(self.box.remarks)
        self.tabs = DatasetTabs(self, self.session, cases, self._chosen)
        self.column.addLayout(row(self.dataset, self.new))
        self.column.addWidget(self.bar)
        self.column.addWidget(self.counts)
        self.column.addWidget(self.status)
        self.column.addWidget(self.tabs, 1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.tabs.currentChanged.connect(self._tab_chosen)
        self.tabs.changed.connect(self.refresh)
        self.tabs.wanted.connect(self._show_inbox)
        self.tabs.reader_changed.connect(partial(self._open_dataset, again=True))
        self.dataset.chosen.connect(self._open_dataset)
        self.dataset.dataset_updated.connect(self.refresh)
        self.new.clicked.connect(self._make_new)
        self.search.textChanged.connect(self._filter)
        self.filter.currentIndexChanged.connect(self._filter)
        self.table.opened.connect(self.open)
        self.before.clicked.connect(lambda _: self._step(-1))
        self.after.clicked.connect(lambda _: self._step(1))
        self.next.clicked.connect(lambda _: self.open_next())
        self.box.pressed.connect(self._press)
        cases_of(self.viewer).events.changed.connect(self._shown_changed)
        self.box.described.connect(lambda changes: self.session.describe(**changes))
        self.box.slice_marked.connect(self._mark_slice)
        self.box.take_over.connect(self.session.take_over)
        self.box.next_place.connect(self._go_to_worst)
        self.session.changed.connect(self._case_changed)
        self.session.listed.connect(self.refresh)
        self.session.said.connect(self.status.done)
        self.session.failed.connect(self.fail)
        self.session.taken.connect(self._show_taken)
        self.session.reading.connect(lambda name: self.status.info(presenter.reading_text(name)))
        napari_viewer.dims.events.current_step.connect(self._slice_changed)
        napari_viewer.layers.selection.events.active.connect(self._choose_keys)
        group = "dataset_keys"
        self.keys = Keys(self, group, self._actions(), self._show_keys, everywhere=KEYS[group])
        self._open_dataset()

    def open(self, name: str) -> None:
        """Open a case; the open one is put away."""
        self.order.opened(name)
        self.session.open(name)

    def open_next(self) -> None:
        """Open the suggested case that was not looked at yet."""
        self.order.in_order = False
        name = self.order.suggested(self._current())
        if name:
            self._open_suggested(name)
        else:
            self.status.done("No case waits for you.")

    def _open_suggested(self, name: str) -> None:
        """Open a case at the slices that are suggested, unless the user goes by the list."""
        self.order.opened(name)
        self.session.open(name, None if self.order.in_order else self.order.slab(name))

    def refresh(self) -> None:
        """Read the list of cases again, in the background."""
        labelling = self.session.labelling
        if labelling is None:
            return
        strategy = self.tabs.proposals.strategy()

        def read() -> tuple[list[CaseRow], list[Suggestion]]:
            labelling.reload()
            return list_cases(labelling), next_cases(labelling, strategy)

        def show(found: tuple[list[CaseRow], list[Suggestion]]) -> None:
            if labelling is self.session.labelling:
                self._show_list(*found)

        self.background.run(read, show, self.fail)

    def released(self) -> None:
        """Put the open case away."""
        self.session.release()
        self.keys.stop()
        self.legend.stop()
        self.tools.stop()
        self.volumes.stop()
        self.tabs.stop()
        super().released()

    def _tab_chosen(self, _: int) -> None:
        self.verticalScrollBar().setValue(0)
        self.tabs.case_changed()

    def _chosen(self) -> CaseRow | None:
        case = self.session.case
        name = case.name if case is not None else self.table.chosen()
        return presenter.find(self.rows, name)

    def _make_new(self, _: bool = False) -> None:
        from napari_graphflow.plugin.dataset.new_dialog import NewDatasetDialog

        dialog = NewDatasetDialog(self)
        dialog.created.connect(self.dataset.choose)
        dialog.open()

    def _open_dataset(self, *, again: bool = False) -> None:
        folder = self.dataset.folder()
        labelling = self.session.labelling
        if labelling is not None and folder == labelling.dataset.folder and not again:
            return
        try:
            self.session.use(None)
        except UserError as error:
            self.dataset.put_back(labelling.dataset.folder if labelling else None)
            self.fail(error)
            return
        self.order.restart()
        self._show_list([], [])
        if folder is None:
            self.status.show_message(presenter.CHOOSE)
            return
        self.status.info(f"Opening {folder.name} …")
        reader = known_reader()
        self.background.run(
            lambda: Labelling(folder, reader), partial(self._opened, folder), self.fail
        )

    def _opened(self, folder: Path, labelling: Labelling) -> None:
        if folder == self.dataset.folder():
            self.session.use(labelling)
            self.status.info("")
            self.tabs.proposals.look_for_job()
            self.refresh()

    def _show_list(self, rows: list[CaseRow], suggestions: list[Suggestion]) -> None:
        self.rows, self.order.suggestions = rows, suggestions
        chosen = self.table.chosen()
        self.model.put(rows)
        self.table.choose(chosen)
        found = presenter.counts(rows)
        self.bar.put(found)
        self.counts.setText(presenter.counts_text(found))
        for widget in (self.bar, self.counts):
            widget.setVisible(bool(rows))
        if self.session.labelling is not None:
            self.volumes.measure(self.session.labelling.dataset)
        self.tabs.show_rows(rows)
        if self.session.labelling is not None and not rows:
            self.status.show_message(presenter.EMPTY)
        self._update()
        self._read_ahead()

    def _filter(self, _: Any = None) -> None:
        self.model.filter(self.search.text(), self.filter.currentData())
        self._update()

    def _step(self, step: int) -> None:
        self.order.in_order = True
        self.open(self._neighbour(step))

    def _neighbour(self, step: int) -> str:
        case = self.session.case
        current = case.name if case is not None else self.table.chosen()
        return presenter.neighbour(self.model.names(), current, step)

    def _current(self) -> str:
        return self.session.case.name if self.session.case is not None else ""

    def _read_ahead(self) -> None:
        if self.session.case is not None or not self.order.begun:
            self.session.read_ahead(
                self._neighbour(1) if self.order.in_order else self.order.suggested(self._current())
            )

    def _press(self, name: str) -> None:
        case = self.session.case
        if case is None:
            return
        if not confirmed(self, name, case):
            return
        then = None
        if name in _GOES_ON:
            # This case is decided: it does not come again.
            self.order.decided(case.name)
            then = partial(self._go_on, case.name)
        if name == "finish":
            self.session.finish(then)
        else:
            self.session.act(name, then)

    def _go_on(self, name: str) -> None:
        if following := self.order.following(name, self.model.names()):
            self._open_suggested(following)

    def _show_inbox(self) -> None:
        """List the proposed cases, those to see first at the top."""
        self.tabs.setCurrentIndex(0)
        self.search.clear()
        self.filter.setCurrentIndex(self.filter.findData("proposed"))
        self.model.put_order([one.case for one in self.order.suggestions])

    def _go_to_worst(self) -> None:
        """Look at the next place where the model is unsure."""
        case = self.session.case
        places = worst_places(case.opened.proposal) if case is not None else []
        if case is None or not places:
            return
        place = places[case.places_seen % len(places)]
        case.places_seen += 1
        self.session.go_to(place.slices)
        number = places.index(place) + 1
        self.status.info(case.in_window(place).text(number, len(places)))

    def _mark_slice(self) -> None:
        try:
            self.session.mark_slice()
        except UserError as error:
            self.fail(error)
            self._case_changed()

    def _shown_slice(self) -> tuple[int, int]:
        case = self.session.case
        if case is None:
            raise UserError("No case is open.", "Open one from the list.")
        return self.session.slice_in_view(case)

    def _case_changed(self) -> None:
        case = self.session.case
        if case is None or case.editable:
            self._taken = ""
        if case is not None and self.legend.layer is not case.mask:
            self.table.choose(case.name)
            self.model.put_picture(case.name, case.loaded.picture)
            if self.status.text() == presenter.reading_text(case.name):
                self.status.info("")
        self.model.mark(case.name if case is not None else "")
        mask = case.mask if case is not None else None
        if mask is not self.legend.layer:
            self.legend.show_layer(mask)
            self.tabs.case_changed()
        self.tools.refresh()
        self._update()
        if case is not None:
            self._read_ahead()

    def _update(self) -> None:
        case = self.session.case
        elsewhere = case is not None and not self.session.is_shown()
        self.box.show_case(
            case, taken=self._taken, done=self.session.slice_is_done(), elsewhere=elsewhere
        )
        self.structures.setVisible(case is not None)
        self.before.setEnabled(bool(self._neighbour(-1)))
        self.after.setEnabled(bool(self._neighbour(1)))
        self.next.setEnabled(bool(self.order.suggestions))
        reason = self.order.reason(self._current())
        self.why.setText(reason)
        self.why.setVisible(bool(reason) and case is None)
        self.next.setToolTip(reason or "Open the case that should be labelled next.")
        self.table.make_room(case is not None)

    def _slice_changed(self, event: Any = None) -> None:
        case = self.session.case
        if case is not None and case.slices:
            self.box.slice.setChecked(self.session.slice_is_done())

    def _shown_changed(self, event: Any = None) -> None:
        if self.session.case is not None:
            self._update()

    def _show_taken(self, name: str, error: Exception) -> None:
        self._taken = str(error)
        self._update()

    def _actions(self) -> dict[str, Any]:
        return {name: partial(self.box.press, name) for name in presenter.BUTTONS} | {
            "next": self.next.click,
            "before": self.before.click,
            "after": self.after.click,
            "slice": self.box.slice.click,
            "place": self.box.place.click,
        }

    def _show_keys(self, keys: dict[str, str], problems: list[str]) -> None:
        self.box.show_keys(keys)
        self.next.setText(with_key("Open next", keys["next"]))
        self.before.setToolTip(with_key("Previous case in the list", keys["before"]))
        self.after.setToolTip(with_key("Next case in the list", keys["after"]))
        if problems:
            self.status.warn(problem_text(problems))

    def _choose_keys(self, event: Any = None) -> None:
        """Leave letters to layers of points and shapes, which use them."""
        active = self.viewer.layers.selection.active
        self.keys.enable(not isinstance(active, Points | Shapes))
